"""What installed distributions say that they need, read from their metadata alone.

Only as much of PEP 440 and PEP 508 as that takes: releases are compared number by number, and a
requirement whose marker is of another kind than `a == 'b' and c >= 'd'` is left out, since
nothing can be said about it.
"""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from itertools import zip_longest

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9._-]+)\s*(\[[^\]]*\])?\s*\(?([^;)@]*)\)?\s*(?:;(.*))?$")
_SPECIFIER = re.compile(r"\s*(~=|===?|!=|<=|>=|<|>)\s*([^\s]+)\s*")
_TERM = re.compile(r"""\s*(\w+)\s*(==|!=|<=|>=|<|>)\s*["']([^"']*)["']\s*""")
_UNSURE = re.compile(r"(a|b|rc|\.?dev)\d*", re.IGNORECASE)

Specifier = tuple[str, str]


@dataclass(frozen=True)
class Requirement:
    """A distribution that another one needs.

    Attributes:
        extra: the extra that asks for it; None when it is always needed.
    """

    name: str
    specifiers: tuple[Specifier, ...]
    extra: str | None

    @property
    def range(self) -> str:
        """Such as `>=2.10,<3`; empty when any version will do."""
        return ",".join(f"{operator}{wanted}" for operator, wanted in self.specifiers)

    def allows(self, found: str) -> bool:
        """Whether a version lies in the range."""
        return all(_satisfies(found, specifier) for specifier in self.specifiers)


def requirements_of(name: str) -> list[Requirement]:
    """What an installed distribution needs on this platform; empty when it is not installed."""
    try:
        texts = requires(name) or []
    except PackageNotFoundError:
        return []
    return [found for found in map(parse, texts) if found is not None]


def parse(text: str) -> Requirement | None:
    """A requirement as metadata has it; None when it is not for this platform, or not decided."""
    match = _REQUIREMENT.fullmatch(text)
    if match is None:
        return None
    name, _, ranges, marker = match.groups()
    specifiers = [_SPECIFIER.fullmatch(part) for part in ranges.split(",") if part.strip()]
    extra = None
    for part in (marker or "").split(" and ") if marker else []:
        term = _TERM.fullmatch(part)
        if term is None:
            return None
        variable, operator, wanted = term.groups()
        if variable == "extra" and operator == "==":
            extra = wanted
        elif not _holds(variable, operator, wanted):
            return None
    if None in specifiers:
        return None
    pairs = tuple((s.group(1), s.group(2)) for s in specifiers if s is not None)
    return Requirement(re.sub(r"[-_.]+", "-", name).lower(), pairs, extra)


def _holds(variable: str, operator: str, wanted: str) -> bool:
    """Whether a term of a marker is true here; False for a variable that is not known."""
    versions = {
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "python_full_version": platform.python_version(),
    }
    if variable in versions:
        return _satisfies(versions[variable], (operator, wanted))
    words = {
        "sys_platform": sys.platform,
        "platform_system": platform.system(),
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "implementation_name": sys.implementation.name,
        "os_name": "posix" if sys.platform != "win32" else "nt",
    }
    if variable not in words or operator not in ("==", "!="):
        return False
    return (words[variable] == wanted) == (operator == "==")


def _release(text: str) -> tuple[int, ...]:
    """The numbers of a version: (2, 13, 0) of `2.13.0+cpu`."""
    match = re.match(r"v?(?:\d+!)?(\d+(?:\.\d+)*)", text.strip())
    return tuple(int(part) for part in match.group(1).split(".")) if match else ()


def _compare(left: tuple[int, ...], right: tuple[int, ...]) -> int:
    pairs = list(zip_longest(left, right, fillvalue=0))
    return next((1 if a > b else -1 for a, b in pairs if a != b), 0)


def _satisfies(found: str, specifier: Specifier) -> bool:
    operator, wanted = specifier
    have, want = _release(found), _release(wanted)
    if not have or not want:
        return True
    if wanted.endswith(".*"):
        same = have[: len(want)] == want
        return same if operator == "==" else not same
    if operator == "~=":
        return _compare(have, want) >= 0 and have[: len(want) - 1] == want[:-1]
    order = _compare(have, want)
    if order == 0 and (_UNSURE.search(found) or _UNSURE.search(wanted)):
        return True  # a pre-release beside its release: not worth a false alarm
    if operator in ("==", "==="):
        return order == 0
    if operator == "!=":
        return order != 0
    if operator in ("<", "<="):
        return order < 0 or (order == 0 and operator == "<=")
    return order > 0 or (order == 0 and operator == ">=")
