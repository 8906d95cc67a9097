"""`edgestill verify`: a release on this machine, without torch, from its own files alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgestill.arguments import Names, PathLike, as_names, as_path
from edgestill.artifact import Engine, Predictions
from edgestill.capture import captured
from edgestill.console import Console
from edgestill.data.arrays import load_labels
from edgestill.departures.locate import options_of, outcome, search
from edgestill.departures.parity import allowed_error, answers_error, least_alike
from edgestill.departures.result import Departure
from edgestill.errors import DamagedRelease, DeviceError, UsageError
from edgestill.measuring import Series, Session, measure_until_decided
from edgestill.metric_config import FunctionMetric
from edgestill.metrics import METRICS
from edgestill.reference import load as load_reference
from edgestill.release import CODE, Release, ReleasedTarget, open_release
from edgestill.report.build import make_report
from edgestill.report.formats import BESIDE, render
from edgestill.report.model import REPORT, Report, writer_of
from edgestill.scoring import Scorer, resolve_metric
from edgestill.step import StepContext
from edgestill.targets import get_target
from edgestill.targets.fingerprint import Fingerprint
from edgestill.targets.measure import Round
from edgestill.verify.assess import (
    Assessment,
    Rules,
    assess,
    hop_results,
    not_run,
)
from edgestill.verify.belonging import require_belonging
from edgestill.verify.changes import with_changes
from edgestill.verify.config import (
    BASELINE,
    GATE_CONFIGS,
    EvaluateStep,
    Load,
    MeasureConfig,
    ScoreGate,
)
from edgestill.verify.evidence import Candidate, Evidence, timed_under
from edgestill.verify.results import GateResult, HopResult, TargetResult
from edgestill.verify.stage import EvaluateInputs, evaluate

# Processors round int8 in ways of their own: so many times its error may be what it was.
_SLACK = 2.0

Hops = list[tuple[str, str | None, Predictions]]


def verify_release(
    release: PathLike,
    *,
    targets: Names = (),
    allow_code: bool = False,
    out: PathLike | None = None,
    console: Console | None = None,
) -> Report:
    """Run what a release ships on this machine and decide its gates again.

    The report is written beside the release, as `<release>.verify.json`, `.md` and `.html`.

    Args:
        targets: only these; a target that is named has to run here.
        allow_code: whether a user's own metric, which is code in the release, may run.
        out: where the report goes, without its suffix.

    Raises:
        UsageError: the folder is not a release, or has no such target.
        DamagedRelease: a file is not what the manifest says; nothing of it was opened.
        DeviceError: no target can run here.
    """
    console = console or Console()
    opened = open_release(as_path(release, "release"))
    targets = as_names(targets, "targets")
    chosen = opened.targets(targets)
    place = report_place(release, out)
    _require_writable(place, opened.path)
    log = _beside(place, ".log")
    try:
        # A user's own metric may print, too.
        with TemporaryDirectory(prefix="edgestill-") as scratch, captured(log):
            verification = _Verification(opened, allow_code, Path(scratch), console)
            verification.require_belonging()
            report = verification.run(chosen, named=bool(targets))
    finally:
        if not log.stat().st_size:
            log.unlink()
    for suffix, shape in BESIDE.items():
        _beside(place, suffix).write_text(render(report, shape), encoding="utf-8")
    return report


def report_place(release: PathLike, out: PathLike | None = None) -> Path:
    """Where the report of a verification goes, without its suffix."""
    folder = as_path(release, "release").resolve()
    return folder.with_name(f"{folder.name}.verify") if out is None else as_path(out, "out")


def _beside(place: Path, suffix: str) -> Path:
    return place.with_name(place.name + suffix)


def _require_writable(place: Path, release: Path) -> None:
    """Find out before measuring, not after it, that the report has no place."""
    if place.resolve().is_relative_to(release.resolve()):
        raise UsageError(
            "a report in the release would be a file that its manifest does not know",
            where=str(place),
            fix="Name a place outside it with --out",
        )
    try:
        _beside(place, ".log").open("ab").close()
    except OSError as error:
        raise UsageError(
            f"the report cannot be written ({error.strerror})",
            where=str(place.parent),
            fix="Name another place with --out",
        ) from error


class _Verification:
    def __init__(self, release: Release, allow_code: bool, scratch: Path, console: Console) -> None:
        self.release = release
        self.console = console
        self.scratch = scratch
        self.test = release.evaluation
        self.rules = rules_of(release, allow_code)
        self.hops: Hops = []
        self.shipped: list[str] = []
        # With how far each answered from the float student where it was built.
        self.engines: dict[str, tuple[Engine, float]] = {}

    def require_belonging(self) -> None:
        """Refuse an evaluation set that no engine of the release can be judged by."""
        signature = self.release.onnx(None).description.signature
        require_belonging(self.test, signature, self.rules.references)

    def run(self, targets: Sequence[ReleasedTarget], *, named: bool) -> Report:
        description = self.release.description
        results: list[TargetResult] = []
        gates: list[GateResult] = []
        failures: list[str] = []
        for name in description.references:
            self.hops.append((f"{name} (from the build)", None, self.rules.references[name]))
        probed = {target.target: get_target(target.target).probe() for target in targets}
        runnable = [name for name, found in probed.items() if found.can_run]
        instead = " ".join(f"--target {name}" for name in runnable)
        for target in targets:
            found = probed[target.target]
            if not found.can_run:
                why = f"{found.reason}. {found.fix}" if found.fix else found.reason
                gates += not_run(target.target, self.rules.gates, why)
                if named or target.verify == "here":
                    failures.append(
                        f"{target.target} cannot run here: {why.removesuffix('.')}."
                        + (f" {instead} verifies what can run here." if instead else "")
                    )
                continue
            assessed = self._target(target, f"{target.target} {found.version}")
            results.append(assessed.target)
            gates += assessed.gates
            failures += assessed.failures
        if not results:
            raise DeviceError(
                "none of the release's targets can run here",
                where=str(self.release.path),
                fix="; ".join(failures) or "Verify it on the device that it was built for",
            )
        return make_report(
            kind="verify",
            name=description.name,
            task=description.task,
            metric=self.rules.test.metric.name,
            bigger_is_better=self.rules.test.metric.bigger_is_better,
            seed=description.seed,
            threads=description.threads,
            splits={"test": self.test.description.count},
            evaluation=self.test.digest,
            models=(),
            hops=self._hops(),
            targets=results,
            gates=gates,
            steps=(),
            fingerprint=Fingerprint.read(),
            budgets=self.rules.gates,
            notes=description.notes,
            failures=failures,
        )

    def _hops(self) -> tuple[HopResult, ...]:
        level = self.rules.measure.level
        results = hop_results(self.hops, self.rules.test, level, shipped=self.shipped)
        answers = {name: predictions for name, _, predictions in self.hops}
        references = self.rules.references
        results = with_changes(results, answers, references, self.test, level, shipped=self.shipped)
        return tuple(self._looked_at(hop, answers[hop.name]) for hop in results)

    def _looked_at(self, result: HopResult, answers: Predictions) -> HopResult:
        """An engine that answers otherwise than where it was built, with where that begins."""
        if result.name not in self.engines:
            return result
        engine, recorded = self.engines[result.name]
        made, options = engine.description, options_of(engine)
        student = self.rules.references["student"]
        if answers_error(student, answers) <= allowed_error(
            made.precision, options, _SLACK * recorded
        ):
            return result

        def find() -> Departure | None:
            with self.console.step(f"locate {result.name}"):
                model = self.release.onnx(made.scheme)
                feeds = least_alike(model, self.test, student, answers)
                tolerance = allowed_error(made.precision, options, recorded)
                work = self.scratch / result.name
                threads = self.rules.threads
                return search(model, engine, feeds, tolerance, threads=threads, work=work)

        departure, why = outcome(engine, find)
        return replace(result, departure=departure, unfound=why)

    def _target(self, target: ReleasedTarget, runtime: str) -> Assessment:
        folders = dict(target.candidates)
        if target.baseline is not None:
            folders = {BASELINE: target.baseline, **folders}
        engines = {name: self.release.engine(folder) for name, folder in folders.items()}
        for engine in engines.values():
            options_of(engine)  # what cannot be compared in the end is refused before it is timed
        out = self.scratch / target.target
        out.mkdir()
        context = StepContext(self.release.path, out, self.console.progress, self.console.say)
        inputs = EvaluateInputs(engines, {"test": self.test})
        with self.console.step(f"evaluate {target.target}"):
            answers = evaluate(EvaluateStep(self.rules.threads), inputs, out, context)
        candidates = tuple(
            Candidate(name, engine, None, answers[f"{name}/test"], target.drops.get(name))
            for name, engine in engines.items()
        )
        series = {
            load: Series(Session(timed_under(load, candidates), self.test, self.rules.timing(load)))
            for load in self.rules.loads
        }
        for candidate in candidates:
            if candidate.name != BASELINE:
                name = f"{target.target} {candidate.name}"
                if candidate.name in target.shipped:
                    self.shipped.append(name)
                self.hops.append((name, "student (from the build)", candidate.test))
                if candidate.name in target.errors:
                    self.engines[name] = candidate.engine, target.errors[candidate.name]

        def judge(rounds: Mapping[int | Load, tuple[Round, ...]]) -> Assessment:
            evidence = Evidence(target.target, candidates, rounds, self.rules.measure.rounds)
            auto, shipped = target.auto, target.shipped
            return assess(evidence, self.rules, auto=auto, shipped=shipped, runtime=runtime)

        def measure_on(one: Series) -> None:
            with self.console.step(f"measure {target.target}"):
                one.measure_on(self.console.progress)

        limit_s = self.rules.measure.decide_within
        assessed = measure_until_decided(series, judge, measure_on, limit_s)
        result = replace(assessed.target, selected_on=target.selected_on)
        return replace(assessed, target=result)


def rules_of(release: Release, allow_code: bool) -> Rules:
    """What the release says to decide by."""
    description = release.description
    metric_config: Any = description.metric
    try:
        gates = tuple(
            (name, GATE_CONFIGS.get(name, ScoreGate)(**budget))
            for name, budget in description.gates
        )
        measure = MeasureConfig(**description.measure)
        known = isinstance(metric_config, dict) or metric_config in METRICS
    except TypeError:
        known = False
    if not known:
        raise DamagedRelease(
            "its gates, its metric or how it measures are of another version of edgestill",
            where=str(release.path),
            fix=f"Verify it with version {_built_by(release)}, or build it again",
        )
    withheld = None
    if isinstance(metric_config, dict):
        metric_config = FunctionMetric(**metric_config)
        if not allow_code:
            withheld = "it is code in the release: read code/, then allow it with --allow-code"
    metric = resolve_metric(metric_config, lambda name: _load(release, name, allow_code))
    return Rules(
        gates=gates,
        measure=measure,
        threads=description.threads,
        accuracy_drop=description.accuracy_drop,
        test=Scorer(description.task, metric, load_labels(release.evaluation), withheld),
        validation=None,
        references={name: release.reference(name) for name in description.references},
    )


def _built_by(release: Release) -> str:
    return writer_of(release.path / REPORT)


def _load(release: Release, reference: str, allowed: bool) -> Callable[..., Any]:
    """A metric of the release; one that was not allowed is never imported, nor called."""
    if not allowed:
        return len
    file, _, name = reference.rpartition(":")
    place = f"{Path(file).name}:{name}" if file.endswith(".py") else reference
    function: Callable[..., Any] = load_reference(place, release.path / CODE, UsageError)
    return function
