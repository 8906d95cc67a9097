"""What the public verbs take: a path as str or Path, one name as well as several."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from edgestill.errors import UsageError

PathLike: TypeAlias = str | os.PathLike[str]
Names: TypeAlias = str | Iterable[str]


def as_path(value: PathLike, argument: str) -> Path:
    """A path that was given as `argument`.

    Raises:
        UsageError: it is something else.
    """
    if isinstance(value, (str, os.PathLike)):
        return Path(value)
    raise UsageError(f"{argument} is {_a(value)}, not a path", fix="Give a str or a pathlib.Path")


def as_names(value: Names, argument: str) -> tuple[str, ...]:
    """Names that were given as `argument`, where a str is one name.

    Raises:
        UsageError: they are something else.
    """
    if isinstance(value, str):
        return (value,)
    names = tuple(value) if isinstance(value, Iterable) else ()
    if not isinstance(value, Iterable) or not all(isinstance(name, str) for name in names):
        held = f" of {', '.join(dict.fromkeys(map(_a, names)))}" if names else ""
        raise UsageError(f"{argument} is {_a(value)}{held}", fix="Give a str, or a list of them")
    return names


def as_count(value: int, argument: str) -> int:
    """A whole number from 1 that was given as `argument`.

    Raises:
        UsageError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{argument} is {value!r}", fix="Give a whole number from 1")
    return value


def _a(value: object) -> str:
    """A value's type with its article."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
