"""`edgestill compare`: two releases on this machine, on the same samples, block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

from edgestill.api.verify import rules_of
from edgestill.arguments import Names, PathLike, as_count, as_names, as_path
from edgestill.artifact import Dataset
from edgestill.capture import captured
from edgestill.console import Console
from edgestill.digest import canonical, digest_file
from edgestill.errors import DeviceError, UsageError
from edgestill.measuring import Series, Session, measure_until_decided
from edgestill.release import MANIFEST, Release, ReleasedTarget, open_release
from edgestill.report.build import verdict_on
from edgestill.report.model import read_report
from edgestill.step import StepContext
from edgestill.targets import get_target
from edgestill.targets.blocks import Round
from edgestill.targets.fingerprint import Fingerprint
from edgestill.targets.measure import Candidate as MeasuredCandidate
from edgestill.verify.assess import Rules
from edgestill.verify.between_releases import NEW, OLD, changes
from edgestill.verify.budgets import DEFAULTS, Budgets
from edgestill.verify.comparison import FORMAT, Compared, Comparison, TargetComparison
from edgestill.verify.config import EvaluateStep, Load
from edgestill.verify.evidence import Candidate, Evidence
from edgestill.verify.latency import summarize
from edgestill.verify.stage import EvaluateInputs, evaluate


def compare_releases(
    old: PathLike,
    new: PathLike,
    *,
    targets: Names = (),
    budgets: Budgets = DEFAULTS,
    rounds: int | None = None,
    allow_code: bool = False,
    console: Console | None = None,
) -> Comparison:
    """Ask and time what two releases ship, interleaved, and decide what may have got worse.

    Both are asked about the new release's evaluation set, and judged by its metric.

    Args:
        targets: only these; by default all that both have and that run here.
        budgets: how much worse the new one may be.
        rounds: blocks of each engine at the first look, fewer than 12 give no interval; by default
            as the new release measures. More follow until every change is decided or time is up.
        allow_code: whether the new release's own metric, which is code in it, may run.

    Raises:
        UsageError: one of the folders is no release, its report is of another format, or the two
            cannot be compared.
        DamagedRelease: a file is not what a manifest says; nothing of it was opened.
        DeviceError: no target of both can run here.
    """
    console = console or Console()
    releases = (open_release(as_path(old, "old")), open_release(as_path(new, "new")))
    names = as_names(targets, "targets")
    _require_comparable(*releases)
    compared = [_compared(release) for release in releases]
    rules = rules_of(releases[1], allow_code)
    if rounds is not None:
        rules = replace(rules, measure=replace(rules.measure, rounds=as_count(rounds, "rounds")))
    if budgets.score == "release":
        budgets = replace(budgets, score=rules.accuracy_drop)
    pairs, notes = _pairs(*releases, names)
    with TemporaryDirectory(prefix="edgestill-") as name, captured(Path(name) / "log.txt"):
        comparing = _Comparing(releases, rules, budgets, Path(name), console)
        found = tuple(comparing.shipped(pair) for pair in pairs)
    verdicts = [c.verdict for target in found for c in target.changes if c.verdict is not None]
    verdict, exit_code = verdict_on(verdicts, failed=any(target.failures for target in found))
    return Comparison(
        format=FORMAT,
        old=compared[0],
        new=compared[1],
        task=rules.test.task,
        metric=rules.test.metric.name,
        metric_unit=rules.test.unit,
        samples=releases[1].evaluation.description.count,
        targets=found,
        verdict=verdict,
        exit_code=exit_code,
        device=canonical(Fingerprint.read()),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        notes=(*notes, *_remarks(*releases)),
    )


def _require_comparable(old: Release, new: Release) -> None:
    """Refuse two releases of which one could not answer the other's samples.

    Raises:
        UsageError: the tasks, the inputs or the classes differ.
    """
    first, second = (release.evaluation.description for release in (old, new))
    facts = {
        "task": (first.task, second.task),
        "inputs": tuple(_inputs(description.inputs) for description in (first, second)),
        "classes": tuple(", ".join(d.class_names) or "none" for d in (first, second)),
    }
    for what, (one, other) in facts.items():
        if one != other:
            raise UsageError(
                f"the releases differ in their {what}: {one} and {other}",
                where=str(new.path),
                fix="Compare two releases of one task on the same kind of samples; `edgestill "
                "profile` times each of them",
            )


def _inputs(specs: Sequence[object]) -> str:
    return ", ".join(sorted(map(str, specs)))


@dataclass(frozen=True)
class _Pair:
    """The folders of two engines for one target, and their precisions."""

    target: str
    precisions: tuple[str, str]
    folders: tuple[str, str]

    @classmethod
    def all_of(cls, old: ReleasedTarget, new: ReleasedTarget) -> list[_Pair]:
        """One where each ships one engine; of several, those of one precision."""
        if len(old.shipped) == len(new.shipped) == 1:
            precisions = [(old.shipped[0], new.shipped[0])]
        else:
            precisions = [(name, name) for name in new.shipped if name in old.shipped]
        return [
            cls(new.target, (one, other), (old.candidates[one], new.candidates[other]))
            for one, other in precisions
        ]


def _pairs(old: Release, new: Release, names: Sequence[str]) -> tuple[list[_Pair], list[str]]:
    """What both releases ship for a target that runs here, and what is left out.

    Raises:
        DeviceError: none of them can run here, or not one that is named.
    """
    former = {target.target: target for target in old.targets(names)}
    pairs: list[_Pair] = []
    notes: list[str] = []
    reasons: list[str] = []
    for target in new.targets(names):
        found = get_target(target.target).probe()
        name = target.target
        if name not in former:
            notes.append(f"Only the new release has {name}.")
        elif not found.can_run:
            reasons.append(f"{name} cannot run here ({found.reason})")
        elif found_here := _Pair.all_of(former[name], target):
            pairs += found_here
            notes += _left_out(former[name], target, found_here)
        else:
            notes.append(f"The releases ship no engines of one precision for {name}.")
    known = {target.target for target in new.targets(names)}
    notes += [f"Only the old release has {name}." for name in former if name not in known]
    if not pairs or (names and reasons):
        shared = [name for name in former if name in known]
        none = "the releases have no target in common"
        if shared:
            none = f"the releases ship no engines of one precision for {', '.join(shared)}"
        raise DeviceError(
            "; ".join(reasons) or none,
            where=str(new.path),
            fix="Compare them on a device that has their runtime, or name another --target",
        )
    return pairs, [*notes, *(f"{reason}." for reason in reasons)]


def _left_out(old: ReleasedTarget, new: ReleasedTarget, pairs: Sequence[_Pair]) -> list[str]:
    """A note on each precision that one of the two ships alone, and that is not compared."""
    sides = (("old", old, 0), ("new", new, 1))
    return [
        f"Only the {which} release ships {precision} for {new.target}."
        for which, target, side in sides
        for precision in target.shipped
        if precision not in [pair.precisions[side] for pair in pairs]
    ]


class _Comparing:
    """Asks and times the two engines of a target.

    Args:
        releases: the old one and the new one.
    """

    def __init__(
        self,
        releases: tuple[Release, Release],
        rules: Rules,
        budgets: Budgets,
        scratch: Path,
        console: Console,
    ) -> None:
        self.releases = releases
        self.rules = rules
        self.budgets = budgets
        self.scratch = scratch
        self.console = console
        self.samples: Dataset = releases[1].evaluation

    def shipped(self, pair: _Pair) -> TargetComparison:
        candidates = self._candidates(pair)
        batch, runtime = self.rules.measure.batch, self._runtime(pair)
        timed = self.rules.timing(batch)

        def judge(rounds: Mapping[int | Load, tuple[Round, ...]]) -> TargetComparison:
            evidence = Evidence(pair.target, candidates, rounds, timed.rounds)
            return self._compared(pair, evidence, runtime)

        if candidates[0].engine.digest == candidates[1].engine.digest:
            return judge({batch: ()})

        def measure_on(one: Series) -> None:
            with self.console.step(f"measure {pair.target}"):
                one.measure_on(self.console.progress)

        measured = [MeasuredCandidate(c.name, c.engine, c.test) for c in candidates]
        session = Session(measured, self.samples, timed)
        series: dict[int | Load, Series] = {batch: Series(session)}
        return measure_until_decided(series, judge, measure_on, self.rules.measure.decide_within)

    def _compared(self, pair: _Pair, evidence: Evidence, runtime: str) -> TargetComparison:
        scorer, rules = self.rules.test, self.rules
        batch, level = rules.measure.batch, rules.measure.level
        old, new = (candidate.test for candidate in evidence.candidates)
        alike = scorer.comparable(old, new)
        timed = summarize(evidence, NEW, batch, rules.threads, level, ())
        return TargetComparison(
            target=pair.target,
            runtime=runtime,
            old=pair.precisions[0],
            new=pair.precisions[1],
            same_engine=timed is None and not evidence.failures,
            changes=changes(
                evidence, scorer, self.budgets, batch=batch, threads=rules.threads, level=level
            ),
            agreement=scorer.agreement(old, new, level) if alike else None,
            blocks=timed.blocks if timed else 0,
            batch=batch,
            threads=rules.threads,
            looks=timed.looks if timed else 0,
            noise_floor=timed.noise_floor if timed else None,
            failures=tuple(f"{name} failed: {what}" for name, what in evidence.failures.items()),
        )

    def _runtime(self, pair: _Pair) -> str:
        return f"{pair.target} {get_target(pair.target).probe().version}"

    def _candidates(self, pair: _Pair) -> tuple[Candidate, ...]:
        engines = {
            name: release.engine(folder)
            for name, release, folder in zip((OLD, NEW), self.releases, pair.folders, strict=True)
        }
        out = self.scratch / f"{pair.target}-{pair.precisions[1]}"
        out.mkdir()
        context = StepContext(self.releases[1].path, out, self.console.progress, self.console.say)
        with self.console.step(f"evaluate {pair.target}"):
            answers = evaluate(
                EvaluateStep(self.rules.threads),
                EvaluateInputs(engines, {"test": self.samples}),
                out,
                context,
            )
        return tuple(
            Candidate(name, engine, None, answers[f"{name}/test"])
            for name, engine in engines.items()
        )


def _compared(release: Release) -> Compared:
    report = read_report(release.path / "report.json")
    return Compared(
        path=str(release.path),
        name=release.description.name,
        digest=digest_file(release.path / MANIFEST),
        created=report.created,
        edgestill=report.edgestill,
    )


def _remarks(old: Release, new: Release) -> list[str]:
    found = []
    if old.evaluation.digest != new.evaluation.digest:
        found.append("The evaluation sets differ: both were asked about the new release's.")
    metrics = [release.description.metric for release in (old, new)]
    if metrics[0] != metrics[1]:
        found.append("The metrics differ: both were judged by the new release's.")
    return found
