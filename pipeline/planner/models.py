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
    TEACHER,
    TEACHERS,
    PlanDraft,
    model_config,
    without_weights,
)
from edgestill.planner.schemes import trainings
from edgestill.train.config import AskStep, AugmentConfig, LoadStep, TrainStep
from edgestill.train.losses import default_losses, modules_of


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
    teacher, student = (
        model_config(model) if model and model.model else None
        for model in (recipe.teacher, recipe.student)
    )
    assistants = tuple(model_config(assistant) for assistant in recipe.assistants)
    built = [model for model in (teacher, *assistants, student) if model]
    if not built:
        return
    lessons = _lessons(draft)
    peers = [peer for lesson in lessons for peer in lesson.peers]
    config = CheckStep(
        teacher=teacher,
        student=student,
        assistants=assistants,
        lessons=lessons,
        export=recipe.export,
        task=recipe.task,
        seed=recipe.seed,
        augment=_augment(draft),
    )
    heard = any(lesson.teacher == TEACHER for lesson in lessons)
    asked = {TEACHER: draft.answering(TEACHER)} if draft.black_box and heard else {}
    draft.add(
        Step(
            "check",
            "check",
            config,
            {"train": Ref("data", "train"), **asked},
            code=draft.code(*built, *peers),
            files=draft.files(*built, *peers),
            modules=draft.loss_modules(*(lesson.losses for lesson in lessons)),
        )
    )


def add_model(draft: PlanDraft, role: str) -> None:
    """The steps that give a role's weights, its PyTorch answers and its ONNX model."""
    recipe = draft.recipe
    entry = recipe.teacher if role == TEACHER else recipe.student
    assert entry is not None
    model = model_config(entry)
    calibration = Ref("data", "calibration", "inputs")
    if model.onnx is not None:
        draft.add(
            Step(
                f"export {role}",
                "adopt",
                AdoptStep(model),
                {"samples": Ref("data", "calibration")},  # with the names of the classes
                files=_onnx_files(draft, model),
            )
        )
        return
    if role == TEACHER or recipe.distill is None:  # else `add_trainings` did it
        _weights(draft, role, model)
    model = without_weights(model)
    code, files, checkpoint = draft.code(model), draft.files(model), Ref(role)
    add_answers(draft, role, model)
    draft.add(
        Step(
            f"export {role}",
            "export",
            ExportStep(model, recipe.export, recipe.task),
            {"checkpoint": checkpoint, "samples": calibration},
            code,
            files,
        )
    )


def add_answers(draft: PlanDraft, name: str, model: ModelConfig) -> None:
    """The step and the hop of what a model answers in PyTorch.

    Args:
        name: of the step with its weights.
    """
    config = AskStep(model, draft.recipe.task, draft.recipe.threads)
    inputs = {"checkpoint": Ref(name), "dataset": Ref("data", "test", "inputs")}
    code, files = draft.code(model), draft.files(model)
    answers = Ref(draft.add(Step(f"ask {name}", "ask", config, inputs, code, files)))
    above = [f"{other} torch" for other in reversed(draft.between)]
    draft.hop(f"{name} torch", answers, *(() if name == TEACHER else (*above, *TEACHERS)))


def _weights(draft: PlanDraft, role: str, model: ModelConfig) -> None:
    """The weights of a model that no other teaches."""
    recipe = draft.recipe
    entry = recipe.teacher if role == TEACHER else recipe.student
    assert entry is not None
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
    start = {TEACHER: Ref(TEACHER)} if model.from_ else {}
    inputs = {**start, "train": Ref("data", "train"), "validation": Ref("data", "validation")}
    draft.add(Step(role, "train", config, inputs, code, files, libraries, after, modules))


def _lessons(draft: PlanDraft) -> tuple[Lesson, ...]:
    """What every training here learns by, each once."""
    recipe = draft.recipe
    alone = [(TEACHER, recipe.teacher)]
    if recipe.distill is None:
        alone.append((STUDENT, recipe.student))
    usual = default_losses(recipe.task, teacher=False)
    lessons = [
        Lesson(role, role, None, usual, model.train.only)
        for role, model in alone
        if model is not None and model.train is not None
    ]
    for training in trainings(recipe):
        distill = training.distill
        lesson = Lesson(
            name=training.name,
            learner=training.role,
            teacher=training.teacher_role,
            losses=distill.losses,
            only=distill.only,
            top_k=distill.cache.top_k if distill.cache else None,
            learn_from=distill.learn_from,
            peers=training.peers,
        )
        if not any(replace(lesson, name=other.name) == other for other in lessons):
            lessons.append(lesson)  # later generations learn alike
    return tuple(lessons)


def _augment(draft: PlanDraft) -> tuple[AugmentConfig, ...]:
    recipe = draft.recipe
    alone = [model.train for model in (recipe.teacher, recipe.student) if model]
    schedules = (*(training.distill for training in trainings(recipe)), *alone)
    found = (schedule.augment for schedule in schedules if schedule)
    return tuple(dict.fromkeys(augment for augment in found if augment))


def _onnx_files(draft: PlanDraft, model: ModelConfig) -> tuple[Path, ...]:
    """The file, and those with its weights: named after it, or declared."""
    assert model.onnx is not None
    file = draft.recipe.base / model.onnx
    beside = [found for found in file.parent.iterdir() if found.name.startswith(file.name)]
    return tuple(sorted({*beside, *draft.files(model)}))
