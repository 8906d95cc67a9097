"""Teacher, assistants and student: what each is, and which one way gives it its weights."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from edgestill.models.config import ModelConfig
from edgestill.recipe.draft import Draft
from edgestill.recipe.problems import Path
from edgestill.recipe.schema import AssistantConfig, Recipe, TrainedModelConfig

AnyModel = TypeVar("AnyModel", AssistantConfig, TrainedModelConfig)

# Keys that say something about PyTorch code, which an ONNX file has none of.
_PYTORCH_KEYS = ("arguments", "weights", "train", "pretrained")
# Keys of a model that came trained.
_FINISHED_KEYS = ("onnx", "weights")
# Keys that a student has from its teacher.
_TEACHERS_KEYS = ("model", "arguments", "onnx", "weights", "files", "pretrained")


def check_models(draft: Draft) -> None:
    """Models that are missing, ambiguous, or have no weights or two sorts of them."""
    recipe, problems = draft.recipe, draft.problems
    if not draft.given("student"):
        fix = "Add student: {model: file.py:callable}; it is what ships."
        if draft.given("teacher"):
            fix = (
                "It is what ships: to ship the teacher itself, write student: instead of teacher:."
            )
        problems.add(("student",), "missing", fix)
    for role, model in (("teacher", recipe.teacher), ("student", recipe.student)):
        if model is None or problems.at((role,)):
            continue
        _check_kind(draft, (role,), model)
        check_classes(draft, (role,), model)
        _check_weights(draft, role, model)
    for place, assistant in draft.assistants:
        for key in _FINISHED_KEYS:
            if draft.given(*place, key):
                what = f"an assistant is distilled here, and {key} is for models that came trained"
                problems.add((*place, key), what, "Give it a model: or from: teacher.")
        if not problems.at((*place, "onnx")):
            _check_kind(draft, place, assistant)
            check_classes(draft, place, assistant)


def with_derived_models(recipe: Recipe) -> Recipe:
    """The recipe in which every model that is made from the teacher has its code and input."""
    teacher = recipe.teacher
    if teacher is None:
        return recipe
    assistants = tuple(_derived(assistant, teacher) for assistant in recipe.assistants)
    student = recipe.student and _derived(recipe.student, teacher)
    return replace(recipe, assistants=assistants, student=student)


def _derived(model: AnyModel, teacher: TrainedModelConfig) -> AnyModel:
    if model.from_ is None:
        return model
    return replace(
        model,
        model=teacher.model,
        arguments=teacher.arguments,
        files=teacher.files,
        normalize=model.normalize or teacher.normalize,
        output=model.output or teacher.output,
        classes=model.classes or teacher.classes,
    )


def check_classes(draft: Draft, place: Path, model: ModelConfig) -> None:
    """An axis of classes where nothing is told apart by the largest of several values."""
    task = draft.recipe.task
    if model.classes is not None and task != "classification":
        what = f"classes is for classification, and the task is {task}"
        draft.problems.add((*place, "classes"), what, "Leave classes out.")


def _check_derived(draft: Draft, place: Path) -> None:
    """A model that is made from the teacher; there is no other to make one from."""
    add, teacher = draft.problems.add, draft.recipe.teacher
    if place == ("teacher",):
        add((*place, "from"), "only a student is made from a teacher", "Give it a model:.")
        return
    for key in _TEACHERS_KEYS:
        if draft.given(*place, key):
            what = f"{key} beside from: teacher, which brings the teacher's"
            add((*place, key), what, "Keep one of them.")
    if not draft.given("teacher"):
        add((*place, "from"), "there is no teacher to make it from", "Add teacher:.")
    elif teacher is not None and teacher.onnx is not None:
        what = "the teacher is an ONNX file, which has no layers to take"
        add((*place, "from"), what, "Give the teacher as model: and weights:.")


def _check_kind(draft: Draft, place: Path, model: ModelConfig) -> None:
    add = draft.problems.add
    if draft.given(*place, "from"):
        _check_derived(draft, place)
        return
    for key in ("depth", "width"):
        if draft.given(*place, key):
            what = f"{key} is for a student that is made from its teacher"
            add((*place, key), what, f"Add from: teacher, or leave {key} out.")
    if draft.given(*place, "model") and draft.given(*place, "onnx"):
        add((*place, "onnx"), "both model and onnx", "Keep one of them.")
    elif not draft.given(*place, "model") and not draft.given(*place, "onnx"):
        other = "from: teacher" if place[0] == "assistants" else "onnx: file.onnx"
        what = f"neither model nor {other.partition(':')[0]}"
        add(place, what, f"Write model: file.py:callable or {other}.")
    elif model.onnx is not None:
        for key in _PYTORCH_KEYS:
            if draft.given(*place, key):
                what = f"{key} is for PyTorch models, and {model.onnx} is complete"
                add((*place, key), what, f"Leave {key} out, or give the model as model:.")


def _check_weights(draft: Draft, role: str, model: TrainedModelConfig) -> None:
    """One way to come by weights: a second would quietly undo the first."""
    ways: list[tuple[tuple[str, ...], str]] = []
    if draft.given(role, "weights"):
        ways.append(((role, "weights"), "weights are final"))
    if model.pretrained:
        ways.append(((role, "pretrained"), "pretrained says that the callable's weights are final"))
    if draft.given(role, "train"):
        ways.append(((role, "train"), "train gives weights"))
    if role == "student" and draft.given("distill"):
        if model.onnx is not None:
            what, fix = "an ONNX file cannot be trained", "Leave distill: out, or give a model:."
            draft.problems.add((role, "onnx"), what, fix)
            return
        ways.append((("distill",), "distill gives weights"))
    if draft.problems.within((role, "onnx")) or model.onnx is not None:
        return
    if len(ways) > 1:
        (first, reason), (second, _) = ways[0], ways[1]
        what = f"{reason}, and {second[-1]} would change them"
        fix = "Keep one. To start from trained weights, load them in the callable."
        draft.problems.add(first, what, fix)
    elif not ways and (draft.given(role, "model") or draft.given(role, "from")):
        other = ", distill:" if role == "student" else ""
        fix = f"Add train: {{}}{other} or weights:, or pretrained: true if the callable loads them."
        if model.from_ is not None:
            fix = "Add distill: or train: {}."
        draft.problems.add((role,), "nothing gives it trained weights", fix, hides=False)
