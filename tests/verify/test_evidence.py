"""What failed, what is compared with what, and which blocks belong together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from edgestill.targets.blocks import Round
from edgestill.verify.evidence import Evidence

MakeEvidence = Callable[..., Evidence]


def test_the_teacher_is_the_baseline_and_no_candidate(evidence: MakeEvidence) -> None:
    found = evidence({"teacher": 400.0, "fp32": 100.0, "int8": 50.0})
    assert found.baseline is not None and found.baseline.name == "teacher"
    assert [candidate.name for candidate in found.precisions] == ["fp32", "int8"]
    assert evidence({"fp32": 100.0}).baseline is None


@pytest.mark.parametrize(
    ("names", "reference"),
    [(("int8", "fp32"), "fp32"), (("teacher", "fp16", "int8"), "fp16"), (("int8",), "int8")],
)
def test_others_are_compared_with_the_float_one_or_the_first(
    evidence: MakeEvidence, names: tuple[str, ...], reference: str
) -> None:
    assert evidence(dict.fromkeys(names, 1.0)).reference.name == reference


def test_nothing_failed(evidence: MakeEvidence) -> None:
    assert evidence({"teacher": 400.0, "fp32": 100.0}, batches=(1, 8)).failures == {}


def test_a_crash_in_any_round_at_any_batch_is_a_failure(
    evidence: MakeEvidence, rounds: Callable[..., tuple[Round, ...]]
) -> None:
    times = {"fp32": 100.0, "int8": 50.0}
    at_8 = rounds(times, batch=8, failing={"int8": 11})
    found = replace(evidence(times), rounds={1: rounds(times), 8: at_8})
    assert found.failures == {"int8": "the worker ended with signal 9"}
    assert len(found.blocks("int8", 8)) == 11


def test_other_outputs_in_timed_calls_are_a_failure(evidence: MakeEvidence) -> None:
    found = evidence({"teacher": 400.0, "fp32": 100.0}, mismatches={"fp32": 2}, number=3)
    assert found.failures == {
        "fp32": "6 of 183 answers at batch 1 were others than in the run that its "
        "accuracy was taken from, by up to 34% of the largest: they depend on the batch, or on the "
        "moment"
    }


def test_of_two_failures_the_one_at_the_first_batch_is_told(
    evidence: MakeEvidence, rounds: Callable[..., tuple[Round, ...]]
) -> None:
    times = {"fp32": 100.0}
    wrong, crashed = rounds(times, mismatches={"fp32": 1}), rounds(times, failing={"fp32": 3})
    assert "at batch 1" in replace(evidence(times), rounds={1: wrong, 8: crashed}).failures["fp32"]
    assert "signal" in replace(evidence(times), rounds={1: crashed, 8: wrong}).failures["fp32"]


def test_blocks_are_of_one_candidate_at_one_batch_in_order(evidence: MakeEvidence) -> None:
    medians = [100.0 + index for index in range(12)]
    found = evidence({"fp32": medians, "int8": 50.0}, batches=(1, 8))
    middle = [int(calls[30]) for calls in found.blocks_ns("fp32", 8)]
    assert middle == [1000 * int(median) for median in medians]
    assert found.blocks("fp32", 4) == []


def test_pairs_are_of_rounds_that_have_both(evidence: MakeEvidence) -> None:
    medians = [100.0 + index for index in range(12)]
    found = evidence({"fp32": medians, "int8": medians}, failing={"int8": 3})
    pairs = found.pairs_ns("fp32", "int8", 1)
    assert [(a[30], b[30]) for a, b in pairs] == [(t, t) for t in (100_000, 101_000, 102_000)]
    assert found.pairs_ns("fp32", "int8", 8) == []


def test_a_round_that_lost_a_block_shifts_no_pair(evidence: MakeEvidence) -> None:
    medians = [100.0 + index for index in range(12)]
    found = evidence({"fp32": medians, "int8": medians})
    series = list(found.rounds[1])
    series[3] = replace(series[3], blocks=series[3].blocks[:1])
    pairs = replace(found, rounds={1: tuple(series)}).pairs_ns("fp32", "int8", 1)
    assert len(pairs) == 11
    assert all((first == second).all() for first, second in pairs)
