"""What a measurement says about a budget: estimates with their intervals, and the four verdicts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum


class Verdict(str, Enum):
    """How a gate ended."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_RUN = "NOT RUN"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval: each end alone is a bound at (1 + level) / 2."""

    low: float
    high: float
    level: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"an interval from {self.low} to {self.high}")
        if not 0 < self.level < 1:
            raise ValueError(f"a level of {self.level}; it lies between 0 and 1")


@dataclass(frozen=True)
class Estimate:
    """A measured value.

    Attributes:
        interval: None where the data do not support one; such a value cannot pass a gate.
        count: how many observations it rests on: samples, timed calls, or pairs of blocks.
    """

    value: float
    interval: Interval | None
    count: int


def decide(
    estimate: Estimate, *, at_most: float | None = None, at_least: float | None = None
) -> Verdict:
    """PASS when the whole interval keeps the budget, FAIL when it all breaks it, else INCONCLUSIVE.

    The budget itself still keeps the budget. A gate is one-sided: a false PASS needs one given end
    of the interval to be wrong, a false FAIL the other. So the interval that is printed also
    decides, and either mistake has a probability of at most (1 - level) / 2: 2.5 % at the level
    0.95, the convention of non-inferiority tests (ICH E9, 3.3.2 and 5.5). With both budgets, each
    must hold.
    """
    _need_a_budget(at_most, at_least)
    interval = estimate.interval
    if interval is None or math.isnan(estimate.value):
        return Verdict.INCONCLUSIVE
    if at_most is not None and interval.low > at_most:
        return Verdict.FAIL
    if at_least is not None and interval.high < at_least:
        return Verdict.FAIL
    if at_most is not None and interval.high > at_most:
        return Verdict.INCONCLUSIVE
    if at_least is not None and interval.low < at_least:
        return Verdict.INCONCLUSIVE
    return Verdict.PASS


def decide_exact(
    value: float, *, at_most: float | None = None, at_least: float | None = None
) -> Verdict:
    """The verdict on a quantity that is counted and not sampled, such as a size in bytes."""
    _need_a_budget(at_most, at_least)
    if math.isnan(value):
        return Verdict.INCONCLUSIVE
    kept = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
    return Verdict.PASS if kept else Verdict.FAIL


def _need_a_budget(at_most: float | None, at_least: float | None) -> None:
    if at_most is None and at_least is None:
        raise ValueError("no budget: give at_most, at_least or both")
    if any(budget is not None and math.isnan(budget) for budget in (at_most, at_least)):
        raise ValueError("a budget is NaN")
