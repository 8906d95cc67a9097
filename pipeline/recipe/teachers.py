"""Further teachers by name, and how much each of all counts."""

from __future__ import annotations

import re
from typing import Any, get_args

from edgestill.bounds import NonNegative
from edgestill.recipe.draft import Draft
from edgestill.recipe.problems import Path, show_path, show_value
from edgestill.recipe.reader import BROKEN, Reader
from edgestill.recipe.schema import REFUSED_KEYS, TrainedModelConfig
from edgestill.spelling import best_match, nearest
from edgestill.train.voices import TEACHER, TeacherWeights

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,49}")
_ROLES = (TEACHER, "student")
# What weighs teachers sample by sample, and the tasks whose predictions are probabilities.
_WEIGHINGS: tuple[str, ...] = get_args(get_args(TeacherWeights)[1])
_WEIGHABLE = ("classification", "multilabel")


def read_teachers(reader: Reader, value: Any, path: Path) -> dict[str, TrainedModelConfig]:
    """Each further teacher by its name; `null` leaves one out."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        what = f"found {show_value(value)} where a mapping of names to teachers is expected"
        reader.problems.add(path, what, "Write {wide: {model: file.py:callable, train: {}}}.")
        return {}
    teachers = {}
    for name, entry in value.items():
        place = (*path, name)
        if name in _ROLES or not _NAME.fullmatch(name):
            what = f"{show_value(name)} cannot name a further teacher"
            fix = "Use letters, digits, '.', '_' and '-', and neither teacher nor student."
            reader.problems.add(place, what, fix)
        elif entry is not None:
            teacher = reader.config(
                TrainedModelConfig, entry, place, refused=REFUSED_KEYS["teachers"]
            )
            if teacher is not None:
                teachers[name] = teacher
    return teachers


def read_weights(reader: Reader, value: Any, path: Path) -> Any:
    """A weight for each teacher, or a word; `null` takes a weight out."""
    if isinstance(value, dict):
        given = {name: item for name, item in value.items() if item is not None}
        weights = {n: reader.value(NonNegative, item, (*path, n)) for n, item in given.items()}
        return BROKEN if BROKEN in weights.values() else weights
    if value in _WEIGHINGS:
        return value
    match = best_match(value, _WEIGHINGS) if isinstance(value, str) else None
    words = f"Write {', '.join(_WEIGHINGS)}, or a weight for each: {{teacher: 0.7, wide: 0.3}}."
    question = f"Did you mean {match}? " if match else ""
    reader.problems.add(path, f"found {show_value(value)}", question + words)
    return BROKEN


def check_teachers(draft: Draft) -> None:
    """Further teachers that stand alone, weights that fit neither them nor the task."""
    problems = draft.problems
    if draft.raw("teachers") and not draft.given(TEACHER):
        what = "further teachers, and no teacher for gates and hops to refer to"
        problems.add(("teachers",), what, "Write one of them as teacher:.")
    elif draft.raw("teachers") and not draft.given("distill"):
        fix = "Add distill: {}, or leave teachers: out."
        problems.add(("teachers",), "no student learns from them", fix)
    for place, scheme in draft.schemes:
        source = scheme.learn_from
        if source != TEACHER and draft.raw("teachers"):
            what = f"no student learns from them: learn_from is {source}"
            problems.add(("teachers",), what, "Leave teachers: out, or learn_from.")
        if scheme.teachers is not None:
            _check_weights(draft, place, scheme.teachers)


def _check_weights(draft: Draft, place: Path, weights: TeacherWeights) -> None:
    path: Path = (*place, "teachers")
    names, problems, task = draft.teachers, draft.problems, draft.recipe.task
    if problems.within(path) or problems.at(("teachers",)):
        return
    if place != draft.directly_taught:
        what = "only the first assistant learns from the recipe's teachers"
        problems.add(path, what, f"Write it in {show_path(draft.directly_taught)}.")
    elif len(names) == 1:
        if not draft.given("teachers"):  # nor spelt wrongly
            fix = "Add others in teachers:, or leave it out."
            problems.add(path, "there is one teacher, and nothing to weigh it against", fix)
    elif isinstance(weights, str):
        if task not in _WEIGHABLE:
            what = f"{weights} weighs probabilities of classes, and {task} has none"
            problems.add(path, what, "Write a weight for each: {teacher: 0.7, wide: 0.3}.")
    else:
        for name in weights:
            if name not in names:
                what = f"there is no teacher {name!r}"
                problems.add((*path, name), what, nearest(name, names, "Teachers"))
        for name in names:
            if name not in weights and not problems.within(path):
                what = f"{name} has no weight"
                problems.add(path, what, f"Add {name}: 1, or {name}: 0 to leave it out.")
        if not problems.within(path) and not any(weights.values()):
            problems.add(path, "every weight is 0, so no teacher is heard", "Raise one of them.")
