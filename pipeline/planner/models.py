"""The steps up to the ONNX models: data, check, and for each model weights, answers and export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgestill.data.config import SplitStep, source_code, source_files, source_libraries
from edgestill.export.config import AdoptStep, CheckStep, ExportStep, Lesson
from edgestill.models.config import ModelConfig
from edgestill.plan import Ref, Step
from edgestill.planner.draft import (
    STUDENT,
    TEACHERS,
    PlanDraft,
    model_config,
    without_weights,
)
from edgestill.planner.schemes import planned_teachers, trainings
from edgestill.recipe import Recipe, TrainedModelConfig
from edgestill.train.config import AskStep, LoadStep, TrainStep
from edgestill.train.losses import default_losses, modules_of
from edgestill.train.voices import TEACHER, role_of

# What every training sees.
SPLITS = {"train": Ref("data", "train"), "validation": Ref("data", "validation")}


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
    recipe = draft.recipe
    models = _tried(recipe)
    if not models:
        return
    lessons = _lessons(recipe)
    sources = [s for training in trainings(recipe) for s in training.teachers.values()]
    files = {source.role: source.result for source in sources if source.model.onnx}
    built = (*models.values(), *(peer for lesson in lessons for peer in lesson.peers))
    draft.add(
        Step(
            "check",
            "check",
            CheckStep(models, lessons, recipe.export, recipe.task, recipe.seed),
            {
                "train": Ref("data", "train"),
                "teachers": {role: ref for role, ref in files.items() if ref},
            },
            code=draft.code(*built),
            files=draft.files(*built),
            modules=draft.loss_modules(*(lesson.losses for lesson in lessons)),
        )
    )


def add_teacher(draft: PlanDraft, name: str, entry: TrainedModelConfig) -> None:
    """The steps of a teacher; only that of `teacher` has hops and is exported."""
    role, model = role_of(name), model_config(entry)
    if entry.onnx is not None:
        _adopt(draft, role, model)
        return
    if entry.function is None:
        _trained_alone(draft, role, entry)
    if name == TEACHER:
        add_answers(draft, role, without_weights(model))
        if entry.function is None:
            _export(draft, role, without_weights(model))


def add_student(draft: PlanDraft) -> None:
    """The steps that give the student's weights, unless it was distilled, its PyTorch answers and
    its ONNX model."""
    entry = draft.recipe.student
    assert entry is not None
    if entry.onnx is not None:
        _adopt(draft, STUDENT, model_config(entry))
        return
    if draft.recipe.distill is None:
        _trained_alone(draft, STUDENT, entry)
    model = without_weights(model_config(entry))
    add_answers(draft, STUDENT, model)
    _export(draft, STUDENT, model)


def add_answers(draft: PlanDraft, name: str, model: ModelConfig) -> None:
    """The step and the hop of what a model answers in PyTorch, or a function for it.

    Args:
        name: of the step with its weights.
    """
    function = model.function is not None
    step = Step(
        f"ask {name}",
        "ask",
        AskStep(model, draft.recipe.task, draft.recipe.threads),
        {
            **({} if function else {"checkpoint": Ref(name)}),
            "dataset": Ref("data", "test", "inputs"),
        },
        draft.code(model),
        draft.files(model),
        after=("check",) if function else (),
    )
    above = (*(f"{other} torch" for other in reversed(draft.between)), *TEACHERS)
    hop = name if function else f"{name} torch"
    draft.hop(hop, Ref(draft.add(step)), *(() if name == TEACHER else above))


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


def _export(draft: PlanDraft, role: str, model: ModelConfig) -> None:
    draft.add(
        Step(
            f"export {role}",
            "export",
            ExportStep(model, draft.recipe.export, draft.recipe.task),
            {"checkpoint": Ref(role), "samples": Ref("data", "calibration", "inputs")},
            draft.code(model),
            draft.files(model),
        )
    )


def _trained_alone(draft: PlanDraft, role: str, entry: TrainedModelConfig) -> None:
    """The weights of a model that no other teaches."""
    recipe, model = draft.recipe, model_config(entry)
    code, files, after = draft.code(model), draft.files(model), ("check",)
    if entry.train is None:
        load = LoadStep(model, recipe.task, recipe.seed)
        shown = {"train": Ref("data", "train", "inputs")}
        draft.add(Step(role, "load", load, shown, code, files, after=after))
        return
    config = TrainStep(model, entry.train, recipe.task, recipe.metric, recipe.seed, recipe.threads)
    code = (*code, *draft.metric_code())
    libraries = ("accelerate",)
    modules = modules_of(default_losses(recipe.task, teacher=False))
    start = {"teacher": Ref(TEACHER)} if model.from_ else {}
    inputs = {**start, **SPLITS}
    draft.add(Step(role, "train", config, inputs, code, files, libraries, after, modules))


def _tried(recipe: Recipe) -> dict[str, ModelConfig]:
    """The models that the check builds or calls, by role, each after those that may teach it."""
    teachers = planned_teachers(recipe).items()
    models = {role_of(name): model_config(entry) for name, entry in teachers if not entry.onnx}
    models |= {training.role: training.model for training in trainings(recipe)}
    if recipe.student is not None and recipe.student.model:
        models[STUDENT] = model_config(recipe.student)
    return models


def _lessons(recipe: Recipe) -> tuple[Lesson, ...]:
    """What every training here learns by, each once."""
    alone = {role_of(name): entry for name, entry in planned_teachers(recipe).items()}
    if recipe.student is not None and recipe.distill is None:
        alone[STUDENT] = recipe.student
    usual = default_losses(recipe.task, teacher=False)
    lessons = [
        Lesson(role, role, {}, usual, entry.train.only, entry.train.augment)
        for role, entry in alone.items()
        if entry.train is not None
    ]
    for training in trainings(recipe):
        distill = training.distill
        lesson = Lesson(
            name=training.name,
            learner=training.role,
            teachers={name: source.role for name, source in training.teachers.items()},
            losses=distill.losses,
            only=distill.only,
            augment=distill.augment,
            top_k=distill.cache.top_k if distill.cache else None,
            weights=distill.teachers,
            learn_from=distill.learn_from,
            peers=training.peers,
        )
        if not any(replace(lesson, name=other.name) == other for other in lessons):
            lessons.append(lesson)  # later generations learn alike
    return tuple(lessons)


def _onnx_files(draft: PlanDraft, model: ModelConfig) -> tuple[Path, ...]:
    """The file, and those with its weights: named after it, or declared."""
    assert model.onnx is not None
    file = draft.recipe.base / model.onnx
    beside = [found for found in file.parent.iterdir() if found.name.startswith(file.name)]
    return tuple(sorted({*beside, *draft.files(model)}))
