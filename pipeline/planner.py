"""From a recipe to a plan: the steps, what each takes, and an order in which they can run.

Pure and torch-free. Keys are not known here: a key needs the digests of its inputs, which the
runner learns one step after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from edgestill.compile.config import CompileStep
from edgestill.data.config import SplitStep, source_code, source_files, source_libraries
from edgestill.distill.config import DistillStep
from edgestill.export.config import AdoptStep, CheckStep, ExportStep
from edgestill.metric_config import FunctionMetric
from edgestill.models.config import ModelConfig
from edgestill.quantize.config import QuantizeStep
from edgestill.recipe import Recipe, TargetConfig
from edgestill.stages import STAGES, Stage
from edgestill.targets import TARGETS
from edgestill.train.config import AskStep, LoadStep, TrainStep
from edgestill.verify.config import EvaluateStep

BASELINE = "teacher"  # the candidate whose speed a speed-up is measured against
FLOAT = "fp32"
_TEACHERS = ("teacher torch", "teacher onnx")  # what a student is compared with, if there


@dataclass(frozen=True)
class Ref:
    """The result of a step, or a part of it.

    Attributes:
        part: the sub-folder that holds the artifact.
        keyed_by: the sub-folder of the part that the receiving step reads, so that a change
            of the rest, such as the labels of samples that are only fed, leaves its key alone.
    """

    step: str
    part: str = ""
    keyed_by: str = ""


Inputs = Mapping[str, Ref | Mapping[str, Ref]]


@dataclass(frozen=True)
class Step:
    """One execution of a stage.

    Attributes:
        inputs: for each field of the stage's inputs, one reference or one by name.
        code: callables of the user whose source the result depends on.
        files: files of the user whose content the result depends on.
        libraries: distributions beside the stage's own whose version the result depends on.
        after: steps that have to succeed first, though their result is not read.
    """

    name: str
    kind: str
    config: Any
    inputs: Inputs = field(default_factory=dict)
    code: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    libraries: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def stage(self) -> Stage:
        return STAGES[self.kind]

    @property
    def reads(self) -> tuple[str, ...]:
        """The steps whose results it takes, and whose digests its key needs."""
        names: list[str] = []
        for value in self.inputs.values():
            refs = [value] if isinstance(value, Ref) else value.values()
            names += [ref.step for ref in refs]
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True)
class TargetPlan:
    """What is compiled for a target, and which steps give it.

    Attributes:
        candidates: precision -> the step that compiles it, in the order of the recipe.
        hops: precision -> the last hop on its way: the engine, or its ONNX where it is not run.
        baseline: the step that compiles the teacher, where there is one and it can be timed.
        evaluate: the step that runs them all; None for a target that is verified elsewhere.
    """

    config: TargetConfig
    candidates: Mapping[str, str]
    hops: Mapping[str, str]
    baseline: str | None
    evaluate: str | None

    @property
    def engines(self) -> dict[str, Ref]:
        """Every engine by the name that measurements use."""
        engines = {name: Ref(step) for name, step in self.candidates.items()}
        return {BASELINE: Ref(self.baseline), **engines} if self.baseline else engines


@dataclass(frozen=True)
class Hop:
    """One place on the way from teacher to device where the model is asked.

    Attributes:
        predictions: what it answered on the test split.
        parent: the hop that it was made from; None for the first.
    """

    name: str
    predictions: Ref
    parent: str | None


@dataclass(frozen=True)
class Plan:
    """All steps in an order in which they can run, and what stands at the end."""

    recipe: Recipe
    steps: Mapping[str, Step]
    targets: tuple[TargetPlan, ...]
    hops: tuple[Hop, ...]


def make_plan(recipe: Recipe) -> Plan:
    """The plan of a recipe."""
    return _Planner(recipe).plan()


class _Planner:
    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.steps: dict[str, Step] = {}
        self.hops: list[tuple[str, Ref, tuple[str, ...]]] = []

    def plan(self) -> Plan:
        recipe = self.recipe
        self._data()
        self._check()
        if recipe.teacher is not None:
            self._model("teacher")
        self._model("student")
        onnx = {FLOAT: "export student"}
        for scheme in self._schemes():
            onnx[scheme] = self._quantize(scheme)
        self._evaluate_onnx(onnx)
        targets = tuple(self._target(target, onnx) for target in recipe.targets)
        return Plan(recipe, self.steps, targets, self._linked())

    def _add(self, step: Step) -> str:
        self.steps[step.name] = step
        return step.name

    def _data(self) -> None:
        recipe = self.recipe
        self._add(
            Step(
                "data",
                "split",
                SplitStep(recipe.data, recipe.task, recipe.seed),
                code=source_code(recipe.data),
                files=source_files(recipe.data, recipe.base),
                libraries=source_libraries(recipe.data),
            )
        )

    def _check(self) -> None:
        recipe = self.recipe
        models = {"teacher": recipe.teacher, "student": recipe.student}
        built = {role: _model_config(m) for role, m in models.items() if m and m.model}
        if not built:
            return
        config = CheckStep(
            teacher=built.get("teacher"),
            student=built.get("student"),
            losses=recipe.distill.losses if recipe.distill else (),
            export=recipe.export,
            task=recipe.task,
            metric=recipe.metric,
            seed=recipe.seed,
        )
        self._add(
            Step(
                "check",
                "check",
                config,
                {"train": Ref("data", "train")},
                code=self._code(*built.values()),
                files=self._files(*built.values()),
            )
        )

    def _model(self, role: str) -> None:
        """The steps that give a role's weights, its PyTorch answers and its ONNX model."""
        recipe = self.recipe
        entry = recipe.teacher if role == "teacher" else recipe.student
        assert entry is not None
        model = _model_config(entry)
        test = Ref("data", "test", "inputs")
        calibration = Ref("data", "calibration", "inputs")
        if model.onnx is not None:
            self._add(
                Step(
                    f"export {role}",
                    "adopt",
                    AdoptStep(model),
                    {"samples": calibration},
                    files=(recipe.base / model.onnx,),
                )
            )
            return
        self._weights(role, model)
        model = _without_weights(model)
        code, files, checkpoint = self._code(model), self._files(model), Ref(role)
        self._add(
            Step(
                f"ask {role}",
                "ask",
                AskStep(model, recipe.task, recipe.threads),
                {"checkpoint": checkpoint, "dataset": test},
                code,
                files,
            )
        )
        self._hop(f"{role} torch", Ref(f"ask {role}"), *(_TEACHERS if role == "student" else ()))
        self._add(
            Step(
                f"export {role}",
                "export",
                ExportStep(model, recipe.export, recipe.task),
                {"checkpoint": checkpoint, "samples": calibration},
                code,
                files,
            )
        )

    def _weights(self, role: str, model: ModelConfig) -> None:
        recipe = self.recipe
        splits = {"train": Ref("data", "train"), "validation": Ref("data", "validation")}
        entry = recipe.teacher if role == "teacher" else recipe.student
        assert entry is not None
        code, files, after = self._code(model), self._files(model), ("check",)
        common = (recipe.task, recipe.metric, recipe.seed, recipe.threads)
        if role == "student" and recipe.distill is not None:
            assert recipe.teacher is not None
            teacher = _without_weights(_model_config(recipe.teacher))
            self._add(
                Step(
                    role,
                    "distill",
                    DistillStep(model, teacher, recipe.distill, *common),
                    {"teacher": Ref("teacher"), **splits},
                    self._code(model, teacher),
                    self._files(model, teacher),
                    ("accelerate",),
                    after,
                )
            )
        elif entry.train is not None:
            config = TrainStep(model, entry.train, *common)
            self._add(Step(role, "train", config, splits, code, files, ("accelerate",), after))
        else:
            load = LoadStep(model, recipe.task, recipe.seed)
            shown = {"train": Ref("data", "train", "inputs")}
            self._add(Step(role, "load", load, shown, code, files, after=after))

    def _schemes(self) -> tuple[str, ...]:
        """The quantization schemes that the targets ask for."""
        wanted = [TARGETS[t.target].scheme for t in self.recipe.targets if "int8" in t.precisions]
        return tuple(dict.fromkeys(wanted))

    def _quantize(self, scheme: str) -> str:
        assert self.recipe.quantize is not None
        return self._add(
            Step(
                f"quantize {scheme}",
                "quantize",
                QuantizeStep(self.recipe.quantize.samples, scheme),
                {
                    "model": Ref("export student"),
                    "calibration": Ref("data", "calibration", "inputs"),
                },
            )
        )

    def _evaluate_onnx(self, onnx: Mapping[str, str]) -> None:
        """One step for every ONNX file, so that the runtime starts once."""
        candidates = {FLOAT: Ref(onnx[FLOAT])}
        candidates |= {scheme: Ref(step) for scheme, step in onnx.items() if scheme != FLOAT}
        if self.recipe.teacher is not None:
            candidates = {BASELINE: Ref("export teacher"), **candidates}
        name = self._evaluate("evaluate onnx", candidates, ("test",), ("onnxruntime",))
        if self.recipe.teacher is not None:
            self._hop("teacher onnx", Ref(name, f"{BASELINE}/test"), "teacher torch")
        self._hop("student onnx", Ref(name, f"{FLOAT}/test"), "student torch", *_TEACHERS)
        for scheme in onnx:
            if scheme != FLOAT:
                self._hop(f"int8 {scheme} onnx", Ref(name, f"{scheme}/test"), "student onnx")

    def _hop(self, name: str, predictions: Ref, *parents: str) -> None:
        """Add a hop below the first of these parents that the recipe has."""
        self.hops.append((name, predictions, parents))

    def _linked(self) -> tuple[Hop, ...]:
        """Each hop with its parent, where the recipe has one of those that it may have."""
        known = {name for name, _, _ in self.hops}
        return tuple(
            Hop(name, predictions, next((parent for parent in parents if parent in known), None))
            for name, predictions, parents in self.hops
        )

    def _evaluate(
        self,
        name: str,
        candidates: dict[str, Ref],
        roles: tuple[str, ...],
        libraries: tuple[str, ...],
    ) -> str:
        datasets = {role: Ref("data", role, "inputs") for role in roles}
        return self._add(
            Step(
                name,
                "evaluate",
                EvaluateStep(self.recipe.threads),
                {"candidates": candidates, "datasets": datasets},
                libraries=libraries,
            )
        )

    def _target(self, target: TargetConfig, onnx: Mapping[str, str]) -> TargetPlan:
        spec = TARGETS[target.target]
        here = target.verify == "here"
        candidates = {}
        for precision in target.precisions:
            source = onnx[spec.scheme] if precision == "int8" else onnx[FLOAT]
            candidates[precision] = self._compile(target, precision, precision, source)
        baseline = None
        if here and self.recipe.teacher is not None:
            baseline = self._compile(target, BASELINE, FLOAT, "export teacher")
        hops = {
            precision: f"int8 {spec.scheme} onnx" if precision == "int8" else "student onnx"
            for precision in candidates
        }
        planned = TargetPlan(target, candidates, hops, baseline, None)
        if not here:
            return planned
        name = f"evaluate {target.target}"
        self._evaluate(name, planned.engines, ("validation", "test"), (spec.distribution,))
        for precision, origin in hops.items():
            self._hop(f"{target.target} {precision}", Ref(name, f"{precision}/test"), origin)
        own = {precision: f"{target.target} {precision}" for precision in candidates}
        return TargetPlan(target, candidates, own, baseline, name)

    def _compile(self, target: TargetConfig, label: str, precision: str, source: str) -> str:
        return self._add(
            Step(
                f"compile {target.target} {label}",
                "compile",
                CompileStep(target.target, precision, target.options),
                {"model": Ref(source)},
                libraries=(TARGETS[target.target].distribution,),
            )
        )

    def _code(self, *models: ModelConfig) -> tuple[str, ...]:
        """The callables that build these models, and the user's own metric."""
        references = [model.model for model in models if model.model]
        if isinstance(self.recipe.metric, FunctionMetric):
            references.append(self.recipe.metric.function)
        return tuple(dict.fromkeys(references))

    def _files(self, *models: ModelConfig) -> tuple[Path, ...]:
        names = [name for model in models for name in (*model.files, model.weights) if name]
        return tuple(self.recipe.base / name for name in dict.fromkeys(names))


def _model_config(entry: ModelConfig) -> ModelConfig:
    """The part of a recipe's entry that says what the model is, not how it is trained."""
    return ModelConfig(**{item.name: getattr(entry, item.name) for item in fields(ModelConfig)})


def _without_weights(model: ModelConfig) -> ModelConfig:
    """The model as its checkpoint's readers need it: the weights come from the checkpoint."""
    values = {item.name: getattr(model, item.name) for item in fields(ModelConfig)}
    return ModelConfig(**{**values, "weights": None})
