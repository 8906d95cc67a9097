"""Teacher, student and distillation: what each is, and which one way gives it its weights."""

from __future__ import annotations

from edgestill.recipe.draft import Draft
from edgestill.recipe.schema import TrainedModelConfig

# Keys that say something about PyTorch code, which an ONNX file has none of.
_PYTORCH_KEYS = ("arguments", "weights", "train", "pretrained")


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
    if draft.given("distill") and not draft.given("teacher"):
        fix = "Add teacher:, or train the student alone with student: {train: {}}."
        problems.add(("distill",), "there is no teacher to learn from", fix)
    for role, model in (("teacher", recipe.teacher), ("student", recipe.student)):
        if model is None or problems.at((role,)):
            continue
        _check_kind(draft, role, model)
        _check_weights(draft, role, model)


def _check_kind(draft: Draft, role: str, model: TrainedModelConfig) -> None:
    add = draft.problems.add
    if draft.given(role, "model") and draft.given(role, "onnx"):
        add((role, "onnx"), "both model and onnx", "Keep one of them.")
    elif not draft.given(role, "model") and not draft.given(role, "onnx"):
        add((role,), "neither model nor onnx", "Write model: file.py:callable or onnx: file.onnx.")
    elif model.onnx is not None:
        for key in _PYTORCH_KEYS:
            if draft.given(role, key):
                what = f"{key} is for PyTorch models, and {model.onnx} is complete"
                add((role, key), what, f"Leave {key} out, or give the model as model:.")


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
    elif not ways and draft.given(role, "model"):
        other = ", distill:" if role == "student" else ""
        fix = f"Add train: {{}}{other} or weights:, or pretrained: true if the callable loads them."
        draft.problems.add((role,), "nothing gives it trained weights", fix)
