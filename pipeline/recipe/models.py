"""Teacher, assistants and student: what each is, and which one way gives it its weights."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from edgestill.models.config import ModelConfig
from edgestill.recipe.draft import Draft
from edgestill.recipe.problems import Path
from edgestill.recipe.schema import REFUSED_KEYS, AssistantConfig, Recipe, TrainedModelConfig

AnyModel = TypeVar("AnyModel", AssistantConfig, TrainedModelConfig)

# Keys that say something about PyTorch code, which an ONNX file has none of.
_PYTORCH_KEYS = ("arguments", "weights", "train", "pretrained")
# Keys of models, of which a function is none.
_MODELS_KEYS = (*_PYTORCH_KEYS, "normalize", "output")
_KINDS = ("model", "onnx", "function")
_STUDENT: Path = ("student",)
# Keys that a student has from its teacher.
_TEACHERS_KEYS = (*_KINDS, "arguments", "weights", "files", "pretrained")
# What is said of an entry that does not name what it is.
_LACKS = {
    "student": (
        "neither model nor onnx",
        "Write model: file.py:callable or onnx: file.onnx.",
    ),
    "assistants": (
        "neither model nor from",
        "Write model: file.py:callable or from: teacher.",
    ),
    "teacher": (
        "neither model, onnx nor function",
        "Write model: file.py:callable, onnx: file.onnx or function: file.py:callable.",
    ),
}


def check_models(draft: Draft) -> None:
    """Models that are missing, ambiguous, or have no weights or two sorts of them."""
    problems = draft.problems
    if not draft.given("student"):
        fix = "Add student: {model: file.py:callable}; it is what ships."
        if draft.given("teacher"):
            fix = (
                "It is what ships: to ship the teacher itself, write student: instead of teacher:."
            )
        problems.add(("student",), "missing", fix)
    for path, model in models_of(draft):
        if problems.at(path):
            continue
        if isinstance(model, TrainedModelConfig):
            _check_kind(draft, path, model)
            _check_weights(draft, path, model)
        else:
            _check_assistant(draft, path, model)
        check_classes(draft, path, model)


def models_of(draft: Draft) -> list[tuple[Path, ModelConfig]]:
    """Every model of a recipe with its place, but for those of `peers`."""
    recipe = draft.recipe
    roles = (("teacher", recipe.teacher), ("student", recipe.student))
    found: list[tuple[Path, ModelConfig]] = [((role,), m) for role, m in roles if m]
    found += [(("teachers", name), model) for name, model in recipe.teachers.items()]
    return [*found, *draft.assistants]


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


def check_classes(draft: Draft, path: Path, model: ModelConfig) -> None:
    """An axis of classes where nothing is told apart by the largest of several values."""
    task = draft.recipe.task
    if model.classes is not None and task != "classification":
        what = f"classes is for classification, and the task is {task}"
        draft.problems.add((*path, "classes"), what, "Leave classes out.")


def _check_assistant(draft: Draft, path: Path, model: ModelConfig) -> None:
    finished = [key for key in REFUSED_KEYS["assistants"] if draft.given(*path, key)]
    for key in finished:
        what = f"an assistant is distilled here, and {key} is for models that came trained"
        draft.problems.add((*path, key), what, "Give it a model: or from: teacher.")
    if finished in ([], ["weights"]):
        _check_kind(draft, path, model)


def _check_derived(draft: Draft, path: Path) -> None:
    """A model that is made from the teacher; there is no other to make one from."""
    add, teacher = draft.problems.add, draft.recipe.teacher
    if path[0] in ("teacher", "teachers"):
        add((*path, "from"), "only a student is made from a teacher", "Give it a model:.")
        return
    for key in _TEACHERS_KEYS:
        if draft.given(*path, key):
            what = f"{key} beside from: teacher, which brings the teacher's"
            add((*path, key), what, "Keep one of them.")
    if not draft.given("teacher"):
        add((*path, "from"), "there is no teacher to make it from", "Add teacher:.")
    elif teacher is not None and teacher.black_box:
        what = f"the teacher is {teacher.black_box}, which has no layers to take"
        add((*path, "from"), what, "Give the teacher as model: and weights:.")


def _check_kind(draft: Draft, path: Path, model: ModelConfig) -> None:
    add = draft.problems.add
    if draft.given(*path, "from"):
        _check_derived(draft, path)
        return
    for key in ("depth", "width"):
        if draft.given(*path, key):
            what = f"{key} is for a student that is made from its teacher"
            add((*path, key), what, f"Add from: teacher, or leave {key} out.")
    kinds = [kind for kind in _KINDS if draft.given(*path, kind)]
    if len(kinds) > 1:
        add((*path, kinds[1]), f"both {kinds[0]} and {kinds[1]}", "Keep one of them.")
    elif not kinds:
        add(path, *_LACKS.get(str(path[0]), _LACKS["teacher"]))
    elif model.onnx is not None:
        for key in _PYTORCH_KEYS:
            if draft.given(*path, key):
                what = f"{key} is for PyTorch models, and {model.onnx} is complete"
                add((*path, key), what, f"Leave {key} out, or give the model as model:.")
    elif model.function is not None:
        _check_function(draft, path)


def _check_function(draft: Draft, path: Path) -> None:
    """A function that has to ship, or keys that mean nothing beside it."""
    if path == _STUDENT:
        fix = "Give it a model: or onnx:; a function may be its teacher."
        draft.problems.add((*path, "function"), "a function cannot be shipped", fix)
        return
    for key in _MODELS_KEYS:
        if draft.given(*path, key):
            what = f"{key} is for models, and a function does by itself all it has to do"
            draft.problems.add((*path, key), what, f"Leave {key} out.")


def _check_weights(draft: Draft, path: Path, model: TrainedModelConfig) -> None:
    """One way to come by weights: a second would quietly undo the first."""
    ways: list[tuple[Path, str]] = []
    if draft.given(*path, "weights"):
        ways.append(((*path, "weights"), "weights are final"))
    if model.pretrained:
        ways.append(
            ((*path, "pretrained"), "pretrained says that the callable's weights are final")
        )
    if draft.given(*path, "train"):
        ways.append(((*path, "train"), "train gives weights"))
    if path == _STUDENT and draft.given("distill"):
        if model.onnx is not None:
            what, fix = "an ONNX file cannot be trained", "Leave distill: out, or give a model:."
            draft.problems.add((*path, "onnx"), what, fix)
            return
        ways.append((("distill",), "distill gives weights"))
    if model.black_box or any(draft.problems.within((*path, kind)) for kind in _KINDS[1:]):
        return
    if len(ways) > 1:
        (first, reason), (second, _) = ways[0], ways[1]
        what = f"{reason}, and {second[-1]} would change them"
        fix = "Keep one. To start from trained weights, load them in the callable."
        draft.problems.add(first, what, fix)
    elif not ways and (draft.given(*path, "model") or draft.given(*path, "from")):
        other = ", distill:" if path == _STUDENT else ""
        fix = f"Add train: {{}}{other} or weights:, or pretrained: true if the callable loads them."
        if model.from_ is not None:
            fix = "Add distill: or train: {}."
        draft.problems.add(path, "nothing gives it trained weights", fix, hides=False)
