"""Values that change over a training: weights and temperatures of losses."""

from __future__ import annotations

import math
from typing import Literal

from edgestill.bounds import NonNegative, Share
from edgestill.config import config


@config
class Schedule:
    """From `start` to `end` between two points of the training; constant before and after.

    Attributes:
        shape: `linear`, half a `cosine`, or a `step` at `until`.
        begin: the share of the training at which it begins to move.
        until: the share of the training at which it arrives.
    """

    start: NonNegative
    end: NonNegative
    shape: Literal["linear", "cosine", "step"] = "linear"
    begin: Share = 0.0
    until: Share = 1.0

    def __post_init__(self) -> None:
        if self.begin > self.until:
            raise ValueError(f"it begins at {self.begin:g} and ends before that, at {self.until:g}")

    def at(self, progress: float) -> float:
        """The value when the share `progress` of the training is over."""
        if progress >= self.until:
            return self.end
        if progress <= self.begin or self.shape == "step":
            return self.start
        share = (progress - self.begin) / (self.until - self.begin)
        if self.shape == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        return self.start + share * (self.end - self.start)


Scheduled = NonNegative | Schedule


def value_at(value: float | Schedule, progress: float) -> float:
    """A constant, or a schedule's value when the share `progress` of the training is over."""
    return value.at(progress) if isinstance(value, Schedule) else value


def extremes(value: float | Schedule) -> tuple[float, float]:
    """The least and the greatest that it ever is."""
    ends = (value.start, value.end) if isinstance(value, Schedule) else (value, value)
    return min(ends), max(ends)
