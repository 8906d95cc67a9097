"""Ratios of values that were measured apart: their intervals cover the truth."""

from __future__ import annotations

import math

import numpy
import pytest

from edgestill.stats.distributions import student_t_quantile
from edgestill.stats.ratios import excess, ratio_of_independent
from edgestill.verdict import Estimate, Interval

TRIALS = 2000


def measured(rng: numpy.random.Generator, true: float, spread: float, count: int) -> Estimate:
    """The geometric mean of log-normal values with its interval by Student's t."""
    logs = rng.normal(math.log(true), spread, count)
    error = student_t_quantile(0.975, count - 1) * logs.std(ddof=1) / math.sqrt(count)
    low, value, high = numpy.exp(logs.mean() + numpy.array([-error, 0.0, error]))
    return Estimate(value, Interval(low, high, 0.95), count)


@pytest.mark.parametrize("spreads", [(0.05, 0.05), (0.3, 0.02), (0.02, 0.3)])
def test_the_interval_covers_the_true_ratio(spreads: tuple[float, float]) -> None:
    rng = numpy.random.default_rng(0)
    inside = 0
    for _ in range(TRIALS):
        first, second = (measured(rng, v, s, 12) for v, s in zip((3.0, 2.0), spreads, strict=True))
        found = ratio_of_independent(first, second).interval
        assert found is not None
        inside += found.low <= 1.5 <= found.high
    assert 0.94 <= inside / TRIALS <= 0.98


def test_one_that_is_known_leaves_the_interval_of_the_other() -> None:
    known = Estimate(2.0, Interval(2.0, 2.0, 0.95), 50)
    skewed = Estimate(3.0, Interval(2.9, 4.0, 0.95), 12)
    found = ratio_of_independent(skewed, known)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((1.45, 2.0))
    assert found.count == 12
    upside_down = ratio_of_independent(known, skewed).interval
    assert upside_down is not None
    assert (upside_down.low, upside_down.high) == pytest.approx((0.5, 2 / 2.9))


def test_without_an_interval_there_is_none() -> None:
    known, bare = Estimate(2.0, Interval(1.9, 2.1, 0.95), 12), Estimate(1.0, None, 4)
    assert ratio_of_independent(known, bare) == Estimate(2.0, None, 4)
    zero = Estimate(1.0, Interval(0.0, 2.0, 0.95), 12)
    assert ratio_of_independent(known, zero).interval is None
    other = Estimate(1.0, Interval(0.9, 1.1, 0.9), 12)
    with pytest.raises(ValueError, match=r"intervals of the levels 0\.95 and 0\.9"):
        ratio_of_independent(known, other)


def test_the_excess_is_what_is_above_one() -> None:
    found = excess(Estimate(1.25, Interval(1.0, 1.5, 0.95), 12))
    assert found == Estimate(0.25, Interval(0.0, 0.5, 0.95), 12)
    assert excess(Estimate(0.5, None, 3)) == Estimate(-0.5, None, 3)
