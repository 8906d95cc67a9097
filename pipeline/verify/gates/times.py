"""Gates on time: latency, at rest and under load, throughput, and the speed-up."""

from __future__ import annotations

import math

from edgestill.quantities import count_text, estimate_text, rate_text, time_text
from edgestill.stats import smallest_sample
from edgestill.verdict import Decision, Estimate, Verdict
from edgestill.verify.advice import more_calls, more_rounds
from edgestill.verify.config import (
    BASELINE,
    FLOAT,
    OFFLINE,
    LatencyGate,
    Load,
    SpeedupGate,
    ThroughputGate,
    load_of,
    load_text,
)
from edgestill.verify.gates.finding import NOT_MEASURED, Finding, Subject
from edgestill.verify.latency import percentile_of, speedup_over, throughput_of
from edgestill.verify.loads import longer_blocks_s, offline, paced


def latency(subject: Subject, name: str, gate: LatencyGate) -> Finding:
    del name
    if gate.rate is not None:
        return _paced_latency(subject, gate)
    evidence, candidate, share = subject.evidence, subject.candidate.name, gate.percentile
    budget = f"p{share:g} <= {time_text(gate.at_most)} (batch {gate.batch})"
    calls = sum(len(block) for block in evidence.blocks_ns(candidate, gate.batch))
    if not calls:
        return Finding(Verdict.INCONCLUSIVE, budget, *NOT_MEASURED)
    if calls < smallest_sample(share):
        advice = more_calls(evidence, gate.batch, share, calls, subject.level)
        return _too_few_calls(budget, calls, advice, gate.batch)
    in_ns = percentile_of(evidence, candidate, gate.batch, share, subject.level)
    return _percentile(subject, gate, budget, in_ns, calls, gate.batch)


def _percentile(
    subject: Subject,
    gate: LatencyGate,
    budget: str,
    in_ns: Estimate,
    calls: int,
    load: int | Load,
) -> Finding:
    at_most = gate.at_most * 1e9
    advice = more_rounds(subject.evidence, load, in_ns, at_most, subject.level)
    if in_ns.interval is None:
        advice = advice or more_calls(subject.evidence, load, gate.percentile, calls, subject.level)
    found = estimate_text(in_ns, lambda value: time_text(value / 1e9), of="calls")
    decision = Decision.of("ns", in_ns, at_most=at_most)
    return Finding.of(decision, budget, found, advice, open_at=load)


def _too_few_calls(budget: str, calls: int, advice: str, load: int | Load) -> Finding:
    return Finding(Verdict.INCONCLUSIVE, budget, f"{calls} calls", advice, load_text(load))


def _paced_latency(subject: Subject, gate: LatencyGate) -> Finding:
    load = load_of(gate)
    assert load is not None
    budget = f"p{gate.percentile:g} <= {time_text(gate.at_most)} at {rate_text(load.rate or 0)}"
    budget += f" (batch {gate.batch})"
    found = paced(subject.evidence, subject.candidate.name, load, subject.level, [gate.percentile])
    if found is None:
        return Finding(Verdict.INCONCLUSIVE, budget, *NOT_MEASURED)
    if found.overloaded is not False:
        served = estimate_text(found.capacity, rate_text, of="calls")
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
        return Finding(Verdict.INCONCLUSIVE, budget, words, advice, load_text(load))
    in_ns = found.percentiles_ns.get(f"{gate.percentile:g}")
    if in_ns is None:
        advice = more_calls(subject.evidence, load, gate.percentile, found.calls, subject.level)
        return _too_few_calls(budget, found.calls, advice, load)
    return _percentile(subject, gate, budget, in_ns, found.calls, load)


def throughput(subject: Subject, name: str, gate: ThroughputGate) -> Finding:
    if gate.mode == "offline":
        return _offline_throughput(subject, name, gate)
    evidence, candidate, level = subject.evidence, subject.candidate.name, subject.level
    budget = f"{name} >= {rate_text(gate.at_least, 4)} (batch {gate.batch})"
    if not evidence.blocks(candidate, gate.batch):
        return Finding(Verdict.INCONCLUSIVE, budget, *NOT_MEASURED)
    estimate = throughput_of(evidence, candidate, gate.batch, level)
    found = estimate_text(estimate, lambda value: rate_text(value, 4), of="calls")
    advice = more_rounds(evidence, gate.batch, estimate, gate.at_least, level)
    decision = Decision.of("per second", estimate, at_least=gate.at_least)
    return Finding.of(decision, budget, found, advice, open_at=gate.batch)


def _offline_throughput(subject: Subject, name: str, gate: ThroughputGate) -> Finding:
    budget = f"{name} offline >= {rate_text(gate.at_least, 4)}"
    found = offline(subject.evidence, subject.candidate.name, OFFLINE, subject.level)
    if found is None:
        return Finding(Verdict.INCONCLUSIVE, budget, *NOT_MEASURED)
    estimate = found.throughput
    words = estimate_text(estimate, lambda value: rate_text(value, 4), of="calls")
    words += f" of batch {found.batch}, {count_text(found.streams, 'stream', 'streams')}"
    advice = more_rounds(subject.evidence, OFFLINE, estimate, gate.at_least, subject.level)
    decision = Decision.of("per second", estimate, at_least=gate.at_least)
    return Finding.of(decision, budget, words, advice, open_at=OFFLINE)


def speedup(subject: Subject, name: str, gate: SpeedupGate) -> Finding:
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
    found = estimate_text(estimate, lambda value: f"{value:.2f}x", of="pairs of blocks")
    advice = more_rounds(evidence, gate.batch, estimate, gate.at_least, level)
    decision = Decision.of("ratio", estimate, at_least=gate.at_least)
    return Finding.of(decision, budget, found, advice, open_at=gate.batch)
