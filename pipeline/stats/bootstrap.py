"""The bootstrap interval of the mean of per-sample values, and what every bootstrap here shares.

A plain bootstrap of values that almost all agree is too sure of itself: with no differences in n
samples its interval is empty, although up to 3.7 / n of all samples may differ (the rule of three,
at 0.975). Where values that differ are few, each bound therefore allows for one more that was not
seen, with an exponential weight of mean 1: k differences then count as Gamma(k + 1), whose
quantile is the exact upper limit of a Poisson rate.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgestill.stats.distributions import normal_cdf, normal_quantile, student_t_quantile
from edgestill.verdict import Interval

Floats = NDArray[np.float64]

FEW = 30  # fewer differing values than this are counted, more are averaged
_GROUPS = 4096


def mean_interval(
    values: Floats,
    span: float,
    level: float,
    seed: int,
    *,
    centre: float | None = None,
    resamples: int = 2000,
) -> Interval | None:
    """The bootstrap interval of the mean of `values` `[n]`, or None without n > 1 and a span.

    Args:
        span: how far a value that was not seen may lie from the others, if all seen are equal.
        centre: the value that most are expected to have; by default the most frequent one.
    """
    count = len(values)
    if count < 2 or span <= 0.0:
        return None
    rng = np.random.default_rng(seed)
    mean = float(values.mean())
    # Sorted first, so that the order of the samples does not decide which fall into one group.
    centred = np.sort(values) - mean
    replicates = mean + _resampled_means(centred, rng, resamples)
    if centre is None:
        distinct, frequency = np.unique(values, return_counts=True)
        centre = float(distinct[frequency.argmax()])
    differing = values[values != centre] - centre
    if len(differing) <= FEW:
        unseen = rng.exponential(unseen_difference(differing, span) / count, resamples)
        low, high = quantiles(replicates - unseen, replicates + unseen, level, count)
    else:
        spread = float(np.sqrt(np.mean(centred**2)))
        skewness = float(np.mean(centred**3)) / spread**3 if spread > 0.0 else 0.0
        acceleration = skewness / (6.0 * math.sqrt(count))
        low, high = quantiles(replicates, replicates, level, count, mean, acceleration)
    return Interval(min(low, mean), max(high, mean), level)


def unseen_difference(differing: Floats, span: float) -> float:
    """How far a value that was not seen may lie from the centre, given the few that do differ.

    One or two differences say little about how large the next may be.
    """
    if len(differing) == 0:
        return span
    return min(span, float(np.abs(differing).max()) * (1.0 + 3.0 / len(differing)))


def _resampled_means(centred: Floats, rng: np.random.Generator, resamples: int) -> Floats:
    """Means of bootstrap resamples of `centred` `[n]`, whose own mean is 0.

    Large sets are resampled as sums of random groups: their mean has the same variance, and with
    thousands of groups the same shape, at a cost that does not grow with n.
    """
    count = len(centred)
    if count > _GROUPS:
        bounds = np.linspace(0, count, _GROUPS, endpoint=False).astype(np.intp)
        centred = np.add.reduceat(rng.permutation(centred), bounds)
    units = len(centred)
    kind = np.uint16 if units <= 2**16 else np.uint32
    means = np.empty(resamples)
    rows = max(1, 2**19 // units)
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        at = rng.integers(0, units, (stop - start, units), dtype=kind)
        means[start:stop] = centred[at].sum(axis=1) / count
    return means


def quantiles(
    low_replicates: Floats,
    high_replicates: Floats,
    level: float,
    count: int,
    value: float | None = None,
    acceleration: float = 0.0,
) -> tuple[float, float]:
    """The bounds: percentiles expanded for small samples (Hesterberg 2015), BCa given `value`."""
    z = student_t_quantile((1.0 + level) / 2, count - 1) * math.sqrt(count / (count - 1))
    bias = 0.0
    if value is not None:
        # Equal scores differ by rounding: what is neither clearly below nor above counts as half.
        tie = 1e-12 * max(1.0, abs(value))
        below = (low_replicates < value - tie).mean() + (low_replicates < value + tie).mean()
        bias = normal_quantile(min(max(float(below) / 2, 0.01), 0.99))
    low_share, high_share = (
        normal_cdf(bias + (bias + side) / max(1.0 - acceleration * (bias + side), 0.1))
        for side in (-z, z)
    )
    return (
        float(np.quantile(low_replicates, low_share)),
        float(np.quantile(high_replicates, high_share)),
    )
