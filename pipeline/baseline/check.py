"""A report held against a baseline: pure, and never a pass where nothing is comparable."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgestill.baseline.file import Accepted, Baseline
from edgestill.digest import canonical, digest_value
from edgestill.errors import ExitCode
from edgestill.quantities import estimate_text, score_text, size_text, worse
from edgestill.report.build import verdict_on
from edgestill.report.judgement import Judgement
from edgestill.report.model import Report
from edgestill.stats.ratios import excess, ratio_of_independent
from edgestill.verdict import Decision, Estimate, Verdict, exactly
from edgestill.verify.budgets import Budgets
from edgestill.verify.results import CandidateResult, GateResult, LatencyResult, TargetResult

DEFAULT_DROP = 0.005  # of metrics that are proportions; others have no default
NOTHING = "no comparable baseline"


@dataclass(frozen=True)
class Check:
    """A verdict on every property that a baseline has; `exit_code` as of a run.

    Attributes:
        release: the name of what was held against it.
        created: when the report of that was made, ISO 8601.
        device_name: of the machine that measured.
    """

    release: str
    created: str
    device_name: str
    gates: tuple[GateResult, ...]
    verdict: Verdict
    exit_code: ExitCode

    def judgement(self, against: str) -> Judgement:
        """The check as what every format shows.

        Args:
            against: the baseline's file.
        """
        return Judgement(
            name=f"{self.release} against its baseline",
            headline=f"{self.verdict}  {self.release} against {against}",
            verdict=self.verdict,
            exit_code=self.exit_code,
            created=self.created,
            gates=self.gates,
            json=json.dumps(canonical(self), indent=2, ensure_ascii=False) + "\n",
            facts={"device": self.device_name, "baseline": against},
        )


@dataclass(frozen=True)
class _Place:
    """What ships for a target, and where it was measured."""

    report: Report
    target: TargetResult
    candidate: CandidateResult

    @property
    def name(self) -> str:
        return f"{self.target.target} {self.candidate.name}"

    def decided(
        self, gate: str, decision: Decision, budget: str, found: str, advice: str = ""
    ) -> GateResult:
        undecided = decision.verdict is Verdict.INCONCLUSIVE
        return GateResult(
            gate,
            self.name,
            decision.verdict,
            budget,
            found,
            advice if undecided else "",
            decision=decision,
        )

    def not_comparable(self, gate: str, budget: str, why: str, advice: str = "") -> GateResult:
        return GateResult(gate, self.name, Verdict.INCONCLUSIVE, budget, why, advice)


def check(report: Report, baseline: Baseline, budgets: Budgets) -> Check:
    """Every engine that ships, and was measured, against what was accepted on this machine.

    A score is compared exactly, on the very same samples. Times that were measured on two days are
    compared as speed-ups over one and the same engine of the teacher where both have it, in one
    version of the runtime, since what differs between two days weighs on both; else as they are.
    The very same engine in the very same runtime has not become slower, whatever the days were.
    What failed in the report has failed here too, whatever figures there are.
    """
    places = [
        _Place(report, target, candidate)
        for target in report.targets
        if target.verify == "here"
        for candidate in target.candidates
        if candidate.name in target.shipped
    ]
    gates = [gate for place in places for gate in _held_against(place, baseline, budgets)]
    if not gates:
        why = "the report has nothing that ships and was measured"
        gates = [GateResult("baseline", "all", Verdict.INCONCLUSIVE, "the same release", why)]
    gates += [
        GateResult("measurement", "all", Verdict.NOT_RUN, "nothing fails", failure)
        for failure in report.failures
    ]
    verdict, exit_code = verdict_on([g.verdict for g in gates], failed=bool(report.failures))
    return Check(report.name, report.created, report.device_name, tuple(gates), verdict, exit_code)


def _held_against(place: _Place, baseline: Baseline, budgets: Budgets) -> list[GateResult]:
    entries = baseline.of(place.report.name, place.target.target)
    accepted = _fitting(place, entries)
    if accepted is None:
        others = sorted({entry.device_name for entry in entries})
        found = f"{NOTHING}: " + (
            f"accepted were figures of {'; '.join(others)}"
            if others
            else f"nothing was accepted of {place.report.name} on {place.target.target}"
        )
        advice = "edgestill baseline accept, once these figures may count"
        budget = "what was accepted on this machine"
        return [place.not_comparable("baseline", budget, found, advice)]
    gates = [_score(place, accepted, budgets), _latency(place, accepted, budgets.latency)]
    gates += _counted(place, accepted, budgets)
    return [gate for gate in gates if gate is not None]


def _fitting(place: _Place, entries: Sequence[Accepted]) -> Accepted | None:
    """The entry of this machine: of the same precision, or the only one where one ships."""
    device = digest_value(place.report.device)
    here = [entry for entry in entries if entry.device == device]
    same = [entry for entry in here if entry.precision == place.candidate.name]
    if not same and len(here) == len(place.target.shipped) == 1:
        same = here
    return same[0] if same else None


def _score(place: _Place, accepted: Accepted, budgets: Budgets) -> GateResult | None:
    found, before, report = place.candidate.test_score, accepted.score, place.report
    unit, budget = report.unit, budgets.score
    if budget == "release":
        budget = DEFAULT_DROP if unit == "pp" else None
    if budget is None:
        return None
    what = f"{report.metric} {worse(report.bigger_is_better)} since the baseline"
    limit = f"{what} <= {score_text(budget, unit, drop=True)}"
    same = (report.metric, report.evaluation) == (accepted.metric, accepted.evaluation)
    if found is None or before is None or not same:
        why = f"{NOTHING}: it is of another evaluation set or metric, or one was not run"
        return place.not_comparable(report.metric, limit, why)
    drop = before - found if report.bigger_is_better else found - before
    told = (
        f"{score_text(before, unit)} -> {score_text(found, unit)} on the same "
        f"{accepted.samples} samples"
    )
    # A budget of half a point is kept by half a point, whatever binary fractions make of it.
    exact = exactly(round(drop, 12), accepted.samples)
    decision = Decision.of("score", exact, at_most=budget)
    return place.decided(report.metric, decision, limit, told)


def _latency(place: _Place, accepted: Accepted, budget: float | None) -> GateResult | None:
    if budget is None:
        return None
    limit = f"p50 latency rise since the baseline <= {_percent(budget)}"
    latency = place.candidate.latency
    if latency is None or (why := _unlike(latency, accepted)):
        why = _unmeasured(place) if latency is None else why
        return place.not_comparable("latency", limit, why)
    if (place.candidate.digest, place.target.runtime) == (accepted.engine, accepted.runtime):
        unchanged = Decision.of("share", exactly(0.0), at_most=budget)
        return place.decided("latency", unchanged, limit, "the very same engine and runtime")
    speedup, over = place.candidate.speedup, place.target.baseline
    # A slower runtime weighs on the teacher's engine too, and must not go unseen.
    alike = place.target.runtime == accepted.runtime and over and over.digest == accepted.over
    if alike and speedup and accepted.speedup:
        sides, basis = (accepted.speedup, speedup), "relative to the teacher's engine"
        counted = "pairs of blocks"
    else:
        now = latency.percentiles_ns.get("50", Estimate(latency.median_ns, None, latency.calls))
        sides, basis = (now, accepted.latency_ns), "of times that were measured apart"
        counted = "calls"
    levels = {side.interval.level for side in sides if side.interval}
    if len(levels) > 1:
        why = f"{NOTHING}: the intervals are of the levels {' and '.join(map(str, sorted(levels)))}"
        return place.not_comparable("latency", limit, why)
    rise = excess(ratio_of_independent(*sides))
    return place.decided(
        "latency",
        Decision.of("share", rise, at_most=budget),
        limit,
        f"{estimate_text(rise, _percent, of=counted)}, {basis}",
        "more rounds in both measurements, or edgestill compare with the old release",
    )


def _counted(place: _Place, accepted: Accepted, budgets: Budgets) -> Iterator[GateResult]:
    latency = place.candidate.latency
    why = _unmeasured(place) if latency is None else _unlike(latency, accepted)
    peak = latency.memory_bytes if latency is not None else 0
    figures = {
        "size": (accepted.size_bytes, place.candidate.size_bytes, budgets.size, ""),
        "memory": (accepted.memory_bytes, peak, budgets.memory, why),
    }
    for name, (before, found, budget, unlike) in figures.items():
        if budget is None:
            continue
        limit = f"{name} rise since the baseline <= {_percent(budget)}"
        if unlike:
            yield place.not_comparable(name, limit, unlike)
            continue
        decision = Decision.of("share", exactly((found - before) / before), at_most=budget)
        yield place.decided(name, decision, limit, f"{size_text(before)} -> {size_text(found)}")


def _unmeasured(place: _Place) -> str:
    """Why there are no times and no memory."""
    failure = place.candidate.failure
    return f"it failed: {failure}" if failure else "it was not measured"


def _unlike(latency: LatencyResult, accepted: Accepted) -> str:
    """Why times and memory were not measured alike; empty where they were."""
    if (latency.batch, latency.threads) == (accepted.batch, accepted.threads):
        return ""
    return f"{NOTHING}: it is of batch {accepted.batch} with {accepted.threads} threads"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
