"""Quantities of a recipe: the unit is part of the value, the parsed value is a plain float or int.

Score     0.92, 92 %      -> 0.92 (a score or a difference of two scores; the unit may be left out)
Seconds   5 ms, 800us     -> 0.005, 0.0008
Bytes     200 kB, 4 MiB   -> 200000, 4194304
Factor    2x              -> 2.0
PerSecond 1000/s          -> 1000.0
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S*)\s*")

_POINTS = {"pp": 0.01, "%": 0.01}
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "min": 60.0}
_BYTES = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_FACTOR = {"x": 1.0, "×": 1.0}
_PER_SECOND = {"/s": 1.0, "/min": 1 / 60}


def quantity(value: Any, units: Mapping[str, float], example: str) -> float:
    """The value of a text such as `5 ms` in the base unit of `units`.

    Raises:
        ValueError: no unit, an unknown unit, or not a number.
    """
    allowed = ", ".join(units)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise ValueError(f"{value} has no unit. Write it as {example} (units: {allowed})")
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a quantity. Write it as {example}")
    number, unit = match.groups()
    if not unit:
        raise ValueError(f"{value!r} has no unit. Write it as {example} (units: {allowed})")
    if unit not in units:
        raise ValueError(f"{value!r} has the unit {unit!r}. Known units: {allowed}")
    result = float(number) * units[unit]
    if not math.isfinite(result):
        raise ValueError(f"{value!r} is not finite")
    return result


def _parser(units: Mapping[str, float], example: str) -> Callable[[Any], float]:
    return lambda value: quantity(value, units, example)


def per_second(value: Any) -> float:
    """The value of a rate such as `100/s`.

    Raises:
        ValueError: no unit, an unknown unit, or not a number.
    """
    return quantity(value, _PER_SECOND, "100/s")


def _parse_bytes(value: Any) -> int:
    return round(quantity(value, _BYTES, "200 kB"))


def _parse_score(value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return quantity(value, _POINTS, "0.5pp")


Score = Annotated[float, BeforeValidator(_parse_score)]
Seconds = Annotated[float, BeforeValidator(_parser(_SECONDS, "5 ms"))]
Bytes = Annotated[int, BeforeValidator(_parse_bytes)]
Factor = Annotated[float, BeforeValidator(_parser(_FACTOR, "2x"))]
PerSecond = Annotated[float, BeforeValidator(per_second)]
