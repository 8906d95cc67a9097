"""Scores of samples: their mean, and how much a candidate loses on the same samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.stats.bootstrap import FEW, mean_interval, unseen_difference
from edgestill.stats.distributions import normal_cdf, normal_quantile
from edgestill.stats.proportions import paired_difference_interval, proportion_interval
from edgestill.verdict import Estimate, Interval

Floats = NDArray[np.float64]

_POWER = 0.8


def mean_score(scores: NDArray[Any], level: float = 0.95, seed: int = 0) -> Estimate:
    """The mean of per-sample scores `[n]`.

    Clopper and Pearson's interval for scores of 0 and 1, else the bootstrap; None where the data
    say nothing about how far a score may lie from the others (one sample, or all equal and
    neither 0 nor 1).
    """
    values = _checked(scores)
    count = len(values)
    value = float(values.mean())
    if _is_binary(values):
        low, high = proportion_interval(int(values.sum()), count, level)
        return Estimate(value, Interval(min(low, value), max(high, value), level), count)
    return Estimate(value, mean_interval(values, float(np.ptp(values)), level, seed), count)


def paired_drop(
    reference_scores: NDArray[Any],
    scores: NDArray[Any],
    level: float = 0.95,
    seed: int = 0,
    *,
    bigger_is_better: bool = True,
) -> Estimate:
    """How much worse the candidate's mean score is; both `[n]` on the same samples, in one order.

    Tango's score interval when all scores are 0 or 1, else the bootstrap of the differences. With
    (almost) no differences neither is empty: a sample that has not been seen may still differ, by
    as much as the scores' own range. None where even that is zero.

    Raises:
        ValueError: the two have different lengths.
    """
    reference, candidate = _paired(reference_scores, scores)
    drops = reference - candidate if bigger_is_better else candidate - reference
    count = len(drops)
    value = float(drops.mean())
    if _is_binary(reference) and _is_binary(candidate):
        losses, wins = int((drops > 0).sum()), int((drops < 0).sum())
        low, high = paired_difference_interval(losses, wins, count, level)
        return Estimate(value, Interval(min(low, value), max(high, value), level), count)
    span = _span(reference, candidate)
    return Estimate(value, mean_interval(drops, span, level, seed, centre=0.0), count)


def samples_to_decide(
    reference_scores: NDArray[Any],
    scores: NDArray[Any],
    at_most: float,
    level: float = 0.95,
    *,
    bigger_is_better: bool = True,
) -> int | None:
    """Roughly how many samples would decide whether the drop is at most `at_most`.

    With so many, a comparison whose true rates are those seen here ends in PASS or FAIL with a
    probability of 0.8. None when the drop seen is the budget itself: no number would do.
    """
    reference, candidate = _paired(reference_scores, scores)
    drops = reference - candidate if bigger_is_better else candidate - reference
    count, value = len(drops), float(drops.mean())
    gap = abs(value - at_most)
    if gap < 1e-12:
        return None
    stricter = _strictness(level)[1]
    if not (_is_binary(reference) and _is_binary(candidate)):
        return _smallest(_bootstrap_decides(drops, 0.0, _span(reference, candidate), gap, level))
    # The same counts, scaled, against a bound moved out by what chance may take: at this level.
    losses, wins = int((drops > 0).sum()), int((drops < 0).sum())

    def decided(total: float) -> bool:
        scale = total / count
        low, high = paired_difference_interval(losses * scale, wins * scale, total, stricter)
        return high <= at_most if value < at_most else low > at_most

    return _smallest(decided)


def samples_to_bound(scores: NDArray[Any], bound: float, level: float = 0.95) -> int | None:
    """Roughly how many samples would decide on which side of `bound` the mean score lies.

    With so many, scores that vary as those seen here end in PASS or FAIL with a probability of
    0.8. None when the mean seen is the bound itself, or nothing is known of how scores vary.
    """
    values = _checked(scores)
    value = float(values.mean())
    gap = abs(value - bound)
    if gap < 1e-12:
        return None
    stricter = _strictness(level)[1]
    if not _is_binary(values):
        if np.ptp(values) == 0.0:
            return None
        distinct, frequency = np.unique(values, return_counts=True)
        centre = float(distinct[frequency.argmax()])
        return _smallest(_bootstrap_decides(values, centre, float(np.ptp(values)), gap, level))

    def decided(total: float) -> bool:
        count = math.ceil(total)
        low, high = proportion_interval(round(value * count), count, stricter)
        return low >= bound if value > bound else high < bound

    return _smallest(decided)


def _strictness(level: float) -> tuple[float, float]:
    """What a difference has to be in standard errors so that chance leaves an interval of this
    level undecided one time in five; and the level of an interval of that width."""
    z = normal_quantile((1.0 + level) / 2) + normal_quantile(_POWER)
    return z, min(2.0 * normal_cdf(z) - 1.0, 1.0 - 1e-12)


def _bootstrap_decides(
    values: Floats, centre: float, span: float, gap: float, level: float
) -> Callable[[float], bool]:
    """Whether so many samples, of values like these, give a `mean_interval` shorter than `gap`."""
    z, _ = _strictness(level)
    differing = values[values != centre] - centre
    spread = float(values.std())
    unseen = unseen_difference(differing, span) * math.log(2.0 / (1.0 - level))

    def decided(total: float) -> bool:
        few = len(differing) * total / len(values) <= FEW
        return z * spread / math.sqrt(total) + few * unseen / total <= gap

    return decided


def _span(reference: Floats, candidate: Floats) -> float:
    return float(max(reference.max(), candidate.max()) - min(reference.min(), candidate.min()))


def _smallest(decided: Callable[[float], bool]) -> int | None:
    """Roughly the smallest number of samples that decides; None where none below 10^12 does."""
    low, high = 1.0, 2.0
    while not decided(high):
        if high > 1e12:
            return None
        low, high = high, 2.0 * high
    while high - low > max(1.0, 0.001 * high):
        middle = (low + high) / 2
        low, high = (low, middle) if decided(middle) else (middle, high)
    return math.ceil(high)


def _checked(scores: NDArray[Any]) -> Floats:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"scores of shape {values.shape}: give [n], not empty")
    if not np.isfinite(values).all():
        raise ValueError("scores that are not finite")
    return values


def _paired(reference_scores: NDArray[Any], scores: NDArray[Any]) -> tuple[Floats, Floats]:
    reference, candidate = _checked(reference_scores), _checked(scores)
    if reference.shape != candidate.shape:
        raise ValueError(
            f"{len(reference)} reference scores and {len(candidate)} scores: "
            "a paired comparison needs the same samples"
        )
    return reference, candidate


def _is_binary(values: Floats) -> bool:
    return bool(((values == 0.0) | (values == 1.0)).all())
