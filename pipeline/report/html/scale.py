"""Axes: from values to places on a drawing, with ticks at round values."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_STEPS = (1, 2, 5)


@dataclass(frozen=True)
class Scale:
    """Values from `low` to `high` on the pixels from `start` to `end`.

    Attributes:
        log: whether equal ratios are equally far apart; then values are above 0.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value; one outside lies on the edge."""
        value = min(max(value, self.low), self.high)
        low, high = self._at(self.low), self._at(self.high)
        share = (self._at(value) - low) / (high - low)
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int) -> list[float]:
        """Round values, at most so many."""
        return _log_ticks(self, most) if self.log else _linear_ticks(self, most)

    def _at(self, value: float) -> float:
        return math.log(value) if self.log else value


def around(
    values: Iterable[float], *, margin: float = 0.06, log: bool = False
) -> tuple[float, float]:
    """An axis' ends: the values that have a place on it with some room, never of no width."""
    found = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    low, high = min(found), max(found)
    if log:
        reach = max(high / low, 1.2) ** margin
        return low / reach, high * reach
    reach = (high - low or abs(high) or 1.0) * margin
    return low - reach, high + reach


def _linear_ticks(scale: Scale, most: int) -> list[float]:
    """All multiples of the smallest of 1, 2, 5, 10, ... that leaves few enough."""
    power = math.floor(math.log10((scale.high - scale.low) / most))
    steps = (step * 10.0**exponent for exponent in (power, power + 1, power + 2) for step in _STEPS)
    multiples = (_multiples(scale, step) for step in steps)
    return next((ticks for ticks in multiples if len(ticks) <= most), [])


def _multiples(scale: Scale, step: float) -> list[float]:
    first, last = math.ceil(scale.low / step - 1e-9), math.floor(scale.high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def _log_ticks(scale: Scale, most: int) -> list[float]:
    """All of 1, 2, 5; else powers of ten; else every second, third one of these."""
    exponents = range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1)
    fine = [step * 10.0**exponent for exponent in exponents for step in _STEPS]
    coarse = [10.0**exponent for exponent in exponents]
    candidates = [fine, *(coarse[::every] for every in range(1, len(coarse) + 1))]
    inside = ([v for v in ticks if scale.low <= v <= scale.high] for ticks in candidates)
    return next((ticks for ticks in inside if len(ticks) <= most), [])
