"""From evidence to results: pure, the same for a run and for a release on its device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgestill.artifact import Predictions
from edgestill.errors import DeviceError
from edgestill.scoring import Scorer
from edgestill.targets.measure import MeasureConfig as TimingConfig
from edgestill.verdict import Estimate, Verdict
from edgestill.verify.choice import Choice, choose
from edgestill.verify.config import LatencyGate, MeasureConfig
from edgestill.verify.evidence import BASELINE, Candidate, Evidence
from edgestill.verify.gates import Subject, decide_gates
from edgestill.verify.latency import speedup_over, summarize
from edgestill.verify.results import CandidateResult, GateResult, HopResult, TargetResult


@dataclass(frozen=True)
class Rules:
    """What a verification decides by.

    Attributes:
        accuracy_drop: what a candidate may lose against the float one on validation.
        test: the metric on the test split.
        validation: the metric on the validation split; None on a device, which has it not.
        references: predictions on the test split of `teacher` and `student`.
    """

    gates: tuple[tuple[str, Any], ...]
    measure: MeasureConfig
    threads: int
    accuracy_drop: float | None
    test: Scorer
    validation: Scorer | None
    references: Mapping[str, Predictions]

    @property
    def batches(self) -> tuple[int, ...]:
        """Every batch size that has to be measured, the one for the choice first."""
        sizes = [gate.batch for _, gate in self.gates if hasattr(gate, "batch")]
        return tuple(dict.fromkeys([self.measure.batch, *sizes]))


def assess(
    evidence: Evidence, rules: Rules, *, auto: bool, shipped: Sequence[str] | None, runtime: str
) -> tuple[TargetResult, tuple[GateResult, ...]]:
    """The candidates of a target, the choice between them, and the gates on what ships.

    Args:
        auto: whether the fastest candidate that is accurate enough is to be chosen.
        shipped: what a release ships already; None for a choice to be made now.

    Raises:
        DeviceError: a candidate answered otherwise while it was timed.
    """
    _require_matching_outputs(evidence)
    drops = {c.name: _validation_drop(evidence, c, rules) for c in evidence.precisions}
    choice = _choice(evidence, rules, drops, auto)
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
        would_choose=choice.shipped if choice.shipped != ships else None,
        reasons=dict(choice.reasons),
    )
    gates: list[GateResult] = []
    for candidate in evidence.precisions:
        if candidate.name in ships:
            subject = Subject(
                evidence, candidate, rules.references, rules.test, rules.measure.level
            )
            gates += decide_gates(subject, rules.gates)
    return target, tuple(gates)


def hop_results(
    hops: Sequence[tuple[str, str | None, Predictions]], scorer: Scorer, level: float
) -> tuple[HopResult, ...]:
    """Score, drop and agreement at each hop, given as name, parent's name and predictions."""
    predictions = {name: answers for name, _, answers in hops}
    results = []
    for name, parent, answers in hops:
        runs = scorer.withheld is None
        score = scorer.score_of(answers) if runs else None
        result = HopResult(name, parent, score, None, None, None)
        if parent is not None:
            reference = predictions[parent]
            result = replace(
                result,
                drop=scorer.drop(reference, answers, level) if runs else None,
                agreement=scorer.agreement(reference, answers, level).value,
                largest_difference=scorer.largest_difference(reference, answers),
            )
        results.append(result)
    return tuple(results)


def measure_config(rules: Rules, batch: int) -> TimingConfig:
    """How the timing loop measures for these rules."""
    return TimingConfig(
        rounds=rules.measure.rounds,
        batch=batch,
        threads=rules.threads,
        block_seconds=rules.measure.block,
        time_limit_s=rules.measure.time_limit,
    )


def not_run(target: str, gates: tuple[tuple[str, Any], ...], why: str) -> tuple[GateResult, ...]:
    """The gates of a target that is verified on another machine."""
    names = ", ".join(dict.fromkeys(name for name, _ in gates))
    return (GateResult("all", target, Verdict.NOT_RUN, names, "not run here", why),)


def undecided(gates: Sequence[GateResult], configs: tuple[tuple[str, Any], ...]) -> bool:
    """Whether a gate that rests on time ended without a verdict."""
    timed = {name for name, gate in configs if hasattr(gate, "batch")}
    return any(gate.verdict is Verdict.INCONCLUSIVE and gate.gate in timed for gate in gates)


def _choice(
    evidence: Evidence, rules: Rules, drops: Mapping[str, Estimate | None], auto: bool
) -> Choice:
    return choose(
        evidence,
        drops,
        auto=auto,
        accuracy_drop=rules.accuracy_drop,
        batch=rules.measure.batch,
        level=rules.measure.level,
        unit=rules.test.unit,
    )


def _validation_drop(evidence: Evidence, candidate: Candidate, rules: Rules) -> Estimate | None:
    reference = evidence.reference
    if rules.validation is None or candidate.name == reference.name:
        return None
    if candidate.validation is None or reference.validation is None:
        return None
    return rules.validation.drop(reference.validation, candidate.validation, rules.measure.level)


def _candidate_result(
    evidence: Evidence, candidate: Candidate, rules: Rules, drop: Estimate | None
) -> CandidateResult:
    measure = rules.measure
    asked = [gate.percentile for _, gate in rules.gates if isinstance(gate, LatencyGate)]
    latency = summarize(
        evidence, candidate.name, measure.batch, rules.threads, measure.level, asked
    )
    speedup = None
    if latency is not None and evidence.baseline is not None and candidate.name != BASELINE:
        speedup = speedup_over(evidence, BASELINE, candidate.name, measure.batch, measure.level)
    validation_score = None
    if rules.validation is not None and candidate.validation is not None:
        validation_score = rules.validation.score_of(candidate.validation)
    return CandidateResult(
        name=candidate.name,
        digest=candidate.engine.digest,
        size_bytes=candidate.engine.size_bytes,
        validation_score=validation_score,
        validation_drop=drop,
        test_score=rules.test.score_of(candidate.test) if not rules.test.withheld else None,
        speedup=speedup,
        latency=latency,
    )


def _require_matching_outputs(evidence: Evidence) -> None:
    for batch, rounds in evidence.rounds.items():
        blocks = [block for round_ in rounds for block in round_.blocks]
        for name in {block.candidate for block in blocks if block.mismatches}:
            wrong = sum(block.mismatches for block in blocks if block.candidate == name)
            raise DeviceError(
                f"{wrong} timed calls at batch {batch} gave other outputs than its accuracy run",
                where=f"{evidence.target} {name}",
                fix="This runtime cannot be trusted with this model here: try another version",
            )
