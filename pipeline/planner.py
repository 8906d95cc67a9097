"""From a recipe to a plan: the steps, what each takes, and an order in which they can run.

Pure and torch-free. Keys are not known here: a key needs the digests of its inputs, which the
runner learns one step after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from edgestill.compile.config import CompileStep
from edgestill.data.config import SplitStep, source_code, source_files, source_libraries
from edgestill.distill.config import CacheConfig, DistillConfig, DistillStep, RecordStep
from edgestill.export.config import AdoptStep, CheckStep, ExportStep
from edgestill.metric_config import FunctionMetric
from edgestill.models.config import ModelConfig
from edgestill.plan import Hop, Plan, Ref, Step, TargetPlan
from edgestill.quantize.config import QuantizeStep
from edgestill.recipe import Recipe, TargetConfig
from edgestill.targets import TARGETS
from edgestill.train.config import AskStep, AugmentConfig, LoadStep, TrainStep
from edgestill.train.losses import default_losses, modules_of
from edgestill.train.losses.config import reads_of
from edgestill.verify.config import BASELINE, FLOAT, EvaluateStep

FP16_LIBRARIES = ("onnx", "onnxruntime")  # the float model is converted before it is compiled
_TEACHERS = ("teacher torch", "teacher onnx")  # what a student is compared with, if there


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
        if self._black_box:
            self._model("teacher")  # the check asks it
        self._check()
        if recipe.teacher is not None and not self._black_box:
            self._model("teacher")
        self._model("student")
        onnx = {FLOAT: "export student"}
        for scheme in self._schemes():
            onnx[scheme] = self._quantize(scheme)
        self._evaluate_onnx(onnx)
        targets = tuple(self._target(target, onnx) for target in recipe.targets)
        return Plan(recipe, self.steps, targets, self._linked())

    @property
    def _black_box(self) -> bool:
        """Whether the teacher is an ONNX file."""
        return self.recipe.teacher is not None and self.recipe.teacher.onnx is not None

    @property
    def _answering(self) -> Ref:
        """The teacher that a student learns from."""
        return Ref("export teacher" if self._black_box else "teacher")

    @property
    def _asked_in(self) -> tuple[str, ...]:
        """The libraries beside torch that ask the teacher."""
        return ("onnx", "onnxruntime") if self._black_box else ()

    def _add(self, step: Step) -> str:
        self.steps[step.name] = step
        return step.name

    def _data(self) -> None:
        recipe = self.recipe
        seed = recipe.seed if recipe.data.split.seed is None else recipe.data.split.seed
        self._add(
            Step(
                "data",
                "split",
                SplitStep(recipe.data, recipe.task, seed),
                code=source_code(recipe.data, recipe.base),
                files=source_files(recipe.data, recipe.base),
                libraries=source_libraries(recipe.data, recipe.base),
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
            seed=recipe.seed,
            trained=self._trained(),
            distilled=recipe.distill is not None,
            augment=self._augment(),
            top_k=recipe.distill.cache.top_k if recipe.distill and recipe.distill.cache else None,
        )
        asked = {"teacher": self._answering} if self._black_box and recipe.distill else {}
        self._add(
            Step(
                "check",
                "check",
                config,
                {"train": Ref("data", "train"), **asked},
                code=self._code(*built.values()),
                files=self._files(*built.values()),
                modules=self._loss_modules(),
            )
        )

    def _loss_modules(self) -> tuple[str, ...]:
        """What computes the losses of this recipe's trainings."""
        recipe = self.recipe
        chosen = recipe.distill.losses if recipe.distill else ()
        return modules_of((*default_losses(recipe.task, teacher=True), *chosen))

    def _trained(self) -> tuple[str, ...]:
        """The roles that learn here."""
        recipe = self.recipe
        learns = {
            "teacher": recipe.teacher is not None and recipe.teacher.train is not None,
            "student": recipe.distill is not None
            or (recipe.student is not None and recipe.student.train is not None),
        }
        return tuple(role for role, does in learns.items() if does)

    def _augment(self) -> tuple[AugmentConfig, ...]:
        recipe = self.recipe
        models = (recipe.teacher, recipe.student)
        trainings = (recipe.distill, *(model.train for model in models if model))
        found = (training.augment for training in trainings if training)
        return tuple(dict.fromkeys(augment for augment in found if augment))

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
                    {"samples": Ref("data", "calibration")},  # with the names of the classes
                    files=self._onnx_files(model),
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
            teacher = None if self._black_box else _without_weights(_model_config(recipe.teacher))
            recording = self._recording(teacher, recipe.distill)
            self._add(
                Step(
                    role,
                    "distill",
                    DistillStep(model, teacher, recipe.distill, *common),
                    {"teacher": self._answering, **splits, **recording},
                    (*self._code(model, teacher), *self._metric_code()),
                    self._files(model, teacher),
                    ("accelerate", *self._asked_in),
                    after,
                    self._loss_modules(),
                )
            )
        elif entry.train is not None:
            config = TrainStep(model, entry.train, *common)
            code = (*code, *self._metric_code())
            libraries = ("accelerate",)
            modules = modules_of(default_losses(recipe.task, teacher=False))
            start = {"teacher": Ref("teacher")} if model.from_ else {}
            inputs = {**start, **splits}
            self._add(Step(role, "train", config, inputs, code, files, libraries, after, modules))
        else:
            load = LoadStep(model, recipe.task, recipe.seed)
            shown = {"train": Ref("data", "train", "inputs")}
            self._add(Step(role, "load", load, shown, code, files, after=after))

    def _recording(self, teacher: ModelConfig | None, distill: DistillConfig) -> dict[str, Ref]:
        """The step that keeps the teacher's answers, where they are to be kept."""
        recipe = self.recipe
        losses = distill.losses or default_losses(recipe.task, teacher=True)
        reads = [reads_of(loss) for loss in losses]
        config = RecordStep(
            teacher=teacher,
            augment=distill.augment,
            cache=distill.cache or CacheConfig(),
            prediction=any(loss.prediction for loss in reads),
            layers=tuple(dict.fromkeys(tap for loss in reads for tap in loss.teacher)),
            task=recipe.task,
            threads=recipe.threads,
        )
        if distill.cache is None or not (config.prediction or config.layers):
            return {}
        train = Ref("data", "train", "inputs")
        name = self._add(
            Step(
                "record teacher",
                "record",
                config,
                {"teacher": self._answering, "train": train},
                self._code(teacher),
                self._files(teacher),
                self._asked_in,
                after=("check",),
            )
        )
        return {"recording": Ref(name)}

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
        # Of int8 that runs elsewhere, its ONNX model is all that a choice can rest on.
        chosen_by = any(
            target.auto and target.verify == "elsewhere" and "int8" in target.precisions
            for target in self.recipe.targets
        )
        roles = ("validation", "test") if chosen_by else ("test",)
        name = self._evaluate("evaluate onnx", candidates, roles, "onnxruntime")
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
        target: str,
    ) -> str:
        datasets = {role: Ref("data", role, "inputs") for role in roles}
        return self._add(
            Step(
                name,
                "evaluate",
                EvaluateStep(self.recipe.threads),
                {"candidates": candidates, "datasets": datasets},
                libraries=(TARGETS[target].distribution,),
                modules=(TARGETS[target].implementation,),
                gpu=TARGETS[target].gpu,
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
        self._evaluate(name, planned.engines, ("validation", "test"), target.target)
        for precision, origin in hops.items():
            self._hop(f"{target.target} {precision}", Ref(name, f"{precision}/test"), origin)
        own = {precision: f"{target.target} {precision}" for precision in candidates}
        return TargetPlan(target, candidates, own, baseline, name)

    def _compile(self, target: TargetConfig, label: str, precision: str, source: str) -> str:
        spec = TARGETS[target.target]
        return self._add(
            Step(
                f"compile {target.target} {label}",
                "compile",
                CompileStep(target.target, precision, target.options),
                {"model": Ref(source)},
                libraries=(spec.distribution, *(FP16_LIBRARIES if precision == "fp16" else ())),
                modules=(spec.implementation,),
                gpu=spec.for_gpu_here(target.options),
            )
        )

    def _code(self, *models: ModelConfig | None) -> tuple[str, ...]:
        """The callables that build these models."""
        return tuple(dict.fromkeys(model.model for model in models if model and model.model))

    def _metric_code(self) -> tuple[str, ...]:
        """The user's own metric, which chooses the best epoch."""
        metric = self.recipe.metric
        return (metric.function,) if isinstance(metric, FunctionMetric) else ()

    def _files(self, *models: ModelConfig | None) -> tuple[Path, ...]:
        given = [model for model in models if model]
        names = [name for model in given for name in (*model.files, model.weights) if name]
        return tuple(self.recipe.base / name for name in dict.fromkeys(names))

    def _onnx_files(self, model: ModelConfig) -> tuple[Path, ...]:
        """The file, and those with its weights: named after it, or declared."""
        assert model.onnx is not None
        file = self.recipe.base / model.onnx
        beside = [found for found in file.parent.iterdir() if found.name.startswith(file.name)]
        return tuple(sorted({*beside, *self._files(model)}))


def _model_config(entry: ModelConfig) -> ModelConfig:
    """The part of a recipe's entry that says what the model is, not how it is trained."""
    return ModelConfig(**{item.name: getattr(entry, item.name) for item in fields(ModelConfig)})


def _without_weights(model: ModelConfig) -> ModelConfig:
    """The model as its checkpoint's readers need it: the weights come from the checkpoint."""
    values = {item.name: getattr(model, item.name) for item in fields(ModelConfig)}
    return ModelConfig(**{**values, "weights": None})
