"""Gates on what a candidate answers: its score, and its agreement with a reference."""

from __future__ import annotations

import math

from edgestill.quantities import estimate_text, score_text
from edgestill.verdict import Decision, Estimate, Verdict
from edgestill.verify.config import AgreementGate, ScoreGate
from edgestill.verify.gates.finding import Finding, Subject


def score(subject: Subject, name: str, gate: ScoreGate) -> Finding:
    scorer, unit = subject.scorer, subject.scorer.unit
    if scorer.withheld is not None:
        return Finding(Verdict.NOT_RUN, name, "not run", scorer.withheld)
    if gate.drop_vs is None:
        return _score_itself(subject, name, gate)
    assert gate.at_most is not None

    def text(value: float) -> str:
        return score_text(value, unit, drop=True)

    budget = f"{name} {scorer.worse} vs {gate.drop_vs} <= {text(gate.at_most)}"
    reference = subject.references.get(gate.drop_vs)
    if reference is None:
        return Finding(Verdict.INCONCLUSIVE, budget, "no reference", f"there is no {gate.drop_vs}")
    estimate = scorer.drop(reference, subject.candidate.test, subject.level)
    decision = Decision.of("score", estimate, at_most=gate.at_most)
    advice = ""
    if math.isclose(estimate.value, gate.at_most, abs_tol=1e-12):
        advice = f"the {scorer.worse} is the budget"
    elif decision.verdict is Verdict.INCONCLUSIVE:
        enough = scorer.samples_to_decide(
            reference, subject.candidate.test, gate.at_most, subject.level
        )
        advice = _more_samples(enough, estimate)
    return Finding.of(decision, budget, estimate_text(estimate, text), advice, margin=text)


def _score_itself(subject: Subject, name: str, gate: ScoreGate) -> Finding:
    scorer, unit = subject.scorer, subject.scorer.unit
    estimate = scorer.estimate(subject.candidate.test, subject.level)
    decision = Decision.of("score", estimate, at_most=gate.at_most, at_least=gate.at_least)
    sign = "<=" if gate.at_least is None else ">="
    budget = f"{name} {sign} {score_text(decision.budget, unit)}"
    found = estimate_text(estimate, lambda value: score_text(value, unit))
    advice = ""
    if decision.verdict is Verdict.INCONCLUSIVE:
        enough = scorer.samples_to_bound(subject.candidate.test, decision.budget, subject.level)
        advice = _more_samples(enough, estimate)
    return Finding.of(
        decision, budget, found, advice, margin=lambda value: score_text(value, unit, drop=True)
    )


def agreement(subject: Subject, name: str, gate: AgreementGate) -> Finding:
    budget = f"{name} with {gate.vs} >= {score_text(gate.at_least, 'pp')}"
    reference = subject.references.get(gate.vs)
    if reference is None:
        return Finding(Verdict.INCONCLUSIVE, budget, "no reference", f"there is no {gate.vs}")
    if not subject.scorer.comparable(reference, subject.candidate.test):
        why = f"its answers have another shape than those of the {gate.vs}"
        return Finding(Verdict.INCONCLUSIVE, budget, "not comparable", why)
    estimate = subject.scorer.agreement(reference, subject.candidate.test, subject.level)
    return Finding.of(
        Decision.of("score", estimate, at_least=gate.at_least),
        budget,
        estimate_text(estimate, lambda value: score_text(value, "pp")),
        _more_samples(None, estimate),
        margin=lambda value: score_text(value, "pp", drop=True),
    )


def _more_samples(enough: int | None, estimate: Estimate) -> str:
    """A guess of fewer than there are would be no advice."""
    if enough is None or enough <= estimate.count:
        return "more test samples would decide it"
    return f"about {enough} test samples would decide it"
