"""A run's evidence: the results of its plan as typed artifacts, and the blocks of its targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from edgestill.api.cautions import too_fine
from edgestill.api.readiness import require_ready
from edgestill.api.series import measurement, series_of
from edgestill.artifact import Checkpoint, Dataset, Engine, OnnxModel, Predictions
from edgestill.capture import captured
from edgestill.data.arrays import load_labels
from edgestill.data.remarks import read_remarks
from edgestill.measuring import Series, Session, latest_series, measure_until_decided
from edgestill.metrics import MetricSpec
from edgestill.models.config import ModelConfig
from edgestill.models.resolve import load_callable
from edgestill.plan import Ref, TargetPlan
from edgestill.planner.schemes import planned_teachers
from edgestill.quantize.config import DEFAULT_DROP
from edgestill.recipe import Recipe
from edgestill.report.model import ModelSummary, QuantizedModel
from edgestill.runner import Runner
from edgestill.scoring import Scorer, resolve_metric
from edgestill.targets import TARGETS
from edgestill.targets.fingerprint import Fingerprint
from edgestill.targets.measure import Round
from edgestill.train.voices import role_of
from edgestill.verdict import Estimate
from edgestill.verify.assess import Assessment, Rules, assess
from edgestill.verify.choice import choose_unmeasured
from edgestill.verify.config import BASELINE, FLOAT, Load
from edgestill.verify.evidence import Candidate, Evidence, timed_under
from edgestill.verify.results import CandidateResult, TargetResult


class Gathering:
    """Asks a runner for results, and the device for blocks.

    Args:
        fresh: whether blocks that were measured before are left aside.
    """

    def __init__(self, runner: Runner, fingerprint: Fingerprint, *, fresh: bool) -> None:
        self.runner = runner
        self.recipe = runner.plan.recipe
        self.fingerprint = fingerprint
        self.fresh = fresh

    def split(self, role: str) -> Dataset:
        return self.runner.typed(Ref("data", role), Dataset)

    def notes(self) -> tuple[str, ...]:
        """What a reader has to know to trust the figures: of the models, and of the data, such as
        samples of test that are in train too."""
        recipe = self.recipe
        entries = {role_of(name): entry for name, entry in planned_teachers(recipe).items()}
        if recipe.student is not None and not recipe.distill:
            entries["student"] = recipe.student
        notes = [
            f"The {role} came trained: it may have seen samples that are validation or test data "
            "here, and score better on them than on new ones."
            for role, entry in entries.items()
            if not entry.train
        ]
        if (undecidable := too_fine(recipe, self.split("validation"))) is not None:
            notes.append(f"{undecidable.what}. {undecidable.fix}.")
        remarks = read_remarks(self.runner.resolve("data").path)
        return (*notes, *(f"Data: {line}." for line in remarks))

    def engine(self, ref: Ref) -> Engine:
        return self.runner.typed(ref, Engine)

    def onnx(self, role: str) -> OnnxModel:
        return self.runner.typed(Ref(f"export {role}"), OnnxModel)

    def quantized(self) -> dict[str, OnnxModel]:
        """The int8 student by scheme."""
        steps = self.runner.plan.steps.values()
        schemes = {s.config.scheme: Ref(s.name) for s in steps if s.kind == "quantize"}
        return {scheme: self.runner.typed(ref, OnnxModel) for scheme, ref in schemes.items()}

    def predictions(self, ref: Ref) -> Predictions:
        return self.runner.typed(ref, Predictions)

    @cached_property
    def rules(self) -> Rules:
        """What the recipe decides by, on the splits of this run."""
        recipe = self.recipe
        metric = resolve_metric(recipe.metric, lambda name: load_callable(name, recipe.base))
        references = {"student": self.predictions(Ref("evaluate onnx", "fp32/test"))}
        if recipe.teacher is not None:
            asked = "ask teacher" in self.runner.plan.steps
            ref = Ref("ask teacher") if asked else Ref("evaluate onnx", f"{BASELINE}/test")
            references["teacher"] = self.predictions(ref)
        return Rules(
            gates=recipe.gates,
            measure=recipe.measure,
            threads=recipe.threads,
            accuracy_drop=_accuracy_budget(recipe, metric),
            test=Scorer(recipe.task, metric, load_labels(self.split("test"))),
            validation=Scorer(recipe.task, metric, load_labels(self.split("validation"))),
            references=references,
            float_validation=self._float_validation(),
        )

    def _float_validation(self) -> Predictions | None:
        """What the float student answered on validation before it was compiled, if it was asked."""
        name = "evaluate onnx"
        datasets = self.runner.plan.steps[name].inputs["datasets"]
        asked = isinstance(datasets, Mapping) and "validation" in datasets
        return self.predictions(Ref(name, f"{FLOAT}/validation")) if asked else None

    def models(self) -> tuple[ModelSummary, ...]:
        """Teachers, student and what is between, how they came about and how large they are."""
        teachers, student = planned_teachers(self.recipe), self.recipe.student
        assert student is not None
        return (
            *(self._model(role_of(name), entry) for name, entry in teachers.items()),
            *(self._trained(name, None) for name in self.runner.plan.between),
            self._model("student", student),
        )

    def _model(self, role: str, entry: ModelConfig) -> ModelSummary:
        if entry.function is not None:
            return ModelSummary(role, entry.function, "function", None, None)
        exported = f"export {role}" in self.runner.plan.steps
        size = self.onnx(role).model_path.stat().st_size if exported else None
        if entry.onnx is not None:
            return ModelSummary(role, entry.onnx, "adopted", None, size)
        return self._trained(role, size)

    def _trained(self, role: str, onnx_bytes: int | None) -> ModelSummary:
        found = self.runner.typed(Ref(role), Checkpoint).description
        trained = found.validation
        return ModelSummary(
            role=role,
            source=found.model,
            origin=found.origin,
            parameters=found.parameters,
            onnx_bytes=onnx_bytes,
            epochs=len(trained) or None,
            best_epoch=found.best_epoch,
            best_validation=trained[found.best_epoch - 1] if found.best_epoch else None,
            last_validation=trained[-1] if trained else None,
            processes=found.processes,
        )

    def quantization(self) -> tuple[QuantizedModel, ...]:
        """What a report says of the int8 models."""
        return tuple(
            QuantizedModel(scheme, model.description.layers)
            for scheme, model in self.quantized().items()
        )

    def elsewhere(self, target: TargetPlan) -> TargetResult:
        """What was built for a target that another machine verifies."""
        engines = {name: self.engine(ref) for name, ref in target.engines.items()}
        rules = self.rules
        drops = self._drops_as_onnx(target, rules)
        choice = choose_unmeasured(tuple(engines), drops, rules.budget, auto=target.config.auto)
        return TargetResult(
            target=target.config.target,
            runtime=self._runtime(target),
            verify="elsewhere",
            candidates=tuple(
                CandidateResult(
                    name, engine.digest, engine.size_bytes, validation_drop=drops.get(name)
                )
                for name, engine in engines.items()
            ),
            baseline=None,
            shipped=choice.shipped,
            would_choose=None,
            reasons=dict(choice.reasons),
        )

    def _drops_as_onnx(self, target: TargetPlan, rules: Rules) -> dict[str, Estimate]:
        """What int8 loses on validation before it is compiled: it is all that is known here."""
        reference = rules.float_validation
        if "int8" not in target.candidates or rules.validation is None or reference is None:
            return {}
        scheme = TARGETS[target.config.target].scheme
        quantized = self.predictions(Ref("evaluate onnx", f"{scheme}/validation"))
        return {"int8": rules.validation.drop(reference, quantized, rules.measure.level)}

    def judged(self, target: TargetPlan, rules: Rules) -> Assessment:
        """The choice and the gates of a target. Where former blocks leave a gate open, their series
        goes on: what could not be decided is never shown again as it was."""
        candidates = self._candidates(target)
        series = {load: self._series(target, candidates, rules, load) for load in rules.loads}

        def judge(rounds: Mapping[int | Load, tuple[Round, ...]]) -> Assessment:
            evidence = Evidence(target.config.target, candidates, rounds, rules.measure.rounds)
            auto, runtime = target.config.auto, self._runtime(target)
            return assess(evidence, rules, auto=auto, shipped=None, runtime=runtime)

        def measure_on(one: Series) -> None:
            require_ready(self.runner.plan, computes=False)
            load = next(load for load, other in series.items() if other is one)
            with self.runner.console.step(measurement(target, load)), captured(self.runner.log):
                one.measure_on(self.runner.console.progress)

        judged = measure_until_decided(series, judge, measure_on, rules.measure.decide_within)
        for load, one in series.items():
            if one.measured:
                self.runner.note(measurement(target, load), one.seconds)
            else:
                self.runner.note_reused(measurement(target, load), one.former_seconds)
        return judged

    def _candidates(self, target: TargetPlan) -> tuple[Candidate, ...]:
        assert target.evaluate is not None
        return tuple(
            Candidate(
                name,
                self.engine(ref),
                self.predictions(Ref(target.evaluate, f"{name}/validation")),
                self.predictions(Ref(target.evaluate, f"{name}/test")),
            )
            for name, ref in target.engines.items()
        )

    def _series(
        self,
        target: TargetPlan,
        candidates: Sequence[Candidate],
        rules: Rules,
        load: int | Load,
    ) -> Series:
        measured = timed_under(load, candidates)
        session = Session(measured, self.split("test"), rules.timing(load))
        facts = series_of(self.runner, target, load, session.config, self.fingerprint)
        return Series(session, facts, None if self.fresh else latest_series(facts))

    def _runtime(self, target: TargetPlan) -> str:
        name = target.config.target
        return f"{name} {TARGETS[name].version}"


def _accuracy_budget(recipe: Recipe, metric: MetricSpec) -> float | None:
    """What a candidate may lose on validation, in the metric; None for no limit."""
    stated = recipe.quantize.budget.accuracy_drop if recipe.quantize else None
    return DEFAULT_DROP if stated is None and metric.unit == "pp" else stated
