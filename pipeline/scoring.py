"""A recipe's metric applied to predictions: scores, paired drops, agreement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy
from numpy.typing import NDArray

from edgestill.artifact import Predictions
from edgestill.errors import DataError
from edgestill.metric_config import FunctionMetric, MetricConfig
from edgestill.metrics import AGREEMENTS, METRICS, MetricSpec, Task, UserMetric, sample_scores
from edgestill.metrics import largest_difference as difference_of
from edgestill.metrics import score as score_by
from edgestill.quantities import worse
from edgestill.stats import (
    Estimate,
    Interval,
    mean_score,
    paired_drop,
    paired_drop_of,
    samples_to_bound,
    samples_to_decide,
    score_of,
)

Array = NDArray[Any]
Found = TypeVar("Found")


def resolve_metric(metric: MetricConfig, load: Callable[[str], Callable[..., Any]]) -> MetricSpec:
    """The metric of a recipe; `load` finds the callable of a user's own."""
    if isinstance(metric, FunctionMetric):
        return UserMetric(metric.function, metric.better).load(load)
    return METRICS[metric]


def score_outputs(
    metric: MetricSpec, outputs: Mapping[str, Array], prediction: str, labels: Array | None
) -> float:
    """The score of a model's outputs by name; a built-in metric reads `prediction` alone.

    Raises:
        DataError: there are no labels and the metric needs them.
    """
    return score_by(metric, _read_by(metric, outputs, prediction), _require(labels, metric))


@dataclass(frozen=True)
class Scorer:
    """A metric on one split.

    What it found is kept, by the digests of the answers: these may be gigabytes, and verdicts are
    decided again after every round that is measured.

    Attributes:
        labels: of the split, `[n, ...]`.
        withheld: why the metric may not run (code that nobody has allowed); else None.
    """

    task: Task
    metric: MetricSpec
    labels: Array | None
    withheld: str | None = None
    _kept: dict[tuple[Any, ...], Any] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    @property
    def worse(self) -> str:
        """What a metric that gets worse does: a score drops, an error rises."""
        return worse(self.metric.bigger_is_better)

    @property
    def unit(self) -> str:
        """`pp` where scores are proportions, else `plain`."""
        return self.metric.unit

    def score_of(self, predictions: Predictions) -> float:
        """The score of all samples."""
        if self.metric.per_sample:
            return float(self._sample_scores(predictions).mean())
        return self._once(
            ("score", predictions.digest),
            lambda: score_by(self.metric, self._values(predictions), self._labels),
        )

    def estimate(self, predictions: Predictions, level: float) -> Estimate:
        """The score with its interval."""

        def compute() -> Estimate:
            if self.metric.per_sample:
                return mean_score(self._sample_scores(predictions), level)
            return score_of(self.metric.function, self._values(predictions), self._labels, level)

        return self._once(("estimate", predictions.digest, level), compute)

    def drop(self, reference: Predictions, candidate: Predictions, level: float) -> Estimate:
        """How much worse `candidate` is than `reference`, paired on the same samples."""

        def compute() -> Estimate:
            bigger = self.metric.bigger_is_better
            if _identical(self._values(reference), self._values(candidate)):
                return Estimate(0.0, Interval(0.0, 0.0, level), len(self._labels))
            if self.metric.per_sample:
                scores = self._sample_scores(reference), self._sample_scores(candidate)
                return paired_drop(*scores, level, bigger_is_better=bigger)
            values = self._values(reference), self._values(candidate)
            return paired_drop_of(
                self.metric.function, *values, self._labels, level, bigger_is_better=bigger
            )

        return self._once(("drop", reference.digest, candidate.digest, level), compute)

    def samples_to_decide(
        self, reference: Predictions, candidate: Predictions, at_most: float, level: float
    ) -> int | None:
        """Roughly how many samples would decide the drop; None where that cannot be said."""
        if not self.metric.per_sample:
            return None
        return samples_to_decide(
            self._sample_scores(reference),
            self._sample_scores(candidate),
            at_most,
            level,
            bigger_is_better=self.metric.bigger_is_better,
        )

    def samples_to_bound(self, predictions: Predictions, bound: float, level: float) -> int | None:
        """Roughly how many samples would decide whether the score keeps a bound, or None."""
        if not self.metric.per_sample:
            return None
        return samples_to_bound(self._sample_scores(predictions), bound, level)

    def agreement_of(self, first: Predictions, second: Predictions) -> float:
        """How far two models answer alike, whatever the labels say."""
        return self._once(
            ("agreement of", first.digest, second.digest),
            lambda: float(
                numpy.mean(AGREEMENTS[self.task].function(_prediction(first), _prediction(second)))
            ),
        )

    def agreement(self, first: Predictions, second: Predictions, level: float) -> Estimate:
        """The same, with its interval."""

        def compute() -> Estimate:
            spec = AGREEMENTS[self.task]
            one, other = _prediction(first), _prediction(second)
            if _identical(one, other):
                return Estimate(1.0, Interval(1.0, 1.0, level), len(one))
            if spec.per_sample:
                return mean_score(numpy.asarray(spec.function(one, other), numpy.float64), level)
            return score_of(spec.function, one, other, level)

        return self._once(("agreement", first.digest, second.digest, level), compute)

    def comparable(self, first: Predictions, second: Predictions) -> bool:
        """Whether the two predictions have one shape; two models of a custom task need not."""
        return _prediction(first).shape == _prediction(second).shape

    def largest_difference(self, first: Predictions, second: Predictions) -> float:
        """The largest absolute difference between any two values of the two predictions."""
        return difference_of(_prediction(first), _prediction(second))

    def _once(self, key: tuple[Any, ...], compute: Callable[[], Found]) -> Found:
        if key not in self._kept:
            self._kept[key] = compute()
        found: Found = self._kept[key]
        return found

    def _sample_scores(self, predictions: Predictions) -> NDArray[numpy.float64]:
        return self._once(
            ("scores", predictions.digest),
            lambda: sample_scores(self.metric, self._values(predictions), self._labels),
        )

    @property
    def _labels(self) -> Array:
        return _require(self.labels, self.metric)

    def _values(self, predictions: Predictions) -> Any:
        names = predictions.description.outputs
        arrays = {name: _array(predictions, name) for name in names}
        for name, array in arrays.items():
            # A user's own metric might make a number of what does not belong together.
            if len(array) != len(self._labels):
                raise DataError(
                    f"the output {name} is of {len(array)} samples, and there are "
                    f"{len(self._labels)} labels",
                    where=str(predictions.path),
                )
        return _read_by(self.metric, arrays, predictions.description.prediction)


def _identical(first: Any, second: Any) -> bool:
    """Whether two models gave the very same numbers, after which no sample is expected to differ.

    Equal classes say less, since those of a sample that was not seen may still differ; so do
    numbers that are as coarse as classes.
    """
    one, other = ([*v.values()] if isinstance(v, dict) else [v] for v in (first, second))
    equal = len(one) == len(other) and all(map(_equal, one, other))
    return equal and any(map(_fine, one))


def _equal(first: Array, second: Array) -> bool:
    return bool(first.size and numpy.isfinite(first).all() and numpy.array_equal(first, second))


def _fine(output: Array) -> bool:
    """Whether most values of an output differ; some are looked at, since sorting is slow."""
    some = output.reshape(len(output), -1)[:64, :64]
    return len(numpy.unique(some)) > some.size / 2


def _read_by(metric: MetricSpec, outputs: Mapping[str, Array], prediction: str) -> Any:
    """What a metric is given: a user's own sees every output of a model that has several."""
    builtin = METRICS.get(metric.name) is metric
    return outputs[prediction] if builtin or len(outputs) == 1 else dict(outputs)


def _require(labels: Array | None, metric: MetricSpec) -> Array:
    if labels is None:
        raise DataError(
            f"the data has no labels, which {metric.name} needs",
            fix="Name them with data.labels",
        )
    return labels


def _prediction(predictions: Predictions) -> Array:
    return _array(predictions, predictions.description.prediction)


def _array(predictions: Predictions, name: str) -> Array:
    array: Array = numpy.load(predictions.output_path(name), mmap_mode="r")
    return array
