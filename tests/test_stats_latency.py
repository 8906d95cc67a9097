"""Latency: percentiles, speedups and throughput from blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats as reference

from edgestill.stats import (
    Estimate,
    calls_needed,
    mean_throughput,
    noise_floor,
    percentile,
    smallest_sample,
    speedup,
)
from edgestill.stats.distributions import signed_rank_cut, student_t_quantile
from edgestill.stats.latency import _order_ranks, _tolerance

Blocks = list[NDArray[np.float64]]


def drifting(seed: int, blocks: int, calls: int, drift: float = 0.02) -> Blocks:
    """Blocks around 1 ms; within a block 5 %, between blocks `drift`."""
    rng = np.random.default_rng(seed)
    levels = 1e6 * (1 + drift * rng.standard_normal(blocks))
    return [level * (1 + 0.05 * rng.standard_normal(calls)) for level in levels]


@pytest.mark.parametrize(
    ("p", "samples"), [(50, 7), (90, 44), (95, 90), (99, 459), (99.9, 4603), (10, 44)]
)
def test_smallest_sample(p: float, samples: int) -> None:
    assert smallest_sample(p) == samples


@given(st.floats(50, 99.9), st.floats(0.5, 0.999))
def test_smallest_sample_is_where_the_largest_value_becomes_a_bound(
    p: float, confidence: float
) -> None:
    samples = smallest_sample(p, confidence)
    assert 1 - (p / 100) ** samples >= confidence - 1e-9
    assert 1 - (p / 100) ** (samples - 1) < confidence + 1e-9


def test_percentile_of_known_numbers() -> None:
    blocks = [np.arange(1.0, 101.0) + 100 * block for block in range(12)]
    found = percentile(blocks, 50)
    assert found.value == pytest.approx(600.5)
    assert found.count == 1200


def test_too_few_blocks_or_calls_give_no_interval() -> None:
    assert percentile(drifting(0, 11, 200), 50).interval is None
    assert percentile(drifting(0, 12, 7), 95).interval is None  # 84 calls, p95 needs 90
    assert percentile(drifting(0, 12, 8), 95).interval is not None
    assert speedup(drifting(0, 11, 9), drifting(1, 11, 9)).interval is None
    assert speedup(drifting(0, 12, 9), drifting(1, 12, 9)).interval is not None
    assert mean_throughput(drifting(0, 11, 9), 1).interval is None


def test_order_ranks_are_those_of_the_binomial() -> None:
    for count, share in ((100, 0.5), (720, 0.95), (6000, 0.99), (460, 0.99)):
        low, high = _order_ranks(count, share, 0.025)
        binomial = reference.binom(count, share)
        assert binomial.cdf(low - 1) <= 0.025 < binomial.cdf(low)
        assert binomial.sf(high - 1) <= 0.025 < binomial.sf(high - 2)


def test_the_tolerance_limit_is_near_the_exact_one() -> None:
    for blocks in (12, 30):
        for share in (0.5, 0.95, 0.99):
            below, above = _tolerance(blocks, share, 0.95)
            z = reference.norm.ppf(share)
            ends = reference.nct.ppf([0.025, 0.975], blocks - 1, z * math.sqrt(blocks))
            exact = ends / math.sqrt(blocks) - z
            assert above == pytest.approx(exact[1], rel=0.08)
            assert -below == pytest.approx(exact[0], rel=0.08)


def test_signed_rank_cut_is_that_of_all_signs() -> None:
    signs = (np.arange(2**12)[:, None] >> np.arange(12)) & 1
    statistic = (signs * np.arange(1, 13)).sum(axis=1)
    cut = signed_rank_cut(12, 0.025)
    assert (statistic < cut).mean() <= 0.025 < (statistic <= cut).mean()
    assert signed_rank_cut(4, 0.025) == 0  # the smallest of 16 has 0.0625
    assert signed_rank_cut(401, 0.025) == pytest.approx(signed_rank_cut(400, 0.025), rel=0.01)


def test_speedup_is_the_hodges_lehmann_interval() -> None:
    baseline, candidate = drifting(1, 15, 21), [b / 2 for b in drifting(2, 15, 21)]
    ratios = np.log([np.median(b) / np.median(c) for b, c in zip(baseline, candidate, strict=True)])
    found = speedup(baseline, candidate)
    assert found.interval is not None
    # A shift inside the interval is not rejected by the exact signed-rank test, one outside is.
    for bound, outwards in ((found.interval.low, -1), (found.interval.high, 1)):
        outside, inside = (math.log(bound) + side * outwards * 1e-9 for side in (1, -1))
        assert reference.wilcoxon(ratios - outside, method="exact").pvalue <= 0.05
        assert reference.wilcoxon(ratios - inside, method="exact").pvalue > 0.05


def test_speedup_pairs_blocks() -> None:
    # Both drift by half of their speed, together: the pairs still tell 5 %.
    rng = np.random.default_rng(4)
    levels = 1e6 * np.linspace(1, 1.5, 14)
    baseline = [level * (1 + 0.01 * rng.standard_normal(50)) for level in levels]
    candidate = [level / 1.05 * (1 + 0.01 * rng.standard_normal(50)) for level in levels]
    interval = speedup(baseline, candidate).interval
    assert interval is not None
    assert 1.04 < interval.low < 1.05 < interval.high < 1.06


def test_one_slow_block_does_not_change_the_speedup() -> None:
    baseline, candidate = drifting(1, 16, 21, 0.0), drifting(2, 16, 21, 0.0)
    candidate[3] = candidate[3] * 10
    found = speedup(baseline, candidate)
    assert found.value == pytest.approx(1.0, rel=0.02)
    assert found.interval is not None
    assert found.interval.low > 0.95


def test_speedup_needs_pairs() -> None:
    with pytest.raises(ValueError, match="12 baseline blocks and 13 candidate blocks"):
        speedup(drifting(1, 12, 5), drifting(1, 13, 5))


def test_the_noise_floor_is_what_an_engine_against_itself_would_show() -> None:
    """Of 200 series: its median is the median half width of an A/A comparison of as many rounds."""
    floors, widths = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        # The machine drifts by several times what neighbours differ by.
        wander = 1e6 * np.exp(np.cumsum(0.01 * rng.standard_normal(24)))
        first, second = (
            [np.array([level * np.exp(0.02 * rng.standard_normal())]) for level in wander]
            for _ in range(2)
        )
        floor, interval = noise_floor(first), speedup(first, second).interval
        assert floor is not None and interval is not None
        floors.append(floor)
        widths.append(math.sqrt(interval.high / interval.low) - 1)
    assert np.median(floors) == pytest.approx(np.median(widths), rel=0.12)


def test_of_two_neighbours_neither_is_the_first() -> None:
    blocks = [
        np.array([1e6 * (1.03 if index % 2 else 1.0) * (1 + 0.001 * index)]) for index in range(14)
    ]
    swapped = [blocks[index ^ 1] for index in range(14)]
    floor = noise_floor(blocks)
    assert floor == pytest.approx(noise_floor(swapped))
    assert floor is not None and 0.02 < floor < 0.04


def test_the_noise_floor_needs_12_blocks_and_is_nought_without_noise() -> None:
    assert noise_floor(drifting(0, 11, 9)) is None
    assert noise_floor([np.array([1e6])] * 13) == 0.0


def test_throughput_is_all_samples_over_all_time() -> None:
    blocks = [np.full(calls, 2e6) for calls in range(1, 13)]
    found = mean_throughput(blocks, 8)
    assert found.value == pytest.approx(4000)
    assert found.count == 78
    assert found.interval is not None
    assert found.interval.high == pytest.approx(4000)  # blocks that do not differ


def test_throughput_reaches_further_to_the_side_of_the_rare_slow_blocks() -> None:
    """The interval of Hall for a skewed mean, from his formula, where it is the wider one."""
    totals = np.array([1.0] * 10 + [1.4, 1.9]) * 1e6
    interval = mean_throughput([np.array([total]) for total in totals], 1).interval
    assert interval is not None
    mean, error = totals.mean(), totals.std(ddof=1) / math.sqrt(12)
    skewness, reach = reference.skew(totals, bias=False), student_t_quantile(0.975, 11)
    scaled = -reach / math.sqrt(12) - skewness / 72
    inverse = 3 / skewness * (np.cbrt(1 + skewness * scaled) - 1)
    assert -inverse * math.sqrt(12) > 1.2 * reach
    factor = math.exp(-inverse * math.sqrt(12) * error / mean)
    assert interval.low == pytest.approx(1e9 / mean / factor, rel=1e-6)
    # To the other side the symmetric one is the wider.
    assert interval.high == pytest.approx(1e9 / mean * math.exp(reach * error / mean), rel=1e-6)


def test_what_is_no_time_is_refused() -> None:
    for bad, text in (
        ([], "no blocks"),
        ([np.array([])], "block 0 has shape"),
        ([np.array([1.0]), np.array([0.0])], "block 1 has times"),
        ([np.array([math.nan])], "block 0 has times"),
    ):
        with pytest.raises(ValueError, match=text):
            percentile(bad, 95)
    with pytest.raises(ValueError, match="percentile 100"):
        percentile(drifting(0, 12, 9), 100)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(12, 20),
    st.integers(40, 60),
    st.sampled_from([10.0, 50.0, 90.0, 95.0, 99.0]),
    st.sampled_from([0.8, 0.95, 0.99]),
)
def test_properties_of_percentile(seed: int, k: int, calls: int, p: float, level: float) -> None:
    blocks = drifting(seed, k, calls)
    found = percentile(blocks, p, level)
    check_interval(found)
    assert percentile(blocks[::-1], p, level) == found
    shuffled = [np.random.default_rng(seed).permutation(block) for block in blocks]
    assert percentile(shuffled, p, level) == found
    scaled = percentile([block * 4 for block in blocks], p, level)
    assert scaled.value == pytest.approx(4 * found.value)
    wider = percentile(blocks, p, (1 + level) / 2).interval
    if found.interval is None:
        assert k * calls < calls_needed(p, level)
        assert wider is None
    elif wider is not None:
        assert wider.low <= found.interval.low <= found.interval.high <= wider.high


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(12, 40), st.sampled_from([0.8, 0.95, 0.99]))
def test_properties_of_speedup(seed: int, pairs: int, level: float) -> None:
    first, second = drifting(seed, pairs, 11), drifting(seed + 1, pairs, 11)
    found, inverse = speedup(first, second, level), speedup(second, first, level)
    check_interval(found)
    assert found.value * inverse.value == pytest.approx(1)
    assert found.interval is not None
    assert inverse.interval is not None
    assert found.interval.low * inverse.interval.high == pytest.approx(1)
    turned = speedup(first[::-1], second[::-1], level)
    assert turned.value == pytest.approx(found.value)
    check_interval(mean_throughput(first, 2, level))


@given(st.floats(0.501, 0.9999), st.integers(1, 2000))
def test_student_t(probability: float, freedom: int) -> None:
    expected = reference.t.ppf(probability, freedom)
    assert student_t_quantile(probability, freedom) == pytest.approx(expected, rel=1e-7)
    assert student_t_quantile(1 - probability, freedom) == pytest.approx(-expected, rel=1e-7)


def test_coverage_where_a_naive_interval_fails() -> None:
    """300 runs of 12 drifting blocks; the full table: tests/benchmarks/verdicts_coverage.py."""
    rng = np.random.default_rng(11)
    population = rng.normal(1000, 50, 10**6) + rng.normal(0, 50, 10**6)
    truth = np.percentile(population, 95)
    covered, naive = 0, 0
    for _ in range(300):
        blocks = rng.normal(1000, 50, (12, 60)) + rng.normal(0, 50, (12, 1))
        interval = percentile(list(blocks), 95).interval
        assert interval is not None
        covered += interval.low <= truth <= interval.high
        pooled = np.sort(blocks.ravel())
        low, high = _order_ranks(pooled.size, 0.95, 0.025)
        naive += bool(pooled[low - 1] <= truth <= pooled[high - 1])
    assert covered / 300 >= 0.93
    assert naive / 300 < 0.75  # order statistics alone take calls of one block for independent


def check_interval(found: Estimate) -> None:
    if found.interval is not None:
        assert found.interval.low <= found.value <= found.interval.high
