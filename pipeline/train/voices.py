"""The teachers of a student: what they are called, and how much each has to say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from edgestill.bounds import NonNegative

# The teacher that needs no name of its own: a recipe's `teacher`.
TEACHER = "teacher"

# How much the prediction of each teacher counts, by name; or a name in `ensemble.WEIGHINGS`.
TeacherWeights = dict[str, NonNegative] | Literal["confidence", "loss"]


def role_of(teacher: str) -> str:
    """What steps and messages call a teacher: `teacher`, or `teacher wide`."""
    return teacher if teacher == TEACHER else f"{TEACHER} {teacher}"


def voices(weights: TeacherWeights | None, names: Iterable[str]) -> dict[str, float]:
    """How much the prediction of each of these teachers counts, without those that do not."""
    names = tuple(names)
    given: Mapping[str, float] = weights if isinstance(weights, dict) else dict.fromkeys(names, 1.0)
    return {name: given[name] for name in names if given[name] > 0}
