"""Whether a device changed its speed while a series of blocks was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgestill.stats.latency import SMALLEST_BLOCKS

Floats = NDArray[np.float64]

_SMALLEST_CHANGE = 1.10
_SHORTEST_PART = 3  # blocks on either side: one slow block is bad luck, and no other speed
_CHANCE = 0.02
_ORDERS = 1999


def change_of_speed(medians: Sequence[float], *, seed: int = 0) -> int | None:
    """The first block at the other speed, where a series has two; None where it has one.

    Args:
        medians: of the blocks' calls, in the order in which they were measured.

    The series is cut where its two parts differ most (the largest sum of squares between them, of
    the logarithms), with three blocks or more in each. It has two speeds when the medians of the
    parts differ by 10 % or more, and fewer than 2 % of random orders of the same blocks can be cut
    so well: a permutation test of the cut (Page 1955 has the problem, Pitman 1937 the test), which
    assumes nothing of how blocks spread. None from fewer than 12 blocks.
    """
    count = len(medians)
    if count < SMALLEST_BLOCKS:
        return None
    logs = np.log(np.asarray(medians, dtype=np.float64))
    logs -= logs.mean()
    rng = np.random.default_rng(seed)
    orders = rng.permuted(np.tile(logs, (_ORDERS, 1)), axis=1)
    gains = _gains(np.vstack([logs, orders]))
    cut = int(gains[0].argmax()) + _SHORTEST_PART
    before, after = np.median(logs[:cut]), np.median(logs[cut:])
    if abs(after - before) < np.log(_SMALLEST_CHANGE) - 1e-9:
        return None
    best = gains.max(axis=1)
    # The order that was measured is one of them, so that no chance is ever nil.
    chance = np.count_nonzero(best >= best[0] * (1 - 1e-9)) / len(best)
    return cut if chance < _CHANCE else None


def _gains(series: Floats) -> Floats:
    """The sum of squares between the two parts of each series `[s, n]`, for every cut."""
    count = series.shape[1]
    lengths = np.arange(_SHORTEST_PART, count - _SHORTEST_PART + 1)
    sums = np.cumsum(series, axis=1)[:, lengths - 1]
    gains: Floats = np.square(sums) * count / (lengths * (count - lengths))
    return gains
