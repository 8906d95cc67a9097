"""From evidence to results: pure, the same for a run and for a release on its device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgestill.artifact import Predictions
from edgestill.scoring import Scorer
from edgestill.targets.blocks import MeasureConfig as TimingConfig
from edgestill.verdict import Estimate, Verdict
from edgestill.verify.choice import Budget, choose
from edgestill.verify.config import (
    BASELINE,
    FLOAT,
    LatencyGate,
    Load,
    MeasureConfig,
    load_text,
    measured_batches,
    measured_loads,
    timing,
)
from edgestill.verify.evidence import Candidate, Evidence
from edgestill.verify.gates import Subject, decide_gates
from edgestill.verify.latency import speedup_over, summarize
from edgestill.verify.loads import offline, paced
from edgestill.verify.results import (
    EVERY_GATE,
    CandidateResult,
    GateResult,
    HopResult,
    TargetResult,
)


@dataclass(frozen=True)
class Rules:
    """What a verification decides by.

    Attributes:
        accuracy_drop: what a candidate may lose against the float one on validation.
        test: the metric on the test split.
        validation: the metric on the validation split; None on a device, which has it not.
        references: predictions on the test split of `teacher` and `student`.
        float_validation: those of the float student on validation, as ONNX, for candidates without
            a float engine beside them.
    """

    gates: tuple[tuple[str, Any], ...]
    measure: MeasureConfig
    threads: int
    accuracy_drop: float | None
    test: Scorer
    validation: Scorer | None
    references: Mapping[str, Predictions]
    float_validation: Predictions | None = None

    @property
    def budget(self) -> Budget:
        """What a choice between candidates rests on."""
        return Budget(
            self.accuracy_drop,
            self.test.unit,
            self.measure.batch,
            self.measure.level,
            self.test.metric.bigger_is_better,
        )

    @property
    def loads(self) -> tuple[int | Load, ...]:
        """Every batch size that is measured, the one for the choice first, and every load."""
        return (*measured_batches(self.measure, self.gates), *measured_loads(self.gates))

    def timing(self, load: int | Load) -> TimingConfig:
        """How the timing loop measures at a batch size or under a load, for these rules."""
        return timing(self.measure, self.threads, load)


@dataclass(frozen=True)
class Assessment:
    """What was decided about one target.

    Attributes:
        failures: what crashed, hung or answered otherwise while it was timed: the device failed;
            or that nothing ships, so that nothing was verified.
        open_at: the batch sizes and loads at which more rounds may decide a gate.
    """

    target: TargetResult
    gates: tuple[GateResult, ...]
    failures: tuple[str, ...]
    open_at: frozenset[int | Load]


def assess(
    evidence: Evidence, rules: Rules, *, auto: bool, shipped: Sequence[str] | None, runtime: str
) -> Assessment:
    """The candidates of a target, the choice between them, and the gates on what ships.

    Args:
        auto: whether the fastest candidate that is accurate enough is to be chosen.
        shipped: what a release ships already; None for a choice to be made now.
    """
    drops = {c.name: _validation_drop(evidence, c, rules) for c in evidence.precisions}
    choice = choose(evidence, drops, rules.budget, auto=auto)
    ships = tuple(shipped) if shipped is not None else choice.shipped
    results = tuple(
        _candidate_result(evidence, c, rules, drops.get(c.name)) for c in evidence.candidates
    )
    target = TargetResult(
        target=evidence.target,
        runtime=runtime,
        verify="here",
        candidates=tuple(result for result in results if result.name != BASELINE),
        baseline=next((result for result in results if result.name == BASELINE), None),
        shipped=ships,
        would_choose=choice.shipped if auto and choice.shipped != ships else None,
        reasons=dict(choice.reasons),
    )
    gates: list[GateResult] = []
    failures = evidence.failures
    for candidate in evidence.precisions:
        if candidate.name in failures:
            where = f"{evidence.target} {candidate.name}"
            gates += not_run(where, rules.gates, failures[candidate.name])
        elif candidate.name in ships:
            subject = Subject(
                evidence, candidate, rules.references, rules.test, rules.measure.level
            )
            gates += decide_gates(subject, rules.gates)
    told = [f"{evidence.target} {name} failed: {what}" for name, what in failures.items()]
    if not ships and not failures:
        told.append(f"nothing was fit to ship for {evidence.target}, so no gate could be decided")
    open_ = {gate.open_at for gate in gates}
    open_at = frozenset(load for load in evidence.rounds if load_text(load) in open_)
    return Assessment(target, tuple(gates), tuple(told), open_at)


Hops = Sequence[tuple[str, str | None, Predictions]]


def hop_results(
    hops: Hops, scorer: Scorer, level: float, *, shipped: Iterable[str]
) -> tuple[HopResult, ...]:
    """Score, drop and agreement at each hop, given as name, parent's name and predictions.

    Args:
        shipped: the hops at which something ships.
    """
    predictions = {name: answers for name, _, answers in hops}
    leading = _leading_to(shipped, hops)
    results = []
    for name, parent, answers in hops:
        runs = scorer.withheld is None
        score = scorer.score_of(answers) if runs else None
        result = HopResult(name, parent, score, None, None, None, name in leading)
        if parent is not None:
            reference = predictions[parent]
            alike = scorer.comparable(reference, answers)
            result = replace(
                result,
                drop=scorer.drop(reference, answers, level) if runs else None,
                agreement=scorer.agreement_of(reference, answers) if alike else None,
                largest_difference=(
                    scorer.largest_difference(reference, answers) if alike else None
                ),
            )
        results.append(result)
    return tuple(results)


def _leading_to(shipped: Iterable[str], hops: Hops) -> set[str]:
    """These hops, and all that they were made from."""
    parents = {name: parent for name, parent, _ in hops}
    found: set[str] = set()
    for place in shipped:
        at: str | None = place
        while at in parents and at not in found:
            found.add(at)
            at = parents[at]
    return found


def not_run(target: str, gates: tuple[tuple[str, Any], ...], why: str) -> tuple[GateResult, ...]:
    """The gates of what is verified on another machine, or failed on this one."""
    names = ", ".join(dict.fromkeys(name for name, _ in gates))
    return (
        (GateResult(EVERY_GATE, target, Verdict.NOT_RUN, names, "not run here", why),)
        if gates
        else ()
    )


def _validation_drop(evidence: Evidence, candidate: Candidate, rules: Rules) -> Estimate | None:
    reference = evidence.reference
    against = reference.validation
    if reference.name != FLOAT and rules.float_validation is not None:
        against = rules.float_validation
    elif candidate.name == reference.name:
        return candidate.drop
    if rules.validation is None:
        return candidate.drop
    if candidate.validation is None or against is None:
        return None
    return rules.validation.drop(against, candidate.validation, rules.measure.level)


def _candidate_result(
    evidence: Evidence, candidate: Candidate, rules: Rules, drop: Estimate | None
) -> CandidateResult:
    measure = rules.measure
    asked = [gate.percentile for _, gate in rules.gates if isinstance(gate, LatencyGate)]
    failures, latency, speedup = evidence.failures, None, None
    if candidate.name not in failures:
        latency = summarize(
            evidence, candidate.name, measure.batch, rules.threads, measure.level, asked
        )
    timed = evidence.baseline is not None and BASELINE not in failures
    if latency is not None and timed and candidate.name != BASELINE:
        speedup = speedup_over(evidence, BASELINE, candidate.name, measure.batch, measure.level)
    loads = measured_loads(rules.gates) if candidate.name not in failures else ()
    served = [
        offline(evidence, candidate.name, load, measure.level)
        for load in loads
        if load.rate is None
    ]
    paced_at = [
        paced(evidence, candidate.name, load, measure.level, asked)
        for load in loads
        if load.rate is not None
    ]
    validation_score = None
    if rules.validation is not None and candidate.validation is not None:
        validation_score = rules.validation.score_of(candidate.validation)
    test_interval = None
    # Of a metric over the whole set an interval costs thousands of calls: its gate pays for them.
    if rules.test.metric.per_sample and not rules.test.withheld:
        test_interval = rules.test.estimate(candidate.test, measure.level).interval
    return CandidateResult(
        name=candidate.name,
        digest=candidate.engine.digest,
        size_bytes=candidate.engine.size_bytes,
        validation_score=validation_score,
        validation_drop=drop,
        test_score=rules.test.score_of(candidate.test) if not rules.test.withheld else None,
        speedup=speedup,
        latency=latency,
        offline=next(iter(served), None),
        paced=tuple(result for result in paced_at if result is not None),
        failure=failures.get(candidate.name, ""),
        test_interval=test_interval,
    )
