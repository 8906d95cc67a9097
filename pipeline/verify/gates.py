"""Budgets become verdicts, each with the bound that decided."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgestill.artifact import Predictions
from edgestill.quantities import (
    count_text,
    digits,
    estimate_text,
    score_text,
    size_text,
    time_text,
)
from edgestill.scoring import Scorer
from edgestill.stats import Estimate, Verdict, decide, decide_exact, smallest_sample
from edgestill.verify.advice import more_calls, more_rounds
from edgestill.verify.config import (
    BASELINE,
    FLOAT,
    OFFLINE,
    AgreementGate,
    LatencyGate,
    Load,
    MemoryGate,
    ScoreGate,
    SizeGate,
    SpeedupGate,
    ThroughputGate,
    load_of,
    load_text,
)
from edgestill.verify.evidence import Candidate, Evidence
from edgestill.verify.latency import percentile_of, speedup_over, throughput_of
from edgestill.verify.loads import longer_blocks_s, offline, paced
from edgestill.verify.results import GateResult

_NOT_MEASURED = ("not measured", "it was not run here")


@dataclass(frozen=True)
class Finding:
    """What a gate found, before it has a name."""

    verdict: Verdict
    budget: str
    found: str
    advice: str = ""
    open_at: str = ""


@dataclass(frozen=True)
class Subject:
    """A shipped candidate of a target, and what it is compared with.

    Attributes:
        references: predictions on the test split of `teacher` and `student` (the float model).
        scorer: the task's metric on the test split.
    """

    evidence: Evidence
    candidate: Candidate
    references: Mapping[str, Predictions]
    scorer: Scorer
    level: float


def decide_gates(subject: Subject, gates: tuple[tuple[str, Any], ...]) -> tuple[GateResult, ...]:
    """Every gate of the recipe on one candidate."""
    target = f"{subject.evidence.target} {subject.candidate.name}"
    results = []
    for name, gate in gates:
        found = _DECIDERS[type(gate)](subject, name, gate)
        results.append(
            GateResult(
                name,
                target,
                found.verdict,
                found.budget,
                found.found,
                found.advice,
                found.open_at,
            )
        )
    return tuple(results)


def _score(subject: Subject, name: str, gate: ScoreGate) -> Finding:
    scorer, unit = subject.scorer, subject.scorer.unit
    if scorer.withheld is not None:
        return Finding(Verdict.NOT_RUN, name, "not run", scorer.withheld)
    if gate.drop_vs is None:
        estimate = scorer.estimate(subject.candidate.test, subject.level)
        bound = f"<= {score_text(gate.at_most, unit)}" if gate.at_most is not None else ""
        bound += f">= {score_text(gate.at_least, unit)}" if gate.at_least is not None else ""
        verdict = decide(estimate, at_most=gate.at_most, at_least=gate.at_least)
        found = estimate_text(estimate, lambda value: score_text(value, unit))
        advice = _more_samples(verdict)
        if advice:
            limits = [limit for limit in (gate.at_most, gate.at_least) if limit is not None]
            nearest = min(limits, key=lambda limit: abs(limit - estimate.value))
            enough = scorer.samples_to_bound(subject.candidate.test, nearest, subject.level)
            advice = _so_many_samples(enough, estimate) or advice
        return Finding(verdict, f"{name} {bound}", found, advice)
    assert gate.at_most is not None
    budget = (
        f"{name} {scorer.worse} vs {gate.drop_vs} <= {score_text(gate.at_most, unit, drop=True)}"
    )
    reference = subject.references.get(gate.drop_vs)
    if reference is None:
        return Finding(Verdict.INCONCLUSIVE, budget, "no reference", f"there is no {gate.drop_vs}")
    estimate = scorer.drop(reference, subject.candidate.test, subject.level)
    verdict = decide(estimate, at_most=gate.at_most)
    found = estimate_text(estimate, lambda value: score_text(value, unit, drop=True))
    advice = _more_samples(verdict)
    if advice and math.isclose(estimate.value, gate.at_most, abs_tol=1e-12):
        advice = f"the {scorer.worse} is the budget"
    elif advice:
        enough = scorer.samples_to_decide(
            reference, subject.candidate.test, gate.at_most, subject.level
        )
        advice = _so_many_samples(enough, estimate) or advice
    return Finding(verdict, budget, found, advice)


def _agreement(subject: Subject, name: str, gate: AgreementGate) -> Finding:
    budget = f"{name} with {gate.vs} >= {score_text(gate.at_least, 'pp')}"
    reference = subject.references.get(gate.vs)
    if reference is None:
        return Finding(Verdict.INCONCLUSIVE, budget, "no reference", f"there is no {gate.vs}")
    if not subject.scorer.comparable(reference, subject.candidate.test):
        why = f"its answers have another shape than those of the {gate.vs}"
        return Finding(Verdict.INCONCLUSIVE, budget, "not comparable", why)
    estimate = subject.scorer.agreement(reference, subject.candidate.test, subject.level)
    verdict = decide(estimate, at_least=gate.at_least)
    found = estimate_text(estimate, lambda value: score_text(value, "pp"))
    return Finding(verdict, budget, found, _more_samples(verdict))


def _latency(subject: Subject, name: str, gate: LatencyGate) -> Finding:
    del name
    if gate.rate is not None:
        return _paced_latency(subject, gate)
    evidence, candidate, share = subject.evidence, subject.candidate.name, gate.percentile
    budget = f"p{share:g} <= {time_text(gate.at_most)} (batch {gate.batch})"
    calls = sum(len(block) for block in evidence.blocks_ns(candidate, gate.batch))
    if not calls:
        return Finding(Verdict.INCONCLUSIVE, budget, *_NOT_MEASURED)
    if calls < smallest_sample(share):
        advice = more_calls(evidence, gate.batch, share, calls, subject.level)
        return _of_time(Verdict.INCONCLUSIVE, budget, f"{calls} calls", advice, gate.batch)
    in_ns = percentile_of(evidence, candidate, gate.batch, share, subject.level)
    at_most = gate.at_most * 1e9
    verdict = decide(in_ns, at_most=at_most)
    found = estimate_text(in_ns, lambda value: time_text(value / 1e9), of="calls")
    advice = more_rounds(evidence, gate.batch, in_ns, at_most, subject.level)
    if in_ns.interval is None:
        advice = advice or more_calls(evidence, gate.batch, share, calls, subject.level)
    return _of_time(verdict, budget, found, advice, gate.batch)


def _paced_latency(subject: Subject, gate: LatencyGate) -> Finding:
    load = load_of(gate)
    assert load is not None
    budget = f"p{gate.percentile:g} <= {time_text(gate.at_most)} at {digits(gate.rate or 0)}/s"
    budget += f" (batch {gate.batch})"
    found = paced(subject.evidence, subject.candidate.name, load, subject.level, [gate.percentile])
    if found is None:
        return Finding(Verdict.INCONCLUSIVE, budget, *_NOT_MEASURED)
    if found.overloaded is not False:
        served = estimate_text(found.capacity, lambda value: f"{digits(value)}/s", of="calls")
        if found.overloaded:
            return Finding(Verdict.FAIL, budget, f"overloaded: it can serve {served}")
        longer_s = longer_blocks_s(subject.evidence, subject.candidate.name, found)
        if longer_s is not None:  # more rounds of such blocks would tell no more
            words = f"the queue of a block still grows: it can serve {served}"
            advice = "a rate further from what it can serve"
            if longer_s < math.inf:
                advice = f"blocks of {time_text(longer_s)} (measure.block), or {advice}"
            return Finding(Verdict.INCONCLUSIVE, budget, words, advice)
        advice = "a rate further from what it can serve, or more rounds (measure.decide_within)"
        words = f"it can serve about {served}"
        return _of_time(Verdict.INCONCLUSIVE, budget, words, advice, load)
    in_ns, at_most = found.percentiles_ns.get(f"{gate.percentile:g}"), gate.at_most * 1e9
    evidence, level = subject.evidence, subject.level
    if in_ns is None:
        advice = more_calls(evidence, load, gate.percentile, found.calls, level)
        return _of_time(Verdict.INCONCLUSIVE, budget, f"{found.calls} calls", advice, load)
    words = estimate_text(in_ns, lambda value: time_text(value / 1e9), of="calls")
    advice = more_rounds(evidence, load, in_ns, at_most, level)
    if in_ns.interval is None:
        advice = advice or more_calls(evidence, load, gate.percentile, found.calls, level)
    return _of_time(decide(in_ns, at_most=at_most), budget, words, advice, load)


def _throughput(subject: Subject, name: str, gate: ThroughputGate) -> Finding:
    if gate.mode == "offline":
        return _offline_throughput(subject, name, gate)
    evidence, candidate, level = subject.evidence, subject.candidate.name, subject.level
    budget = f"{name} >= {digits(gate.at_least, 4)}/s (batch {gate.batch})"
    if not evidence.blocks(candidate, gate.batch):
        return Finding(Verdict.INCONCLUSIVE, budget, *_NOT_MEASURED)
    estimate = throughput_of(evidence, candidate, gate.batch, level)
    verdict = decide(estimate, at_least=gate.at_least)
    found = estimate_text(estimate, lambda value: f"{digits(value, 4)}/s", of="calls")
    advice = more_rounds(evidence, gate.batch, estimate, gate.at_least, level)
    return _of_time(verdict, budget, found, advice, gate.batch)


def _offline_throughput(subject: Subject, name: str, gate: ThroughputGate) -> Finding:
    budget = f"{name} offline >= {digits(gate.at_least, 4)}/s"
    found = offline(subject.evidence, subject.candidate.name, OFFLINE, subject.level)
    if found is None:
        return Finding(Verdict.INCONCLUSIVE, budget, *_NOT_MEASURED)
    estimate = found.throughput
    verdict = decide(estimate, at_least=gate.at_least)
    words = estimate_text(estimate, lambda value: f"{digits(value, 4)}/s", of="calls")
    words += f" of batch {found.batch}, {count_text(found.streams, 'stream', 'streams')}"
    advice = more_rounds(subject.evidence, OFFLINE, estimate, gate.at_least, subject.level)
    return _of_time(verdict, budget, words, advice, OFFLINE)


def _speedup(subject: Subject, name: str, gate: SpeedupGate) -> Finding:
    budget = f"{name} over {gate.over} >= {gate.at_least:g}x (batch {gate.batch})"
    evidence, level = subject.evidence, subject.level
    baseline = BASELINE if gate.over == "teacher" else FLOAT
    if baseline in evidence.failures:
        why = f"{baseline} failed: {evidence.failures[baseline]}"
        return Finding(Verdict.NOT_RUN, budget, "no baseline", why)
    candidate = subject.candidate.name
    if not evidence.pairs_ns(baseline, candidate, gate.batch):
        why = f"the {gate.over} in {FLOAT} was not measured here"
        return Finding(Verdict.INCONCLUSIVE, budget, "no baseline", why)
    estimate = speedup_over(evidence, baseline, candidate, gate.batch, level)
    verdict = decide(estimate, at_least=gate.at_least)
    found = estimate_text(estimate, lambda value: f"{value:.2f}x", of="pairs of blocks")
    advice = more_rounds(evidence, gate.batch, estimate, gate.at_least, level)
    return _of_time(verdict, budget, found, advice, gate.batch)


def _of_time(verdict: Verdict, budget: str, found: str, advice: str, load: int | Load) -> Finding:
    """A finding that more rounds at this batch size or load may decide, where it is open."""
    if verdict is not Verdict.INCONCLUSIVE:
        return Finding(verdict, budget, found)
    return Finding(verdict, budget, found, advice, load_text(load))


def _size(subject: Subject, name: str, gate: SizeGate) -> Finding:
    size = subject.candidate.engine.size_bytes
    verdict = decide_exact(size, at_most=gate.at_most)
    return Finding(verdict, f"{name} <= {size_text(gate.at_most)}", size_text(size))


def _memory(subject: Subject, name: str, gate: MemoryGate) -> Finding:
    batch = next(iter(subject.evidence.rounds), 1)  # the one that choices are made on
    budget = f"{name} <= {size_text(gate.at_most)} (batch {batch})"
    blocks = subject.evidence.blocks(subject.candidate.name, batch)
    if not blocks:
        return Finding(Verdict.INCONCLUSIVE, budget, *_NOT_MEASURED)
    peak = max(block.peak_rss_bytes for block in blocks)
    found = f"{size_text(peak)} peak of {count_text(len(blocks), 'process', 'processes')}"
    return Finding(decide_exact(peak, at_most=gate.at_most), budget, found)


def _more_samples(verdict: Verdict) -> str:
    return "more test samples would decide it" if verdict is Verdict.INCONCLUSIVE else ""


def _so_many_samples(enough: int | None, estimate: Estimate) -> str:
    """A guess of fewer than there are would be no advice."""
    if enough is None or enough <= estimate.count:
        return ""
    return f"about {enough} test samples would decide it"


_DECIDERS: Mapping[type, Callable[[Subject, str, Any], Finding]] = {
    ScoreGate: _score,
    AgreementGate: _agreement,
    LatencyGate: _latency,
    ThroughputGate: _throughput,
    SpeedupGate: _speedup,
    SizeGate: _size,
    MemoryGate: _memory,
}
