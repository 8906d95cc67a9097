"""Figures of latency: what they are made of, and what is left out for want of samples."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import numpy
import pytest

from edgestill.stats import noise_floor, percentile
from edgestill.verify.conditions import conditions_of
from edgestill.verify.evidence import Evidence
from edgestill.verify.latency import percentile_of, speedup_over, summarize
from edgestill.verify.results import LatencyResult

MakeEvidence = Callable[..., Evidence]


def summary(evidence: Evidence, batch: int = 1, extra: tuple[float, ...] = ()) -> LatencyResult:
    found = summarize(evidence, "fp32", batch, threads=3, level=0.95, extra=extra)
    assert found is not None
    return found


def test_a_summary_says_what_it_rests_on(evidence: MakeEvidence) -> None:
    found = summary(evidence({"fp32": 100.0}, number=12, calls=61))
    assert (found.batch, found.threads, found.blocks, found.calls) == (1, 3, 12, 732)
    assert found.median_ns == 100_000
    assert found.throughput.value == pytest.approx(10_000, rel=1e-3)
    assert found.throughput.interval is not None
    assert found.measured_at == "2026-11-20T10:00:00.000+00:00"
    assert (found.steady, found.mismatches) == (1.0, 0)


def test_throughput_counts_every_sample_of_a_call(evidence: MakeEvidence) -> None:
    found = summary(evidence({"fp32": 100.0}, batches=(8,)), batch=8)
    assert found.throughput.value == pytest.approx(80_000, rel=1e-3)


@pytest.mark.parametrize(
    ("calls", "given"),
    [
        (6, set()),
        (7, {"50"}),
        (44, {"50", "90"}),
        (89, {"50", "90"}),
        (90, {"50", "90", "95"}),
        (458, {"50", "90", "95"}),
        (459, {"50", "90", "95", "99"}),
    ],
)
def test_a_percentile_without_enough_calls_is_not_given(
    evidence: MakeEvidence, calls: int, given: set[str]
) -> None:
    found = summary(evidence({"fp32": 100.0}, number=1, calls=calls))
    assert set(found.percentiles_ns) == given
    assert all(estimate.interval is None for estimate in found.percentiles_ns.values())


def test_a_gates_own_percentile_is_given_beside_the_usual_ones(evidence: MakeEvidence) -> None:
    made = evidence({"fp32": 100.0}, calls=61)
    found = summary(made, extra=(97.5, 99.9, 95.0))
    assert list(found.percentiles_ns) == ["50", "90", "95", "97.5", "99"]
    assert found.percentiles_ns["97.5"] == percentile(made.blocks_ns("fp32", 1), 97.5, 0.95)


def test_loads_and_memory_over_the_blocks(evidence: MakeEvidence) -> None:
    made = evidence({"fp32": 100.0}, number=3)
    loads, peaks, steady = (9_000_000, 2_000_000, 4_000_000), (70, 90, 80), (True, False, False)
    series = tuple(
        replace(
            round_,
            blocks=(
                replace(
                    round_.blocks[0],
                    load_ns=loads[index],
                    peak_rss_bytes=peaks[index],
                    steady=steady[index],
                    mismatches=index,
                ),
            ),
        )
        for index, round_ in enumerate(made.rounds[1])
    )
    found = summary(replace(made, rounds={1: series}))
    assert (found.first_load_ns, found.later_load_ns) == (9_000_000, 3_000_000)
    assert (found.memory_bytes, found.mismatches) == (90, 3)
    assert found.steady == pytest.approx(1 / 3)


def test_the_state_of_the_machine_is_that_of_its_blocks(evidence: MakeEvidence) -> None:
    made = evidence({"fp32": [100.0] * 6 + [200.0] * 6})
    found = summary(made)
    assert found.conditions == conditions_of(made.blocks("fp32", 1))
    assert found.conditions.speed_change is not None


def test_a_series_is_read_up_to_its_last_look(evidence: MakeEvidence) -> None:
    # A run that was killed left 30 rounds; the last six are for the look at 48.
    medians = [100.0] * 24 + [900.0] * 6
    made = evidence({"fp32": medians, "int8": 50.0}, number=30, first_look=12)
    found = summary(made)
    assert (found.looks, found.blocks) == (2, 24)
    assert found.median_ns == pytest.approx(100_000)
    assert speedup_over(made, "int8", "fp32", 1, 0.95).count == 24
    assert summary(replace(made, first_look=None)).blocks == 30


def test_a_look_takes_a_stricter_interval_that_holds_at_the_level_asked_for(
    evidence: MakeEvidence,
) -> None:
    made = evidence({"fp32": [100.0, 104.0] * 6}, first_look=12)
    strict = percentile(made.blocks_ns("fp32", 1), 50.0, 0.99).interval
    found = percentile_of(made, "fp32", 1, 50.0, 0.95).interval
    assert strict is not None and found is not None
    assert (found.low, found.high, found.level) == (strict.low, strict.high, 0.95)


def test_the_noise_floor_is_half_the_width_of_a_comparison_with_itself(
    evidence: MakeEvidence,
) -> None:
    # Neighbours differ by 3 % or not at all; a drift over the rounds does not count.
    noisy = [100.0, 103.0, 110.0, 110.0, 123.0, 120.0, 130.0, 130.0] * 3
    made = evidence({"fp32": noisy}, number=24, first_look=12)
    found = summary(made)
    assert found.noise_floor is not None
    assert 0.005 < found.noise_floor < 0.02
    # At the level of the look, as the verdicts that it is shown beside.
    assert found.noise_floor == noise_floor(made.blocks_ns("fp32", 1), 0.99)
    assert summary(evidence({"fp32": 100.0}, number=11)).noise_floor is None


def test_a_histogram_counts_every_call_where_its_time_lies(evidence: MakeEvidence) -> None:
    found = summary(evidence({"fp32": [100.0] * 6 + [400.0] * 6}, number=12, calls=50)).histogram
    assert found is not None and sum(found.counts) == 600
    assert (found.low_ns, found.high_ns) == (pytest.approx(95_000), pytest.approx(420_000))
    edges = numpy.geomspace(found.low_ns, found.high_ns, len(found.counts) + 1)
    # Calls lie within 5 % of their block's median.
    assert sum(found.counts[: int(numpy.searchsorted(edges, 105_000))]) == 300
    assert sum(found.counts[int(numpy.searchsorted(edges, 380_000)) - 1 :]) == 300


def test_calls_that_all_took_the_same_time_are_in_one_bin(evidence: MakeEvidence) -> None:
    made = evidence({"fp32": 100.0}, number=1)
    (block,) = made.rounds[1][0].blocks
    same = replace(made.rounds[1][0], blocks=(replace(block, samples_ns=(5_000,) * 7),))
    found = summary(replace(made, rounds={1: (same,)})).histogram
    assert found is not None and sorted(found.counts)[-2:] == [0, 7]


def test_a_series_has_each_block_with_what_the_machine_was_like(evidence: MakeEvidence) -> None:
    made = evidence({"fp32": [100.0, 200.0, 300.0], "int8": 10.0}, number=3, calls=61)
    rounds = []
    for round_ in made.rounds[1]:
        block = next(block for block in round_.blocks if block.candidate == "fp32")
        before = replace(block.before, load=3.0, frequency_mhz=1.0)
        after = replace(block.after, load=99.0, frequency_mhz=2400, temperature_c=51.5)
        rounds.append(replace(round_, blocks=(replace(block, before=before, after=after),)))
    found = summary(replace(made, rounds={1: tuple(rounds)})).series
    assert [block.median_ns for block in found] == [100_000, 200_000, 300_000]
    assert found[1].p10_ns == pytest.approx(200_000 * 0.96, rel=1e-3)
    assert found[1].p90_ns == pytest.approx(200_000 * 1.04, rel=1e-3)
    assert {block.calls for block in found} == {61}
    assert found[0].load == pytest.approx(3.0 / (os.cpu_count() or 1))
    assert (found[0].frequency_mhz, found[0].temperature_c) == (2400, 51.5)


def test_what_was_not_measured_has_no_figures(evidence: MakeEvidence) -> None:
    assert summarize(evidence({"fp32": 100.0}), "fp32", 8, 1, 0.95, ()) is None
    assert summarize(evidence({"fp32": 100.0}), "int8", 1, 1, 0.95, ()) is None


def test_a_speedup_pairs_the_blocks_of_a_round(evidence: MakeEvidence) -> None:
    # The machine slows down threefold: only pairs of one round show that int8 is twice as fast.
    drift = numpy.geomspace(100.0, 300.0, 12)
    made = evidence({"fp32": list(drift), "int8": list(drift / 2)})
    found = speedup_over(made, "fp32", "int8", 1, 0.95)
    assert found.count == 12 and found.interval is not None
    assert found.value == pytest.approx(2.0, rel=1e-4)
    assert found.interval.high - found.interval.low < 0.001


def test_a_candidate_that_failed_on_the_way_is_compared_over_its_own_rounds(
    evidence: MakeEvidence,
) -> None:
    drift = numpy.geomspace(100.0, 300.0, 12)
    made = evidence({"fp32": list(drift), "int8": list(drift / 2)}, failing={"int8": 3})
    found = speedup_over(made, "fp32", "int8", 1, 0.95)
    assert (found.count, found.interval) == (3, None)
    assert found.value == pytest.approx(2.0, rel=1e-4)
