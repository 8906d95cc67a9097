"""What holds for every gate: exact ends, names; and the gates on what is counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, replace
from typing import Any

import pytest

from edgestill.stats import Estimate, Verdict
from edgestill.verify.config import (
    AgreementGate,
    LatencyGate,
    MemoryGate,
    ScoreGate,
    SizeGate,
    SpeedupGate,
    ThroughputGate,
)
from edgestill.verify.gates import Subject, decide_gates
from edgestill.verify.latency import percentile_of, speedup_over, throughput_of
from edgestill.verify.results import GateResult

Decide = Callable[..., GateResult]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (SizeGate(41_200), ("PASS", "gate <= 41.2 kB", "41.2 kB, at the budget", "")),
        (
            SizeGate(41_199),
            ("FAIL", "gate <= 41.2 kB", "41.2 kB, under 0.1% outside", ""),
        ),
        (
            MemoryGate(80_000_000),
            ("PASS", "gate <= 80 MB (batch 1)", "80 MB peak of 12 processes, at the budget", ""),
        ),
        (
            MemoryGate(79_999_999),
            (
                "FAIL",
                "gate <= 80 MB (batch 1)",
                "80 MB peak of 12 processes, under 0.1% outside",
                "",
            ),
        ),
    ],
)
def test_gates_on_bytes_are_exact(
    gate: Decide, subject: Callable[..., Subject], config: Any, expected: tuple[str, ...]
) -> None:
    assert astuple(gate(subject(sizes={"int8": 41_200}), config))[2:6] == expected


def _scored(subject: Subject) -> Estimate:
    return subject.scorer.estimate(subject.candidate.test, 0.95)


def _dropped(subject: Subject) -> Estimate:
    return subject.scorer.drop(subject.references["teacher"], subject.candidate.test, 0.95)


def _agreed(subject: Subject) -> Estimate:
    return subject.scorer.agreement(subject.references["teacher"], subject.candidate.test, 0.95)


def _timed(subject: Subject) -> Estimate:
    in_ns = percentile_of(subject.evidence, "int8", 1, 90.0, 0.95)
    assert in_ns.interval is not None
    ends = replace(in_ns.interval, low=in_ns.interval.low / 1e9, high=in_ns.interval.high / 1e9)
    return replace(in_ns, interval=ends)


def _through(subject: Subject) -> Estimate:
    return throughput_of(subject.evidence, "int8", 1, 0.95)


def _sped_up(subject: Subject) -> Estimate:
    return speedup_over(subject.evidence, "teacher", "int8", 1, 0.95)


@pytest.mark.parametrize(
    ("estimate", "make", "smaller"),
    [
        (_scored, lambda bound: ScoreGate(at_least=bound), False),
        (_dropped, lambda bound: ScoreGate(drop_vs="teacher", at_most=bound), True),
        (_agreed, lambda bound: AgreementGate(at_least=bound), False),
        (_timed, lambda bound: LatencyGate(at_most=bound, percentile=90), True),
        (_through, lambda bound: ThroughputGate(at_least=bound), False),
        (_sped_up, lambda bound: SpeedupGate(at_least=bound), False),
    ],
    ids=["score", "drop", "agreement", "latency", "throughput", "speedup"],
)
def test_the_whole_interval_decides_to_its_very_ends(
    gate: Decide,
    subject: Callable[..., Subject],
    estimate: Callable[[Subject], Estimate],
    make: Callable[[float], Any],
    smaller: bool,
) -> None:
    noisy = {"teacher": 400.0, "fp32": 100.0, "int8": [49.0, 51.0, 50.0] * 4}
    found = subject(noisy, wrong=4)
    interval = estimate(found).interval
    assert interval is not None and interval.low < interval.high
    margin = 1e-9 * (interval.high - interval.low)
    worst, best = (interval.high, interval.low) if smaller else (interval.low, interval.high)
    towards_better = -margin if smaller else margin
    verdicts = [
        gate(found, make(bound)).verdict
        for bound in (
            worst - towards_better,
            worst + towards_better,
            best - towards_better,
            best + towards_better,
        )
    ]
    assert verdicts == [
        Verdict.PASS,
        Verdict.INCONCLUSIVE,
        Verdict.INCONCLUSIVE,
        Verdict.FAIL,
    ]


def test_memory_that_was_not_measured_is_open(
    gate: Decide, subject: Callable[..., Subject]
) -> None:
    found = subject()
    found = replace(found, evidence=replace(found.evidence, rounds={}))
    result = gate(found, MemoryGate(1))
    assert (result.verdict, result.found) == (Verdict.INCONCLUSIVE, "not measured")


def test_memory_is_the_largest_peak_of_any_process(
    gate: Decide, subject: Callable[..., Subject]
) -> None:
    found = subject(number=2)
    first, second = found.evidence.rounds[1]
    blocks = tuple(replace(block, peak_rss_bytes=90_000_000) for block in second.blocks)
    series = (first, replace(second, blocks=blocks))
    found = replace(found, evidence=replace(found.evidence, rounds={1: series}))
    result = gate(found, MemoryGate(85_000_000))
    assert astuple(result)[2:5] == (
        "FAIL",
        "gate <= 85 MB (batch 1)",
        "90 MB peak of 2 processes, 5.9% outside",
    )
    assert result.decision is not None and result.decision.estimate.count == 2


@pytest.mark.parametrize(
    ("config", "unit", "value", "bound"),
    [
        (ScoreGate(at_least=0.95), "score", 0.99, 0.9746),
        (ScoreGate(drop_vs="teacher", at_most=0.03), "score", 0.01, 0.0254),
        (AgreementGate(at_least=0.95), "score", 0.99, 0.9746),
        (LatencyGate(at_most=60e-6), "ns", 52_260, 52_430),
        (ThroughputGate(at_least=21_000.0), "per second", 20_000, 20_000),
        (SpeedupGate(at_least=2.0, over="student"), "ratio", 2, 2),
        (SizeGate(41_000), "bytes", 1000, 1000),
        (MemoryGate(100_000_000), "bytes", 80_000_000, 80_000_000),
    ],
)
def test_a_gate_has_its_numbers_too(
    gate: Decide,
    subject: Callable[..., Subject],
    config: Any,
    unit: str,
    value: float,
    bound: float,
) -> None:
    times = {"teacher": 400.0, "fp32": 100.0, "int8": 50.0}
    result = gate(subject(times, wrong=4), config)
    decision = result.decision
    assert decision is not None and decision.unit == unit
    assert (decision.estimate.value, decision.bound) == pytest.approx((value, bound), rel=2e-3)
    assert decision.verdict is result.verdict


def test_results_name_gate_and_target_in_the_order_of_the_recipe(
    subject: Callable[..., Subject],
) -> None:
    gates = (("size", SizeGate(1000)), ("latency", LatencyGate(1.0)), ("latency", LatencyGate(2.0)))
    results = decide_gates(subject(), gates)
    assert [(r.gate, r.target) for r in results] == [
        ("size", "openvino int8"),
        ("latency", "openvino int8"),
        ("latency", "openvino int8"),
    ]
    assert results[2].budget == "p95 <= 2 s (batch 1)"
