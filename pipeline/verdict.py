"""What a measurement says about a budget: estimates with their intervals, and the four verdicts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Literal


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
    """A two-sided confidence interval: each end alone is a bound at (1 + level) / 2.

    The level is 1 where nothing was sampled.
    """

    low: float
    high: float
    level: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"an interval from {self.low} to {self.high}")
        if not 0 < self.level <= 1:
            raise ValueError(f"a level of {self.level}; it is above 0 and at most 1")


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


def exactly(value: float, count: int = 1) -> Estimate:
    """What is held against a budget as it is, such as a size in bytes or the largest of `count`
    peaks of memory: no other value is supposed."""
    return Estimate(value, None if math.isnan(value) else Interval(value, value, 1.0), count)


Unit = Literal["score", "share", "ratio", "ns", "per second", "bytes"]


@dataclass(frozen=True)
class Decision:
    """An estimate held to a budget, in numbers of one unit; `Decision.of` makes one.

    Attributes:
        unit: `score` is the metric's own scale, on which 0.01 of a proportion is a point; `share` a
            part of an old value; `ratio` how many times another value.
        estimate: what is counted has itself as both ends of its interval.
        at_most: the budget; None where it is `at_least`, which is None otherwise.
        bound: the end of the interval that decides: the one nearest to the budget where all of it
            breaks the budget, else the one furthest to the bad side. None without an interval.
        margin: from the bound to the budget, positive where the budget is kept.
    """

    unit: Unit
    estimate: Estimate
    at_most: float | None
    at_least: float | None
    bound: float | None
    margin: float | None

    @classmethod
    def of(
        cls,
        unit: Unit,
        estimate: Estimate,
        *,
        at_most: float | None = None,
        at_least: float | None = None,
    ) -> Decision:
        """One of the budgets, and what its verdict rests on."""
        if (at_most is None) == (at_least is None):
            raise ValueError("give one budget: at_most or at_least")
        bound = margin = None
        if (ends := estimate.interval) is not None:
            fails = decide(estimate, at_most=at_most, at_least=at_least) is Verdict.FAIL
            if at_most is not None:
                bound = ends.low if fails else ends.high
                margin = at_most - bound
            elif at_least is not None:
                bound = ends.high if fails else ends.low
                margin = bound - at_least
        return cls(unit, estimate, at_most, at_least, bound, margin)

    @property
    def budget(self) -> float:
        budget = self.at_least if self.at_most is None else self.at_most
        assert budget is not None
        return budget

    @property
    def verdict(self) -> Verdict:
        return decide(self.estimate, at_most=self.at_most, at_least=self.at_least)


def _need_a_budget(at_most: float | None, at_least: float | None) -> None:
    if at_most is None and at_least is None:
        raise ValueError("no budget: give at_most, at_least or both")
    if any(budget is not None and math.isnan(budget) for budget in (at_most, at_least)):
        raise ValueError("a budget is NaN")
