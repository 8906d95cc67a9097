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
from edgestill.verdict import Estimate, Verdict, decide, decide_exact
from edgestill.verify.budgets import Budgets
from edgestill.verify.results import CandidateResult, GateResult, TargetResult

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

    def result(
        self, gate: str, verdict: Verdict, budget: str, found: str, advice: str = ""
    ) -> GateResult:
        return GateResult(gate, self.name, verdict, budget, found, advice)


def check(report: Report, baseline: Baseline, budgets: Budgets) -> Check:
    """Every engine that ships, and was measured, against what was accepted on this machine.

    A score is compared exactly, on the very same samples. Times that were measured on two days are
    compared as speed-ups over one and the same engine of the teacher where both have it, since
    what differs between two days weighs on both; else as they are.
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
    verdict, exit_code = verdict_on([gate.verdict for gate in gates], failed=False)
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
        return [place.result("baseline", Verdict.INCONCLUSIVE, budget, found, advice)]
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
    if budget is None or (found is None and before is None):
        return None
    what = f"{report.metric} {worse(report.bigger_is_better)} since the baseline"
    limit = f"{what} <= {score_text(budget, unit, drop=True)}"
    same = (report.metric, report.evaluation) == (accepted.metric, accepted.evaluation)
    if found is None or before is None or not same:
        why = f"{NOTHING}: it is of another evaluation set or metric, or one was not run"
        return place.result(report.metric, Verdict.INCONCLUSIVE, limit, why)
    drop = before - found if report.bigger_is_better else found - before
    told = (
        f"{score_text(before, unit)} -> {score_text(found, unit)} on the same "
        f"{accepted.samples} samples"
    )
    # A budget of half a point is kept by half a point, whatever binary fractions make of it.
    verdict = decide_exact(round(drop, 12), at_most=budget)
    return place.result(report.metric, verdict, limit, told)


def _latency(place: _Place, accepted: Accepted, budget: float | None) -> GateResult | None:
    latency = place.candidate.latency
    if budget is None or latency is None:
        return None
    limit = f"p50 latency rise since the baseline <= {_percent(budget)}"
    if (latency.batch, latency.threads) != (accepted.batch, accepted.threads):
        why = f"{NOTHING}: it is of batch {accepted.batch} with {accepted.threads} threads"
        return place.result("latency", Verdict.INCONCLUSIVE, limit, why)
    speedup, over = place.candidate.speedup, place.target.baseline
    if speedup and accepted.speedup and over is not None and over.digest == accepted.over:
        slower = ratio_of_independent(accepted.speedup, speedup)
        basis = "relative to the teacher's engine"
    else:
        now = latency.percentiles_ns.get("50", Estimate(latency.median_ns, None, latency.calls))
        slower = ratio_of_independent(now, accepted.latency_ns)
        basis = "of times that were measured apart"
    rise = excess(slower)
    verdict = decide(rise, at_most=budget)
    undecided = verdict is Verdict.INCONCLUSIVE
    advice = "more rounds in both measurements, or edgestill compare with the old release"
    return place.result(
        "latency",
        verdict,
        limit,
        f"{estimate_text(rise, _percent, of='blocks or calls')}, {basis}",
        advice if undecided else "",
    )


def _counted(place: _Place, accepted: Accepted, budgets: Budgets) -> Iterator[GateResult]:
    latency = place.candidate.latency
    peak = latency.memory_bytes if latency is not None else accepted.memory_bytes
    figures = {
        "size": (accepted.size_bytes, place.candidate.size_bytes, budgets.size),
        "memory": (accepted.memory_bytes, peak, budgets.memory if latency else None),
    }
    for name, (before, found, budget) in figures.items():
        if budget is None:
            continue
        yield place.result(
            name,
            decide_exact((found - before) / before, at_most=budget),
            f"{name} rise since the baseline <= {_percent(budget)}",
            f"{size_text(before)} -> {size_text(found)}",
        )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
