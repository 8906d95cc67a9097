"""Budgets become verdicts, each with the bound that decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgestill.verify.config import (
    AgreementGate,
    LatencyGate,
    MemoryGate,
    ScoreGate,
    SizeGate,
    SpeedupGate,
    ThroughputGate,
)
from edgestill.verify.gates.answers import agreement, score
from edgestill.verify.gates.finding import Finding, Subject
from edgestill.verify.gates.sizes import memory, size
from edgestill.verify.gates.times import latency, speedup, throughput
from edgestill.verify.results import GateResult

__all__ = ["Subject", "decide_gates"]

_DECIDERS: Mapping[type, Callable[[Subject, str, Any], Finding]] = {
    ScoreGate: score,
    AgreementGate: agreement,
    LatencyGate: latency,
    ThroughputGate: throughput,
    SpeedupGate: speedup,
    SizeGate: size,
    MemoryGate: memory,
}


def decide_gates(subject: Subject, gates: tuple[tuple[str, Any], ...]) -> tuple[GateResult, ...]:
    """Every gate of the recipe on one candidate."""
    target = f"{subject.evidence.target} {subject.candidate.name}"
    return tuple(
        GateResult(name, target, **vars(_DECIDERS[type(gate)](subject, name, gate)))
        for name, gate in gates
    )
