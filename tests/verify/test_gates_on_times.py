"""Gates on latency, throughput and speed-up: when they pass, fail or stay open, and their words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, replace
from typing import Any

import pytest

from edgestill.stats import Verdict
from edgestill.verify.config import (
    LatencyGate,
    SpeedupGate,
    ThroughputGate,
)
from edgestill.verify.gates import Subject
from edgestill.verify.results import GateResult

Decide = Callable[..., GateResult]


TIMES = {"teacher": 400.0, "fp32": 100.0, "int8": 50.0}
MILLION = 1_000_000


AT_THE_BUDGET = (
    "even 768 rounds like these would not decide it: the figure is too near the budget, or the "
    "machine too noisy"
)
UNSURE = {"teacher": [80.0, 120.0] * 6, "fp32": 100.0, "int8": 50.0}


@pytest.mark.parametrize(
    ("config", "times", "expected"),
    [
        (
            LatencyGate(at_most=60e-6),
            TIMES,
            (
                "PASS",
                "p95 <= 60 µs (batch 1)",
                "52.3 µs [52.2 µs, 52.4 µs], n = 732 calls, 13% inside",
                "",
            ),
        ),
        (
            LatencyGate(at_most=52e-6),
            TIMES,
            (
                "FAIL",
                "p95 <= 52 µs (batch 1)",
                "52.3 µs [52.2 µs, 52.4 µs], n = 732 calls, 0.32% outside",
                "",
            ),
        ),
        (
            LatencyGate(at_most=52.26e-6),
            TIMES,
            (
                "INCONCLUSIVE",
                "p95 <= 52.3 µs (batch 1)",
                "52.3 µs [52.2 µs, 52.4 µs], n = 732 calls",
                AT_THE_BUDGET,
            ),
        ),
        (
            ThroughputGate(at_least=19_000.0),
            TIMES,
            (
                "PASS",
                "gate >= 19000/s (batch 1)",
                "20000/s [20000/s, 20000/s], n = 732 calls, 5.3% inside",
                "",
            ),
        ),
        (
            ThroughputGate(at_least=21_000.0),
            TIMES,
            (
                "FAIL",
                "gate >= 21000/s (batch 1)",
                "20000/s [20000/s, 20000/s], n = 732 calls, 4.8% outside",
                "",
            ),
        ),
        (
            ThroughputGate(at_least=0.55),
            {"teacher": 1.0, "fp32": 1.0, "int8": [1.6 * MILLION, 2.4 * MILLION] * 6},
            (
                "INCONCLUSIVE",
                "gate >= 33/min (batch 1)",
                "30/min [24.88/min, 36.18/min], n = 732 calls",
                "about 96 rounds would decide it, 12 were measured (measure.decide_within)",
            ),
        ),
        (
            SpeedupGate(at_least=7.9),
            TIMES,
            (
                "PASS",
                "gate over teacher >= 7.9x (batch 1)",
                "8.00x [8.00x, 8.00x], n = 12 pairs of blocks, 1.3% inside",
                "",
            ),
        ),
        (
            SpeedupGate(at_least=2.0),
            UNSURE,
            (
                "INCONCLUSIVE",
                "gate over teacher >= 2x (batch 1)",
                "1.96x [1.60x, 2.40x], n = 12 pairs of blocks",
                AT_THE_BUDGET,
            ),
        ),
        (
            SpeedupGate(at_least=2.1, over="student"),
            TIMES,
            (
                "FAIL",
                "gate over student >= 2.1x (batch 1)",
                "2.00x [2.00x, 2.00x], n = 12 pairs of blocks, 4.8% outside",
                "",
            ),
        ),
    ],
)
def test_gates_on_times(
    gate: Decide,
    subject: Callable[..., Subject],
    config: Any,
    times: Any,
    expected: tuple[str, ...],
) -> None:
    assert astuple(gate(subject(times), config))[2:6] == expected


@pytest.mark.parametrize(
    ("asked", "needed", "advice"),
    [
        (50.0, 7, "p50 needs 8 calls: about 12 rounds"),
        (90.0, 44, "p90 needs 51 calls: about 12 rounds"),
        (95.0, 90, "p95 needs 104 calls: about 12 rounds"),
        (99.9, 4603, "p99.9 needs 5296 calls: about 96 rounds"),
    ],
)
def test_a_percentile_without_enough_calls_is_open_and_never_printed(
    gate: Decide, subject: Callable[..., Subject], asked: float, needed: int, advice: str
) -> None:
    config = LatencyGate(at_most=1.0, percentile=asked)
    calls = min(needed - 1, 100)
    found = gate(subject(number=1, calls=calls), config)
    assert astuple(found)[2:6] == (
        "INCONCLUSIVE",
        f"p{asked:g} <= 1 s (batch 1)",
        f"{calls} calls",
        f"{advice}, 1 was measured (measure.decide_within)",
    )


def test_a_percentile_with_just_enough_calls_is_printed(
    gate: Decide, subject: Callable[..., Subject]
) -> None:
    found = gate(subject(number=1, calls=90), LatencyGate(at_most=1.0))
    assert astuple(found)[2:6] == (
        "INCONCLUSIVE",
        "p95 <= 1 s (batch 1)",
        "52.2 µs, n = 90 calls",
        "1 block; an interval needs 12 (measure.rounds)",
    )


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (LatencyGate(at_most=1.0), "52.3 µs, n = 671 calls"),
        (ThroughputGate(at_least=1.0), "20000/s, n = 671 calls"),
        (SpeedupGate(at_least=1.1), "8.00x, n = 11 pairs of blocks"),
    ],
)
def test_from_fewer_than_12_blocks_nothing_is_decided(
    gate: Decide, subject: Callable[..., Subject], config: Any, found: str
) -> None:
    result = gate(subject(number=11), config)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.found == found
    assert result.advice == "11 blocks; an interval needs 12 (measure.rounds)"


@pytest.mark.parametrize(
    ("config", "found", "advice"),
    [
        (LatencyGate(at_most=1.0, batch=8), "not measured", "it was not run here"),
        (ThroughputGate(at_least=1.0, batch=8), "not measured", "it was not run here"),
        (
            SpeedupGate(at_least=1.1, batch=8),
            "no baseline",
            "the teacher in fp32 was not measured here",
        ),
    ],
)
def test_what_was_measured_at_another_batch_decides_nothing(
    gate: Decide, subject: Callable[..., Subject], config: Any, found: str, advice: str
) -> None:
    result = gate(subject(batches=(1,)), config)
    assert (result.verdict, result.found, result.advice) == (Verdict.INCONCLUSIVE, found, advice)


def test_each_batch_is_decided_on_its_own_blocks(
    gate: Decide, subject: Callable[..., Subject], rounds: Callable[..., Any]
) -> None:
    found = subject()
    at_8 = {"teacher": 1000.0, "fp32": 500.0, "int8": 400.0}
    found = replace(found, evidence=replace(
        found.evidence, rounds={**found.evidence.rounds, 8: rounds(at_8, batch=8)}
    ))  # fmt: skip
    assert gate(found, LatencyGate(at_most=60e-6)).verdict is Verdict.PASS
    assert gate(found, LatencyGate(at_most=60e-6, batch=8)).verdict is Verdict.FAIL
    throughput = gate(found, ThroughputGate(at_least=19_900.0, batch=8))
    assert astuple(throughput)[2:5] == (
        "PASS",
        "gate >= 19900/s (batch 8)",
        "20000/s [20000/s, 20000/s], n = 732 calls, 0.5% inside",
    )
    assert gate(found, SpeedupGate(at_least=3.0, batch=8)).verdict is Verdict.FAIL


def test_a_speedup_without_a_baseline_is_open(
    gate: Decide, subject: Callable[..., Subject]
) -> None:
    result = gate(subject({"fp32": 100.0, "int8": 50.0}), SpeedupGate(at_least=1.1))
    assert astuple(result)[2:6] == (
        "INCONCLUSIVE",
        "gate over teacher >= 1.1x (batch 1)",
        "no baseline",
        "the teacher in fp32 was not measured here",
    )


def test_int8_is_no_baseline_of_its_own(gate: Decide, subject: Callable[..., Subject]) -> None:
    # Else a speed-up of 1 over the student would be met by int8 compared with itself.
    result = gate(subject({"int8": 50.0}), SpeedupGate(at_least=1.0, over="student"))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.advice == "the student in fp32 was not measured here"


def test_a_speedup_whose_baseline_failed_is_not_run(
    gate: Decide, subject: Callable[..., Subject]
) -> None:
    result = gate(subject(failing={"teacher": 3}), SpeedupGate(at_least=1.1))
    assert astuple(result)[2:6] == (
        "NOT RUN",
        "gate over teacher >= 1.1x (batch 1)",
        "no baseline",
        "teacher failed: the worker ended with signal 9",
    )
