"""`edgestill run`: from a recipe to a release with verdicts."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from edgestill.artifact import Checkpoint, Dataset, Engine, OnnxModel, Predictions
from edgestill.capture import captured
from edgestill.console import Console
from edgestill.data.arrays import load_labels
from edgestill.digest import canonical
from edgestill.errors import DeviceError, UsageError
from edgestill.measuring import Session, latest_series, measure_series
from edgestill.metric_config import FunctionMetric
from edgestill.models.resolve import load_callable
from edgestill.planner import BASELINE, Plan, Ref, TargetPlan, make_plan
from edgestill.recipe import Recipe, load_recipe
from edgestill.release import ReleasedTarget, ReleaseDescription, ReleaseWriter, writing
from edgestill.report.build import make_report
from edgestill.report.markdown import render as render_markdown
from edgestill.report.model import ModelSummary, Report
from edgestill.runner import Runner
from edgestill.scoring import Scorer, resolve_metric
from edgestill.store import Key, Store
from edgestill.targets import TARGETS, get_target
from edgestill.targets.fingerprint import Fingerprint
from edgestill.targets.measure import Candidate as MeasuredCandidate
from edgestill.targets.measure import MeasureConfig
from edgestill.verify.assess import Rules, assess, hop_results, not_run, undecided
from edgestill.verify.evidence import Candidate, Evidence
from edgestill.verify.results import GateResult, TargetResult

DEFAULT_STORE = Path(".edgestill")


def run_recipe(
    recipe: str,
    *,
    overrides: Sequence[str] = (),
    targets: Sequence[str] = (),
    out: Path | None = None,
    store: Path | None = None,
    fresh: bool = False,
    console: Console | None = None,
) -> Report:
    """Run a recipe, or what has changed of it, and write its release.

    Args:
        recipe: a file, or the name of a preset.
        overrides: `key.path=value`, as in `distill.epochs=5`.
        targets: only these targets of the recipe.
        out: where the release goes; by default `dist/<name>`.
        store: where results are kept; by default `$EDGESTILL_STORE` or `.edgestill`.
        fresh: measure again, whatever was measured before.

    Raises:
        UsageError: the recipe, its data or its models are wrong.
        EnvironmentFailure: this machine or a target's software failed.
    """
    console = console or Console()
    loaded = select_targets(load_recipe(recipe, overrides), targets)
    require_runnable(loaded)
    opened = open_store(store, console)
    log = opened.root / "logs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    runner = Runner(make_plan(loaded), opened, console, log)
    return _Run(runner, fresh).release(out or Path("dist") / loaded.name)


def open_store(path: Path | None, console: Console) -> Store:
    """The store at `path`, else at `$EDGESTILL_STORE`, else at `.edgestill`."""
    chosen = path or Path(os.environ.get("EDGESTILL_STORE") or DEFAULT_STORE)
    return Store(chosen, console.say)


def select_targets(recipe: Recipe, names: Sequence[str]) -> Recipe:
    """The recipe with only these of its targets; all of them when none is named.

    Raises:
        UsageError: the recipe has no such target.
    """
    known = [target.target for target in recipe.targets]
    for name in names:
        if name not in known:
            raise UsageError(
                f"the recipe has no target {name!r}",
                where=str(recipe.path),
                fix=f"Its targets: {', '.join(known) or 'none'}",
            )
    if not names:
        return recipe
    return replace(recipe, targets=tuple(t for t in recipe.targets if t.target in names))


def require_runnable(recipe: Recipe) -> None:
    """Refuse, before any training, a target that is not installed or cannot run here.

    Raises:
        DeviceError: with how to get it.
    """
    for target in recipe.targets:
        found = get_target(target.target).probe()
        usable = found.can_run if target.verify == "here" else found.can_compile
        if not usable:
            elsewhere = " or set verify: elsewhere" if found.can_compile else ""
            raise DeviceError(
                f"{target.target} cannot {'run' if found.can_compile else 'compile'} here"
                f" ({found.reason})",
                where=str(recipe.path),
                fix=f"{found.fix or 'Leave out this target'}{elsewhere}",
            )


class _Run:
    """One run of a plan, after whose steps the targets are measured and judged."""

    def __init__(self, runner: Runner, fresh: bool) -> None:
        self.runner = runner
        self.plan: Plan = runner.plan
        self.recipe = runner.plan.recipe
        self.console = runner.console
        self.fresh = fresh
        self.fingerprint = Fingerprint.read()

    def release(self, place: Path) -> Report:
        for name in self.plan.steps:
            self.runner.resolve(name)
        rules = self._rules()
        results: list[TargetResult] = []
        gates: list[GateResult] = []
        for target in self.plan.targets:
            result, decided = self._target(target, rules)
            results.append(result)
            gates += decided
        hops = tuple((hop.name, hop.parent, self._predictions(hop.predictions)) for hop in self.plan.hops)
        report = make_report(
            self.recipe,
            kind="run",
            hops=hop_results(hops, rules.test, rules.measure.level),
            targets=tuple(results),
            gates=tuple(gates),
            records=self.runner.records,
            models=self._models(),
            splits={role: self._split(role).description.count for role in ("train", "calibration", "validation", "test")},
            fingerprint=self.fingerprint,
        )
        with writing(place) as writer:
            self._write(writer, report, results)
        return report

    def _target(
        self, target: TargetPlan, rules: Rules
    ) -> tuple[TargetResult, tuple[GateResult, ...]]:
        name = target.config.target
        if target.evaluate is None:
            return self._elsewhere(target), not_run(name, self.recipe.gates, "verify: elsewhere")
        candidates = tuple(
            Candidate(
                label,
                self._engine(ref),
                self._predictions(Ref(target.evaluate, f"{label}/validation")),
                self._predictions(Ref(target.evaluate, f"{label}/test")),
            )
            for label, ref in target.engines.items()
        )
        sessions = {batch: self._session(candidates, batch) for batch in rules.batches}
        rounds = {}
        reused = set()
        for batch, session in sessions.items():
            facts = self.runner.store.facts(self._facts_key(name, session))
            found = () if self.fresh else latest_series(facts, session.config.rounds)
            if found:
                reused.add(batch)
            rounds[batch] = found or self._measure(name, batch, session)
        runtime = f"{name} {get_target(name).probe().version}"
        auto = target.config.auto
        evidence = Evidence(name, candidates, rounds)
        result, gates = assess(evidence, rules, auto=auto, shipped=None, runtime=runtime)
        if reused and undecided(gates, self.recipe.gates):
            # What could not be decided from former blocks is never shown again as it was.
            rounds |= {batch: self._measure(name, batch, sessions[batch]) for batch in reused}
            evidence = Evidence(name, candidates, rounds)
            result, gates = assess(evidence, rules, auto=auto, shipped=None, runtime=runtime)
        return result, gates

    def _measure(self, target: str, batch: int, session: Session) -> tuple:  # type: ignore[type-arg]
        facts = self.runner.store.facts(self._facts_key(target, session))
        started = time.monotonic()
        label = f"measure {target}" + (f" batch {batch}" if batch > 1 else "")
        with self.console.step(label), captured(self.runner.log):
            rounds = measure_series(session, facts, self.console.progress)
        self.runner.note(label, time.monotonic() - started)
        return rounds

    def _session(self, candidates: Sequence[Candidate], batch: int) -> Session:
        measure = self.recipe.measure
        return Session(
            tuple(MeasuredCandidate(c.name, c.engine, c.test) for c in candidates),
            self._split("test"),
            MeasureConfig(
                rounds=measure.rounds,
                batch=batch,
                threads=self.recipe.threads,
                block_seconds=measure.block,
                time_limit_s=measure.time_limit,
            ),
        )

    def _facts_key(self, target: str, session: Session) -> Key:
        samples = self.runner.entries["data"].digest("test/inputs")
        distribution = TARGETS[target].distribution
        parts = session.key_parts(
            samples, self.fingerprint.digest, {distribution: get_target(target).probe().version}
        )
        return Key(f"measure {target}", "measure", parts)

    def _elsewhere(self, target: TargetPlan) -> TargetResult:
        from edgestill.verify.results import CandidateResult

        engines = {name: self._engine(ref) for name, ref in target.engines.items()}
        return TargetResult(
            target=target.config.target,
            runtime=f"{target.config.target} {get_target(target.config.target).probe().version}",
            verify="elsewhere",
            candidates=tuple(
                CandidateResult(name, engine.digest, engine.size_bytes)
                for name, engine in engines.items()
            ),
            baseline=None,
            shipped=tuple(engines),
            would_choose=None,
            reasons={},
        )

    def _rules(self) -> Rules:
        recipe = self.recipe
        metric = resolve_metric(recipe.metric, lambda reference: load_callable(reference, recipe.base))
        references = {"student": self._predictions(Ref("evaluate onnx", "fp32/test"))}
        if recipe.teacher is not None:
            first = "ask teacher" if "ask teacher" in self.plan.steps else "evaluate onnx"
            part = "" if first == "ask teacher" else f"{BASELINE}/test"
            references["teacher"] = self._predictions(Ref(first, part))
        return Rules(
            gates=recipe.gates,
            measure=recipe.measure,
            threads=recipe.threads,
            accuracy_drop=recipe.quantize.budget.accuracy_drop if recipe.quantize else None,
            test=Scorer(recipe.task, metric, load_labels(self._split("test"))),
            validation=Scorer(recipe.task, metric, load_labels(self._split("validation"))),
            references=references,
        )

    def _models(self) -> tuple[ModelSummary, ...]:
        summaries = []
        for role in ("teacher", "student"):
            entry = self.recipe.teacher if role == "teacher" else self.recipe.student
            if entry is None:
                continue
            onnx = self._onnx(f"export {role}")
            size = onnx.model_path.stat().st_size
            if entry.onnx is not None:
                summaries.append(ModelSummary(role, entry.onnx, "adopted", None, size))
                continue
            checkpoint = self.runner.artifact(Ref(role))
            assert isinstance(checkpoint, Checkpoint)
            found = checkpoint.description
            best = found.validation[found.best_epoch - 1] if found.best_epoch else None
            summaries.append(
                ModelSummary(
                    role,
                    found.model,
                    found.origin,
                    found.parameters,
                    size,
                    len(found.validation) or None,
                    found.best_epoch,
                    best,
                    found.validation[-1] if found.validation else None,
                )
            )
        return tuple(summaries)

    def _write(self, writer: ReleaseWriter, report: Report, results: Sequence[TargetResult]) -> None:
        recipe, rules = self.recipe, self._rules()
        released = []
        for target, result in zip(self.plan.targets, results, strict=True):
            folder = f"targets/{result.target}"
            places = {
                name: writer.add(self._engine(ref), f"{folder}/{name}")
                for name, ref in target.engines.items()
            }
            baseline = places.pop(BASELINE, None)
            released.append(
                ReleasedTarget(
                    target=result.target,
                    verify=result.verify,
                    candidates=places,
                    baseline=baseline,
                    shipped=result.shipped,
                    auto=target.config.auto,
                    selected_on=self.fingerprint.digest if target.config.auto and target.evaluate else None,
                )
            )
        writer.add(self._onnx("export student"), "model")
        writer.add(self._split("test"), "evaluation")
        for name, predictions in rules.references.items():
            writer.add(predictions, f"references/{name}")
        metric = recipe.metric if isinstance(recipe.metric, str) else asdict(recipe.metric)
        if isinstance(recipe.metric, FunctionMetric):
            file = recipe.metric.function.rpartition(":")[0]
            if file.endswith(".py"):
                writer.add_text(f"code/{Path(file).name}", (recipe.base / file).read_text("utf-8"))
        writer.describe(
            ReleaseDescription(
                name=recipe.name,
                task=recipe.task,
                metric=metric,
                threads=recipe.threads,
                seed=recipe.seed,
                gates=tuple((name, canonical(gate)) for name, gate in recipe.gates),
                measure=canonical(recipe.measure),
                targets=tuple(released),
                references=tuple(rules.references),
                versions=dict(report.versions),
            )
        )
        writer.add_text("recipe.yaml", recipe.path.read_text("utf-8"))
        writer.add_text("report.json", report.to_json())
        writer.add_text("report.md", render_markdown(report))

    def _split(self, role: str) -> Dataset:
        found = self.runner.artifact(Ref("data", role))
        assert isinstance(found, Dataset)
        return found

    def _engine(self, ref: Ref) -> Engine:
        found = self.runner.artifact(ref)
        assert isinstance(found, Engine)
        return found

    def _onnx(self, step: str) -> OnnxModel:
        found = self.runner.artifact(Ref(step))
        assert isinstance(found, OnnxModel)
        return found

    def _predictions(self, ref: Ref) -> Predictions:
        found = self.runner.artifact(ref)
        assert isinstance(found, Predictions)
        return found
