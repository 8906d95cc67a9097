"""Scores over a whole set (f1_macro, rmse, a metric of one's own), with BCa bootstrap intervals.

BCa (Efron, J. Am. Stat. Assoc. 82 (1987), 171-185) over resampled samples, with the acceleration
from 64 groups left out. Where predictions that matter are few, the bounds allow for some not seen
yet that are as wrong as another sample's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import DataError
from edgestill.stats.bootstrap import FEW, quantiles
from edgestill.stats.sums import Indices, ScoreOfSums
from edgestill.verdict import Estimate, Interval

Array: TypeAlias = NDArray[Any]
# Samples along the first axis; or several such arrays by name.
Predictions: TypeAlias = Array | Mapping[str, Array]
Metric: TypeAlias = Callable[[Any, Array], float]
# The score of (answers, labels), two `[k]` of indices: answer `m * n + i` is what model `m` said of
# sample `i` of `n`, and is judged by the label in its place, be it another sample's.
Judge: TypeAlias = Callable[[Indices, Indices], float]

_JACKKNIFE_GROUPS = 64


def score_of(
    metric: Metric,
    predictions: Predictions,
    labels: Array,
    level: float = 0.95,
    seed: int = 0,
    *,
    resamples: int = 1000,
) -> Estimate:
    """The score of a model.

    A `ScoreOfSums` looks at the predictions once; another metric is called about 1,100 times.

    Raises:
        DataError: the metric raises it on more than one resample in twenty.
    """
    judge = _judge(metric, (predictions,), labels)

    def value_at(answers: Indices, truth: Indices, swapped: Indices | None) -> tuple[float, ...]:
        plain = judge(answers, truth)
        return (plain,) if swapped is None else (plain, judge(swapped, truth))

    return _estimate(value_at, labels, level, seed, resamples, few=None)


def paired_drop_of(
    metric: Metric,
    reference: Predictions,
    candidate: Predictions,
    labels: Array,
    level: float = 0.95,
    seed: int = 0,
    *,
    bigger_is_better: bool = True,
    resamples: int = 1000,
) -> Estimate:
    """How much worse the candidate's score is, on the same samples.

    A `ScoreOfSums` looks at the predictions once; another metric is called about 2,200 times, 4,200
    times when the two differ on few samples.

    Raises:
        DataError: the metric raises it on more than one resample in twenty.
    """
    sign = 1.0 if bigger_is_better else -1.0
    count = len(labels)
    judge = _judge(metric, (reference, candidate), labels)

    def value_at(answers: Indices, truth: Indices, swapped: Indices | None) -> tuple[float, ...]:
        first, second = judge(answers, truth), judge(count + answers, truth)
        drops = [sign * (first - second)]
        if swapped is not None:
            drops.append(sign * (first - judge(count + swapped, truth)))
            drops.append(sign * (judge(swapped, truth) - second))
        return tuple(drops)

    def few(groups: Sequence[Indices]) -> bool:
        if _shapes(reference) != _shapes(candidate):
            return False
        everything = np.arange(count)
        whole = judge(count + everything, everything)

        def differs(group: Indices) -> bool:
            mixed = count + everything
            mixed[group] = group
            return not math.isclose(judge(mixed, everything), whole, rel_tol=1e-12, abs_tol=1e-15)

        return sum(map(differs, groups)) <= min(FEW, len(groups) // 2)

    return _estimate(value_at, labels, level, seed, resamples, few=few)


def _judge(metric: Metric, models: Sequence[Predictions], labels: Array) -> Judge:
    if not isinstance(metric, ScoreOfSums):
        return lambda answers, truth: metric(_take(models, answers, len(labels)), labels[truth])
    count = len(labels)
    own = [metric.sums(predictions, labels) for predictions in models]

    def judge(answers: Indices, truth: Indices) -> float:
        model, sample = np.divmod(answers, count)
        at_home = sample == truth
        totals = np.zeros(own[0].width)
        for index, sums in enumerate(own):
            here = sample[at_home & (model == index)]
            if len(here):
                totals += sums.weighted(np.bincount(here, minlength=count))
        abroad = np.flatnonzero(~at_home)
        if len(abroad):
            answered = _take(models, answers[abroad], count)
            totals += metric.sums(answered, labels[truth[abroad]]).total()
        return metric.score(totals)

    return judge


def _estimate(
    value_at: Callable[[Indices, Indices, Indices | None], tuple[float, ...]],
    labels: Array,
    level: float,
    seed: int,
    resamples: int,
    few: Callable[[Sequence[Indices]], bool] | None,
) -> Estimate:
    """From the value on any samples: of (answers, labels, and answers of which some are swapped)
    the value, and with swapped ones what it might be as well."""
    count = len(labels)
    rng = np.random.default_rng(seed)
    everything = np.arange(count)
    value = value_at(everything, everything, None)[0]
    if count < 2:
        return Estimate(value, None, count)
    groups = np.array_split(rng.permutation(count), min(_JACKKNIFE_GROUPS, count))
    kept = [np.setdiff1d(everything, group) for group in groups]
    left_out = np.array([value_at(rest, rest, None)[0] for rest in kept])
    alike = float(np.ptp(left_out)) <= 1e-12 * max(1.0, abs(value))
    allows = few(groups) if few is not None else alike

    rows: list[tuple[float, ...]] = []
    failures = 0
    for _ in range(resamples):
        at = rng.integers(0, count, count)
        swapped = _swapped(labels, at, rng) if allows else None
        try:
            rows.append(value_at(at, at, swapped))
        except DataError:
            # A resample may lack what the metric needs, such as one of two classes.
            failures += 1
            if failures > resamples // 20:
                raise
    if allows:
        lows, highs = np.array([(min(row), max(row)) for row in rows]).T
        low, high = quantiles(lows, highs, level, count)
    else:
        replicates = np.array([row[0] for row in rows])
        deviations = left_out.mean() - left_out
        scale = float(np.square(deviations).sum()) ** 1.5
        acceleration = float((deviations**3).sum()) / (6.0 * scale) if scale > 0.0 else 0.0
        low, high = quantiles(replicates, replicates, level, count, value, acceleration)
    return Estimate(value, Interval(min(low, value), max(high, value), level), count)


def _swapped(labels: Array, at: Indices, rng: np.random.Generator) -> Indices | None:
    """The resample `at` with the answers of some samples in place of others; None if of none.

    Their number is exponential with mean 1, rounded at random. The other sample has another label
    where twenty draws find one.
    """
    weight = rng.exponential()
    number = min(len(at), math.floor(weight) + int(rng.random() < weight % 1.0))
    spoilt = rng.choice(len(at), number, replace=False)
    donors = rng.integers(0, len(at), number)
    for position, target in enumerate(spoilt):
        for _ in range(20):
            if not np.array_equal(labels[donors[position]], labels[at[target]]):
                break
            donors[position] = rng.integers(0, len(at))
    if number == 0:
        return None
    swapped = at.copy()
    swapped[spoilt] = donors
    return swapped


def _take(models: Sequence[Predictions], answers: Indices, count: int) -> Any:
    """What the models said, by indices as a `Judge` takes them."""
    model, sample = np.divmod(answers, count)
    first = models[model[0]]
    if (model == model[0]).all():
        return _samples(first, sample)
    if isinstance(first, Mapping):
        named = [predictions for predictions in models if isinstance(predictions, Mapping)]
        return {name: _take([one[name] for one in named], answers, count) for name in first}
    mixed = _samples(first, sample)
    for index, predictions in enumerate(models):
        rows = model == index
        mixed[rows] = _samples(predictions, sample[rows])
    return mixed


def _samples(predictions: Predictions, at: Indices) -> Any:
    if isinstance(predictions, Mapping):
        return {name: output[at] for name, output in predictions.items()}
    return np.asarray(predictions)[at]


def _shapes(predictions: Predictions) -> dict[str, tuple[int, ...]]:
    by_name = predictions if isinstance(predictions, Mapping) else {"": predictions}
    return {name: np.shape(array) for name, array in by_name.items()}
