"""The few distribution functions that the intervals need, so that a device needs no scipy."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist

import numpy as np

_TINY = 1e-300


def normal_cdf(value: float) -> float:
    return 0.5 * math.erfc(-value / math.sqrt(2.0))


def normal_quantile(probability: float) -> float:
    return NormalDist().inv_cdf(probability)


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularized incomplete beta function I_x(a, b), the distribution function of Beta(a, b).

    Lentz's evaluation of its continued fraction (DLMF 8.17.22).
    """
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1.0) / (a + b + 2.0):  # the fraction converges fast on the other side only
        return 1.0 - incomplete_beta(b, a, 1.0 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    log_front += a * math.log(x) + b * math.log1p(-x)
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0))
    fraction = d
    for m in range(1, 100_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for coefficient in (even, odd):
            d = 1.0 / _away_from_zero(1.0 + coefficient * d)
            c = _away_from_zero(1.0 + coefficient / c)
            fraction *= c * d
        if abs(c * d - 1.0) < 1e-14:
            break
    return min(1.0, math.exp(log_front) * fraction / a)


@lru_cache(maxsize=4096)
def beta_quantile(probability: float, a: float, b: float) -> float:
    return _bisect(lambda x: incomplete_beta(a, b, x) < probability, 0.0, 1.0)


@lru_cache(maxsize=256)
def student_t_quantile(probability: float, freedom: float) -> float:
    """The quantile of Student's t with `freedom` degrees of freedom."""
    if probability < 0.5:
        return -student_t_quantile(1.0 - probability, freedom)
    if freedom > 1e6:
        return normal_quantile(probability)
    tail = 2.0 * (1.0 - probability)

    def below(t: float) -> bool:
        return incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t)) > tail

    high = 2.0
    while below(high):
        high *= 2.0
    return _bisect(below, 0.0, high)


def binomial_tail(count: int, total: int, probability: float) -> float:
    """P(X >= count) for X ~ Binomial(total, probability)."""
    if count <= 0:
        return 1.0
    if count > total:
        return 0.0
    return incomplete_beta(count, total - count + 1, probability)


def signed_rank_cut(pairs: int, tail: float) -> int:
    """The largest c with P(W < c) <= tail, W being Wilcoxon's signed-rank statistic of `pairs`.

    0 where even the smallest value of W is likelier than `tail`.
    """
    # Beyond this the exact recursion costs more than its last digit is worth.
    if pairs > 400:
        mean = pairs * (pairs + 1) / 4
        deviation = math.sqrt(pairs * (pairs + 1) * (2 * pairs + 1) / 24)
        return max(0, math.floor(mean + normal_quantile(tail) * deviation))
    mass = np.zeros(pairs * (pairs + 1) // 2 + 1)
    mass[0] = 1.0
    for rank in range(1, pairs + 1):
        shifted = np.zeros_like(mass)
        shifted[rank:] = mass[:-rank]
        mass = (mass + shifted) / 2
    return int(np.searchsorted(np.cumsum(mass), tail, side="right"))


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _bisect(is_below: Callable[[float], bool], low: float, high: float) -> float:
    """The point between `low` and `high` where `is_below` turns from true to false."""
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return middle
        if is_below(middle):
            low = middle
        else:
            high = middle
