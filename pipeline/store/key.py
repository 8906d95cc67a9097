"""What a result depends on, and how two such sets differ."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgestill.digest import canonical, canonical_json, digest_value

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PART = re.compile(r"[.\[:]")
_FILE_CHANGE = re.compile(r"\[([^\[\]]+)\]: ([0-9a-f]{8}… -> [0-9a-f]{8}…)$")
_MANY = 6
_NAME = re.compile(r"[^.\[\]]+")


@dataclass(frozen=True)
class Key:
    """Everything the result of a step depends on.

    Attributes:
        step: the step's name in its recipe; not part of the digest, so that two steps with the
            same stage and parts share one result.
        stage: the name of the stage.
        parts: canonical JSON values by name, such as config, inputs, source and libraries.
    """

    step: str
    stage: str
    parts: Mapping[str, Any]

    def __post_init__(self) -> None:
        # A copy: a caller's later change of its own dict must not change the key.
        object.__setattr__(self, "parts", canonical(self.parts))

    @cached_property
    def digest(self) -> str:
        return digest_value({"stage": self.stage, "parts": self.parts})

    def __hash__(self) -> int:
        return hash((self.step, self.digest))


def differences(old: Key, new: Key) -> tuple[str, ...]:
    """One line for each value that differs: `config.losses[1].kd.weight: 0.9 -> 0.5`."""
    before = dict(_leaves({"stage name": old.stage, **old.parts}))
    after = dict(_leaves({"stage name": new.stage, **new.parts}))
    return tuple(
        f"{path}: {_shown(before, path)} -> {_shown(after, path)}"
        for path in {**after, **before}
        if _shown(before, path, whole=True) != _shown(after, path, whole=True)
    )


def summary(lines: Sequence[str]) -> tuple[str, ...]:
    """`differences` with the many lines of one part, such as an updated library's files, as one."""
    lines = _once(lines)
    parts = [_PART.split(line, maxsplit=1)[0] for line in lines]
    counts = Counter(parts)
    shown = (
        line if counts[part] <= _MANY else f"{part}: {counts[part]} values differ"
        for part, line in zip(parts, lines, strict=True)
    )
    return tuple(dict.fromkeys(shown))


def _once(lines: Sequence[str]) -> list[str]:
    """Without the change of a file that was told already, by another callable or as `files`."""
    told, kept = set(), []
    for line in lines:
        match = _FILE_CHANGE.search(line)
        if match is None or match.groups() not in told:
            kept.append(line)
        if match is not None:
            told.add(match.groups())
    return kept


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            shown = name if _NAME.fullmatch(name) else f"[{name}]"
            yield from _leaves(item, f"{path}.{shown}" if path and shown == name else path + shown)
    elif isinstance(value, list) and value:
        for position, item in enumerate(value):
            yield from _leaves(item, f"{path}[{position}]")
    else:
        yield path, value


def _shown(leaves: Mapping[str, Any], path: str, whole: bool = False) -> str:
    if path not in leaves:
        return "(none)"
    value = leaves[path]
    if isinstance(value, str) and _DIGEST.fullmatch(value) and not whole:
        return f"{value[:8]}…"
    return canonical_json(value) if whole or not isinstance(value, str) else value
