"""What a misspelt name was probably meant to be, for errors that say what to try instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_SHOWN = 20


def best_match(word: object, known: Iterable[str]) -> str | None:
    """The one of `known` that `word` was probably meant to be."""
    by_lower = {name.lower(): name for name in known}
    matches = difflib.get_close_matches(str(word).lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[matches[0]] if matches else None


def did_you_mean(word: object, known: Sequence[str], label: str) -> str:
    """Of the words of a table, which is shown whole, the question where there is a match.

    `Did you mean kd? Known losses: ce, kd, mse`
    """
    match = best_match(word, known)
    question = f"Did you mean {match}? " if match else ""
    return f"{question}{label}: {', '.join(known) or 'none'}"


def nearest(name: str, known: Sequence[str], label: str) -> str:
    """Of a user's own names, which may be many, the nearest; those that there are without a match.

    `Did you mean 'student'?` or `It has: student, teacher`
    """
    match = best_match(name, known)
    if match:
        return f"Did you mean {match!r}?"
    return f"{label}: {', '.join(known[:_SHOWN]) or 'none'}"
