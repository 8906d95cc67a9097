"""The steps up to the ONNX models: data, check, and for each model weights, answers and export."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgestill.data.config import SplitStep, source_code, source_files, source_libraries
from edgestill.distill.config import DistillConfig, DistillStep
from edgestill.export.config import AdoptStep, CheckStep, ExportStep
from edgestill.models.config import ModelConfig
from edgestill.plan import Ref, Step
from edgestill.planner.draft import PlanDraft, model_config, without_weights
from edgestill.planner.teachers import (
    add_recordings,
    answering,
    asked_in,
    learnt_from,
    planned,
    settings_of,
)
from edgestill.recipe import TrainedModelConfig
from edgestill.train.config import AskStep, AugmentConfig, LoadStep, TrainStep
from edgestill.train.losses import default_losses, modules_of
from edgestill.train.voices import TEACHER, role_of

# What a student is compared with, where the recipe has it.
TEACHERS = ("teacher torch", "teacher", "teacher onnx")

# What every training sees.
_SPLITS = {"train": Ref("data", "train"), "validation": Ref("data", "validation")}


def add_data(draft: PlanDraft) -> None:
    """The step that reads and splits the samples."""
    recipe = draft.recipe
    seed = recipe.seed if recipe.data.split.seed is None else recipe.data.split.seed
    draft.add(
        Step(
            "data",
            "split",
            SplitStep(recipe.data, recipe.task, seed),
            code=source_code(recipe.data, recipe.base),
            files=source_files(recipe.data, recipe.base),
            libraries=source_libraries(recipe.data, recipe.base),
        )
    )


def add_check(draft: PlanDraft) -> None:
    """The step that tries models, losses and exporter before any training."""
    recipe, distill = draft.recipe, draft.recipe.distill
    found = planned(recipe)
    teachers = {name: model_config(m) for name, m in found.items() if not m.onnx}
    student = recipe.student if recipe.student and recipe.student.model else None
    tried = (*teachers.values(), *([student] if student else []))
    if not tried:
        return
    config = CheckStep(
        teachers=teachers,
        student=student and model_config(student),
        losses=distill.losses if distill else (),
        export=recipe.export,
        task=recipe.task,
        seed=recipe.seed,
        trained=_trained(draft),
        distilled=distill is not None,
        augment=_augment(draft),
        asked=distill.augment if distill else None,
        top_k=distill.cache.top_k if distill and distill.cache else None,
        weights=distill.teachers if distill else None,
    )
    files = {name: m for name, m in learnt_from(recipe).items() if m.onnx}
    draft.add(
        Step(
            "check",
            "check",
            config,
            {"train": Ref("data", "train"), "teachers": answering(files)},
            code=draft.code(*tried),
            files=draft.files(*tried),
            modules=_loss_modules(draft),
        )
    )


def add_teacher(draft: PlanDraft, name: str, entry: TrainedModelConfig) -> None:
    """The steps of a teacher; only that of `teacher` has hops and is exported."""
    role, model = role_of(name), model_config(entry)
    if entry.onnx is not None:
        _adopt(draft, role, model)
    elif entry.function is None:
        _trained_alone(draft, role, entry)
        if name == TEACHER:
            _ask_and_export(draft, role, model)
    elif name == TEACHER:
        _ask(draft, role, model, {}, "teacher", after=("check",))


def add_student(draft: PlanDraft) -> None:
    """The steps that give the student's weights, its PyTorch answers and its ONNX model."""
    entry = draft.recipe.student
    assert entry is not None
    if entry.onnx is not None:
        _adopt(draft, "student", model_config(entry))
        return
    if draft.recipe.distill is not None:
        _distilled(draft, model_config(entry), draft.recipe.distill)
    else:
        _trained_alone(draft, "student", entry)
    _ask_and_export(draft, "student", model_config(entry), *TEACHERS)


def _adopt(draft: PlanDraft, role: str, model: ModelConfig) -> None:
    draft.add(
        Step(
            f"export {role}",
            "adopt",
            AdoptStep(model),
            {"samples": Ref("data", "calibration")},  # with the names of the classes
            files=_onnx_files(draft, model),
        )
    )


def _ask_and_export(draft: PlanDraft, role: str, model: ModelConfig, *parents: str) -> None:
    model = without_weights(model)
    checkpoint = {"checkpoint": Ref(role)}
    _ask(draft, role, model, checkpoint, f"{role} torch", *parents)
    draft.add(
        Step(
            f"export {role}",
            "export",
            ExportStep(model, draft.recipe.export, draft.recipe.task),
            {**checkpoint, "samples": Ref("data", "calibration", "inputs")},
            draft.code(model),
            draft.files(model),
        )
    )


def _ask(
    draft: PlanDraft,
    role: str,
    model: ModelConfig,
    checkpoint: Mapping[str, Ref],
    hop: str,
    *parents: str,
    after: tuple[str, ...] = (),
) -> None:
    """The step that asks a model about the test split, and its hop."""
    name = draft.add(
        Step(
            f"ask {role}",
            "ask",
            AskStep(model, draft.recipe.task, draft.recipe.threads),
            {**checkpoint, "dataset": Ref("data", "test", "inputs")},
            draft.code(model),
            draft.files(model),
            after=after,
        )
    )
    draft.hop(hop, Ref(name), *parents)


def _trained_alone(draft: PlanDraft, role: str, entry: TrainedModelConfig) -> None:
    """The step that gives weights without a teacher's answers."""
    recipe, model = draft.recipe, model_config(entry)
    code, files, after = draft.code(model), draft.files(model), ("check",)
    if entry.train is None:
        load = LoadStep(model, recipe.task, recipe.seed)
        shown = {"train": Ref("data", "train", "inputs")}
        draft.add(Step(role, "load", load, shown, code, files, after=after))
        return
    common = (recipe.task, recipe.metric, recipe.seed, recipe.threads)
    config = TrainStep(model, entry.train, *common)
    code = (*code, *draft.metric_code())
    libraries = ("accelerate",)
    modules = modules_of(default_losses(recipe.task, teacher=False))
    start = {"teacher": Ref("teacher")} if model.from_ else {}
    inputs = {**start, **_SPLITS}
    draft.add(Step(role, "train", config, inputs, code, files, libraries, after, modules))


def _distilled(draft: PlanDraft, model: ModelConfig, distill: DistillConfig) -> None:
    recipe = draft.recipe
    teachers = learnt_from(recipe)
    settings = {name: settings_of(teacher) for name, teacher in teachers.items()}
    common = (recipe.task, recipe.metric, recipe.seed, recipe.threads)
    recordings = add_recordings(draft, teachers)
    draft.add(
        Step(
            "student",
            "distill",
            DistillStep(model, settings, distill, *common),
            {**_SPLITS, "teachers": answering(teachers), "recordings": recordings},
            (*draft.code(model, *settings.values()), *draft.metric_code()),
            draft.files(model, *settings.values()),
            ("accelerate", *asked_in(teachers.values())),
            ("check",),
            _loss_modules(draft),
        )
    )


def _loss_modules(draft: PlanDraft) -> tuple[str, ...]:
    """What computes the losses of this recipe's trainings."""
    recipe = draft.recipe
    chosen = recipe.distill.losses if recipe.distill else ()
    return modules_of((*default_losses(recipe.task, teacher=True), *chosen))


def _trained(draft: PlanDraft) -> tuple[str, ...]:
    """The roles that learn here."""
    recipe = draft.recipe
    roles = [role_of(name) for name, teacher in planned(recipe).items() if teacher.train]
    if recipe.distill is not None or (recipe.student is not None and recipe.student.train):
        roles.append("student")
    return tuple(roles)


def _augment(draft: PlanDraft) -> tuple[AugmentConfig, ...]:
    recipe = draft.recipe
    models = (*planned(recipe).values(), recipe.student)
    trainings = (recipe.distill, *(model.train for model in models if model))
    found = (training.augment for training in trainings if training)
    return tuple(dict.fromkeys(augment for augment in found if augment))


def _onnx_files(draft: PlanDraft, model: ModelConfig) -> tuple[Path, ...]:
    """The file, and those with its weights: named after it, or declared."""
    assert model.onnx is not None
    file = draft.recipe.base / model.onnx
    beside = [found for found in file.parent.iterdir() if found.name.startswith(file.name)]
    return tuple(sorted({*beside, *draft.files(model)}))
