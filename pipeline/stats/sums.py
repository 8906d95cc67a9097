"""Scores of a set that follow from sums over its samples: confusion counts, squared errors.

Such a score of any resample is a weighted sum away, with no further look at the predictions: a
thousand resamples of segmented images cost less than the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Sums:
    """What each of `samples` samples adds to each of `width` sums; what is not listed adds 0.

    Attributes:
        sample: `[e]`, which sample adds.
        column: `[e]`, to which sum.
        value: `[e]`, how much.
    """

    samples: int
    width: int
    sample: Indices
    column: Indices
    value: Floats

    @classmethod
    def dense(cls, values: NDArray[Any]) -> Sums:
        """From what each sample adds to every sum, `[samples, width]`."""
        samples, width = values.shape
        sample, column = np.divmod(np.arange(values.size), width)
        return cls(samples, width, sample, column, values.reshape(-1).astype(np.float64))

    def total(self) -> Floats:
        """The sums over all samples, `[width]`."""
        return self.weighted(np.ones(self.samples))

    def weighted(self, weights: NDArray[Any]) -> Floats:
        """The sums `[width]` where sample `i` counts `weights[i]` times."""
        share = self.value * weights[self.sample]
        return np.bincount(self.column, share, self.width).astype(np.float64, copy=False)


@dataclass(frozen=True)
class ScoreOfSums:
    """A metric of (predictions, labels) over the whole set.

    Attributes:
        sums: of (predictions, labels), samples along the first axis of both.
        score: of the sums' totals `[width]`.
    """

    sums: Callable[[Any, NDArray[Any]], Sums]
    score: Callable[[Floats], float]

    def __call__(self, predictions: Any, labels: NDArray[Any]) -> float:
        return self.score(self.sums(predictions, labels).total())
