"""Scores: proportions, paired drops, and how many samples would decide."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats as reference

from edgestill.errors import DataError
from edgestill.metrics import METRICS
from edgestill.stats import (
    Verdict,
    decide,
    exact_paired_interval,
    mcnemar_exact,
    mean_score,
    paired_drop,
    paired_drop_of,
    samples_to_bound,
    samples_to_decide,
    score_of,
)
from edgestill.stats.distributions import beta_quantile, incomplete_beta
from edgestill.stats.proportions import paired_difference_interval, proportion_interval

Floats = NDArray[np.float64]


def outcomes(both: int, losses: int, wins: int, neither: int) -> tuple[Floats, Floats]:
    """Scores of a reference and a candidate with these counts."""
    first = np.repeat([1.0, 1.0, 0.0, 0.0], [both, losses, wins, neither])
    second = np.repeat([1.0, 0.0, 1.0, 0.0], [both, losses, wins, neither])
    return first, second


def share_right(predictions: NDArray[Any], labels: NDArray[Any]) -> float:
    return float((predictions == labels).mean())


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_test(wins: int, losses: int) -> None:
    assume(wins + losses > 0)
    expected = reference.binomtest(wins, wins + losses, 0.5).pvalue
    assert mcnemar_exact(wins, losses) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_known_counts() -> None:
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(1, 9) == pytest.approx(22 / 1024)
    assert mcnemar_exact(40_000, 41_000) == pytest.approx(0.000444, rel=0.01)


@pytest.mark.parametrize("total", [1, 3, 8, 20])
@pytest.mark.parametrize("level", [0.95, 0.999])
def test_an_exact_interval_misses_no_more_than_it_says_however_few_samples(
    total: int, level: float
) -> None:
    """Each end by itself, over all counts, for every pair of rates."""
    counts = [(a, b) for a in range(total + 1) for b in range(total + 1 - a)]
    ends = [exact_paired_interval(losses, wins, total, level) for losses, wins in counts]
    for lost in np.linspace(0, 1, 11):
        for won in np.linspace(0, 1 - lost, 6):
            rates = (lost, won, max(0.0, 1 - lost - won))
            chances = [
                reference.multinomial.pmf((a, b, total - a - b), total, rates) for a, b in counts
            ]
            difference = lost - won
            pairs = list(zip(ends, chances, strict=True))
            above = sum(p for (low, _), p in pairs if low > difference + 1e-9)
            below = sum(p for (_, high), p in pairs if high < difference - 1e-9)
            assert max(above, below) <= (1 - level) / 2 + 1e-9


def test_an_exact_interval_is_wider_than_tangos_and_not_by_much() -> None:
    low, high = exact_paired_interval(5, 2, 100, 0.95)
    tango_low, tango_high = paired_difference_interval(5, 2, 100, 0.95)
    assert low < tango_low < 0.03 < tango_high < high
    assert high - low < 1.6 * (tango_high - tango_low)


@given(st.integers(0, 3000), st.integers(0, 3000), st.sampled_from([0.8, 0.95, 0.999]))
def test_proportion_interval_is_clopper_pearson(right: int, wrong: int, level: float) -> None:
    assume(right + wrong > 0)
    expected = reference.binomtest(right, right + wrong).proportion_ci(level, "exact")
    found = proportion_interval(right, right + wrong, level)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-7)


@given(st.floats(0.01, 5000), st.floats(0.01, 5000), st.floats(0, 1, allow_subnormal=False))
def test_incomplete_beta(a: float, b: float, x: float) -> None:
    assert incomplete_beta(a, b, x) == pytest.approx(reference.beta.cdf(x, a, b), abs=1e-9)


def test_beta_quantile_of_a_small_tail() -> None:
    assert beta_quantile(0.025, 1, 100_000) == pytest.approx(
        reference.beta.ppf(0.025, 1, 100_000), rel=1e-9
    )


@given(
    st.integers(0, 300),
    st.integers(0, 40),
    st.integers(0, 40),
    st.sampled_from([0.8, 0.95, 0.99]),
)
def test_properties_of_the_paired_interval(
    agreed: int, losses: int, wins: int, level: float
) -> None:
    assume(agreed + losses + wins > 0)
    first, second = outcomes(agreed, losses, wins, 0)
    found, turned = paired_drop(first, second, level), paired_drop(second, first, level)
    assert found.interval is not None
    assert turned.interval is not None
    assert found.interval.low <= found.value <= found.interval.high
    assert found.interval.low < found.interval.high
    assert found.interval.low == pytest.approx(-turned.interval.high, abs=1e-12)
    # The bounds solve the score equation: z^2 at both ends, checked by its own definition.
    z = reference.norm.ppf((1 + level) / 2)
    for end in (found.interval.low, found.interval.high):
        if -1 < end < 1 and losses + wins:
            assert abs(restricted_score(losses, wins, first.size, end)) == pytest.approx(
                z, rel=1e-4
            )


def restricted_score(losses: int, wins: int, total: int, difference: float) -> float:
    """Tango's statistic with the restricted maximum found by search and not by formula."""
    agreed = total - losses - wins

    def minus_log_likelihood(q: float) -> float:
        cells = np.array([q + difference, q, 1 - 2 * q - difference])
        if (cells < 0).any():
            return float("inf")
        counts = np.array([losses, wins, agreed])
        return -float((counts[counts > 0] * np.log(np.maximum(cells[counts > 0], 1e-300))).sum())

    low, high = max(0.0, -difference), (1 - difference) / 2
    for _ in range(200):
        third = (high - low) / 3
        if minus_log_likelihood(low + third) < minus_log_likelihood(high - third):
            high -= third
        else:
            low += third
    variance = total * (2 * low + difference * (1 - difference))
    return float((losses - wins - total * difference) / np.sqrt(variance))


def test_no_disagreement_is_no_proof() -> None:
    right = np.ones(1000)
    interval = paired_drop(right, right).interval
    assert interval is not None
    # The exact upper limit of a rate that was not seen once in 1,000 is 0.0037.
    assert interval.high == pytest.approx(1 - 0.025 ** (1 / 1000), rel=0.05)
    assert decide(paired_drop(right, right), at_most=0.005) is Verdict.PASS
    assert decide(paired_drop(right[:500], right[:500]), at_most=0.005) is Verdict.INCONCLUSIVE


def test_equal_scores_that_are_no_counts_have_width_too() -> None:
    scores = np.tile([0.6, 0.8, 1.0], 100)
    interval = paired_drop(scores, scores).interval
    assert interval is not None
    assert interval.high == pytest.approx(0.4 * 3.69 / 300, rel=0.15)
    assert interval.low < 0
    assert paired_drop(np.full(50, 0.7), np.full(50, 0.7)).interval is None
    assert mean_score(np.full(50, 0.7)).interval is None


def test_pairing_tells_what_two_means_cannot() -> None:
    rng = np.random.default_rng(0)
    reference_scores = rng.random(5000)
    worse = reference_scores - 0.003 + 0.01 * rng.standard_normal(5000)
    interval = paired_drop(reference_scores, worse).interval
    assert interval is not None
    assert 0.002 < interval.low < 0.003 < interval.high < 0.004


def test_a_growing_error_is_a_drop() -> None:
    errors = np.random.default_rng(0).exponential(1.0, 300)
    assert paired_drop(errors, errors + 0.1, bigger_is_better=False).value == pytest.approx(0.1)


def test_bootstrap_of_a_mean_agrees_with_scipy() -> None:
    errors = np.random.default_rng(5).exponential(1.0, 200)
    found = mean_score(errors, 0.95, seed=1).interval
    expected = reference.bootstrap(
        (errors,), np.mean, confidence_level=0.95, method="BCa", rng=np.random.default_rng(2)
    ).confidence_interval
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.02)


def test_large_sets_are_quick_and_as_exact_as_small_ones() -> None:
    rng = np.random.default_rng(6)
    drops = rng.normal(0.1, 1.0, 200_000)
    found = paired_drop(drops, np.zeros_like(drops)).interval
    assert found is not None
    half = 1.96 / np.sqrt(len(drops))
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.06)
    first, second = rng.random(10_000), rng.random(10_000)
    paired_drop(first, second)
    start = time.process_time()
    paired_drop(first, second)
    assert time.process_time() - start < 0.5  # 0.06 s on a quiet machine


def test_the_seed_is_all_the_chance_there_is() -> None:
    rng = np.random.default_rng(7)
    first, second = rng.random(6000), rng.random(6000)
    found = paired_drop(first, second, seed=3)
    assert paired_drop(first, second, seed=3) == found
    assert paired_drop(first, second, seed=4) != found
    order = rng.permutation(6000)
    moved = paired_drop(first[order], second[order], seed=3)
    assert moved.interval is not None
    assert found.interval is not None
    assert moved.interval.low == pytest.approx(found.interval.low, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=80), st.integers(0, 99))
def test_the_bootstrap_interval_contains_the_mean(values: list[float], seed: int) -> None:
    found = mean_score(np.array(values), 0.95, seed)
    if found.interval is not None:
        assert found.interval.low <= found.value <= found.interval.high


def test_a_metric_of_the_set_gives_what_the_samples_give() -> None:
    rng = np.random.default_rng(8)
    labels = rng.integers(0, 4, 800)
    first = np.where(rng.random(800) < 0.9, labels, 0)
    second = np.where(rng.random(800) < 0.85, first, 1)
    of_set = paired_drop_of(share_right, first, second, labels)
    of_samples = paired_drop((first == labels) * 1.0, (second == labels) * 1.0)
    assert of_set.value == pytest.approx(of_samples.value)
    assert of_set.interval is not None
    assert of_samples.interval is not None
    assert of_set.interval.low == pytest.approx(of_samples.interval.low, abs=0.004)
    assert of_set.interval.high == pytest.approx(of_samples.interval.high, abs=0.004)
    alone = score_of(share_right, first, labels).interval
    expected = mean_score((first == labels) * 1.0).interval
    assert alone is not None
    assert expected is not None
    assert alone.low == pytest.approx(expected.low, abs=0.005)


def test_a_metric_of_the_set_without_disagreements_has_width() -> None:
    labels = np.random.default_rng(9).integers(0, 4, 400)
    interval = paired_drop_of(share_right, labels, labels, labels).interval
    assert interval is not None
    assert interval.high == pytest.approx(3.7 / 400, abs=2 / 400)
    assert interval.low < 0
    perfect = score_of(share_right, labels, labels).interval
    assert perfect is not None
    assert perfect.low < 1.0 == perfect.high


@pytest.mark.parametrize("name", ["f1_macro", "balanced_accuracy", "mean_iou"])
@pytest.mark.parametrize("changed", [0.0, 0.01, 0.3])
@pytest.mark.parametrize("positions", [(), (4, 3)])
def test_sums_give_what_calls_of_the_metric_give(
    name: str, changed: float, positions: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(14)
    labels = rng.integers(0, 3, (80, *positions))
    first = rng.normal(size=(80, 3, *positions))
    second = np.where(rng.random(first.shape) < changed, -first, first)
    by_sums = METRICS[name].function

    def by_calls(predictions: NDArray[Any], truth: NDArray[Any]) -> float:
        return float(by_sums(predictions, truth))

    drops = [paired_drop_of(f, first, second, labels, resamples=200) for f in (by_sums, by_calls)]
    assert drops[0] == drops[1]
    alone = [score_of(f, second, labels, resamples=200) for f in (by_sums, by_calls)]
    assert alone[0] == alone[1]


@pytest.mark.parametrize("name", ["f1_micro", "rmse"])
def test_sums_over_values_give_what_calls_of_the_metric_give(name: str) -> None:
    rng = np.random.default_rng(15)
    labels = rng.integers(0, 2, (70, 4))
    first = labels + rng.normal(size=labels.shape)
    second = first + 0.3 * rng.normal(size=labels.shape)
    by_sums = METRICS[name].function

    def by_calls(predictions: NDArray[Any], truth: NDArray[Any]) -> float:
        return float(by_sums(predictions, truth))

    found, called = (
        paired_drop_of(function, first, second, labels, resamples=200)
        for function in (by_sums, by_calls)
    )
    assert found.interval is not None and called.interval is not None
    assert found.interval.low == pytest.approx(called.interval.low, abs=1e-12)
    assert found.interval.high == pytest.approx(called.interval.high, abs=1e-12)


def test_models_of_several_and_of_one_output_can_be_compared() -> None:
    labels = np.arange(60) % 3
    one, several = labels + 0.5, {"value": labels + 0.25, "extra": np.ones((60, 2))}

    def error(outputs: Any, truth: NDArray[Any]) -> float:
        values = outputs["value"] if isinstance(outputs, dict) else outputs
        return float(np.abs(values - truth).mean())

    drop = paired_drop_of(error, several, one, labels, bigger_is_better=False, resamples=100)
    assert drop.value == pytest.approx(0.25)


def test_a_metric_of_several_outputs() -> None:
    rng = np.random.default_rng(10)
    labels = rng.normal(size=200)
    first = {"mean": labels + 0.1, "scale": np.ones(200)}
    second = {"mean": labels + 0.3, "scale": np.ones(200)}

    def error(outputs: dict[str, Any], truth: NDArray[Any]) -> float:
        return float(np.abs(outputs["mean"] - truth * outputs["scale"]).mean())

    found = paired_drop_of(error, first, second, labels, bigger_is_better=False, resamples=200)
    assert found.value == pytest.approx(0.2)


def test_a_resample_that_the_metric_refuses_is_drawn_out() -> None:
    labels = np.zeros(60, int)
    labels[:5] = 1
    rng = np.random.default_rng(11)
    scores = labels + rng.normal(size=60)

    def separation(predictions: NDArray[Any], truth: NDArray[Any]) -> float:
        if len(np.unique(truth)) < 2:
            raise DataError("one class")
        return float(predictions[truth == 1].mean() - predictions[truth == 0].mean())

    assert paired_drop_of(separation, scores, scores + labels, labels).interval is not None
    labels[1:] = 0
    with pytest.raises(DataError, match="one class"):
        paired_drop_of(separation, scores, scores, labels)


def test_samples_to_decide() -> None:
    nothing_differs = np.ones(100)
    needed = samples_to_decide(nothing_differs, nothing_differs, 0.005)
    assert needed is not None
    enough = np.ones(needed)
    assert decide(paired_drop(enough, enough), at_most=0.005) is Verdict.PASS
    assert samples_to_decide(nothing_differs, nothing_differs, 0.0) is None
    tighter = samples_to_decide(nothing_differs, nothing_differs, 0.001)
    assert tighter is not None
    assert tighter > needed


@pytest.mark.parametrize("lost", [0.01, 0.05])
def test_samples_to_decide_decides_four_times_in_five(lost: float) -> None:
    first, second = outcomes(900, round(lost * 1000), 0, 100 - round(lost * 1000))
    needed = samples_to_decide(first, second, 0.03)
    assert needed is not None
    rng = np.random.default_rng(12)
    decided = 0
    for losses in rng.binomial(needed, lost, 400):
        low, high = paired_difference_interval(losses, 0, needed, 0.95)
        decided += high <= 0.03 if lost < 0.03 else low > 0.03
    assert 0.7 < decided / 400 < 0.95


@pytest.mark.parametrize(("right", "bound"), [(0.95, 0.93), (0.95, 0.96), (1.0, 0.995)])
def test_samples_to_a_bound_decide_four_times_in_five(right: float, bound: float) -> None:
    seen = np.repeat([1.0, 0.0], [round(right * 200), 200 - round(right * 200)])
    needed = samples_to_bound(seen, bound)
    assert needed is not None and needed > 200
    rng = np.random.default_rng(12)
    decided = 0
    for hits in rng.binomial(needed, right, 400):
        low, high = proportion_interval(int(hits), needed, 0.95)
        decided += low >= bound if right > bound else high < bound
    assert decided / 400 > 0.7 and (right == 1.0 or decided / 400 < 0.95)


@pytest.mark.parametrize("changed", [0, 1, 3])
def test_samples_to_decide_shares_of_positions_of_which_few_or_none_differ(changed: int) -> None:
    """What is not seen decides: twice as many samples of the same kind halve the interval."""
    shares = np.tile([1.0, 0.9, 0.75, 0.5], 25)
    others = shares.copy()
    others[:changed] -= 0.1
    assert decide(paired_drop(shares, others), at_most=0.01) is Verdict.INCONCLUSIVE
    needed = samples_to_decide(shares, others, 0.01)
    assert needed is not None and needed > 100
    times = math.ceil(needed / 100)
    enough = paired_drop(np.tile(shares, times), np.tile(others, times))
    assert decide(enough, at_most=0.01) is Verdict.PASS


def test_samples_to_a_bound_of_scores_that_are_no_shares() -> None:
    errors = np.linspace(0.0, 1.0, 101)  # 0.5 in the mean, with a standard deviation of 0.2915
    assert samples_to_bound(errors, 0.52) == math.ceil((0.29155 * 2.80159 / 0.02) ** 2)
    assert samples_to_bound(errors, float(errors.mean())) is None
    assert samples_to_bound(np.full(10, 0.3), 0.4) is None


def test_coverage_where_a_plain_bootstrap_fails() -> None:
    """1.5 losses expected in 500: in 2 of 9 sets none is seen, and a bootstrap has no width."""
    rng = np.random.default_rng(13)
    covered, naive = 0, 0
    for losses in rng.binomial(500, 1.5 / 500, 600):
        low, high = paired_difference_interval(int(losses), 0, 500, 0.95)
        covered += low <= 1.5 / 500 <= high
        resampled = rng.binomial(500, losses / 500, 400) / 500
        naive += bool(np.quantile(resampled, 0.025) <= 1.5 / 500 <= np.quantile(resampled, 0.975))
    assert covered / 600 >= 0.93
    assert naive / 600 < 0.85


def test_what_cannot_be_paired_is_refused() -> None:
    with pytest.raises(ValueError, match="3 reference scores and 4 scores"):
        paired_drop(np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match=r"scores of shape \(2, 2\)"):
        mean_score(np.ones((2, 2)))
    with pytest.raises(ValueError, match="not finite"):
        mean_score(np.array([1.0, np.nan]))
