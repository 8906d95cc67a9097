"""Ratios of positive values: of two that were measured apart, and how much more than 1 one is."""

from __future__ import annotations

import math

from edgestill.verdict import Estimate, Interval


def ratio_of_independent(numerator: Estimate, denominator: Estimate) -> Estimate:
    """The ratio of two positive values, whose intervals are of one level and independent.

    Each bound takes from either interval the side that matters to it (MOVER on the log scale: Zou
    and Donner 2008, "Construction of confidence limits about effect measures", 2), so skewed
    intervals stay so. `count` is the smaller one. No interval where either has none, or reaches 0.
    """
    value = numerator.value / denominator.value
    count = min(numerator.count, denominator.count)
    above, below = numerator.interval, denominator.interval
    if above is None or below is None or min(above.low, below.low) <= 0:
        return Estimate(value, None, count)
    if above.level != below.level:
        raise ValueError(f"intervals of the levels {above.level} and {below.level}")

    def reach(end: float, other_end: float) -> float:
        return math.hypot(math.log(end / numerator.value), math.log(other_end / denominator.value))

    low = value * math.exp(-reach(above.low, below.high))
    high = value * math.exp(reach(above.high, below.low))
    return Estimate(value, Interval(low, high, above.level), count)


def excess(ratio: Estimate) -> Estimate:
    """How much more than 1 a ratio is."""
    ends = ratio.interval
    shifted = ends and Interval(ends.low - 1, ends.high - 1, ends.level)
    return Estimate(ratio.value - 1, shifted, ratio.count)
