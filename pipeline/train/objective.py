"""What a training is given, what it works towards, and what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray
from torch import Tensor

from edgestill.train import state
from edgestill.train.losses.base import Loss
from edgestill.train.peers import Peer, Score
from edgestill.train.predict import Arrays
from edgestill.train.teachers.base import Teacher
from edgestill.train.views import Ids


@dataclass(frozen=True)
class Samples:
    """Inputs by name and labels, all `[n, ...]`, and each sample's hash `[n]`."""

    inputs: Arrays
    labels: NDArray[numpy.generic] | None
    ids: Ids

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Objective:
    """What a training works towards.

    Attributes:
        losses: the terms, whose weighted sum is minimised.
        teacher: who answers the samples, where a term needs that.
        score: for choosing the best epoch.
        bigger_is_better: which way the metric points.
        peers: who learns beside the model, in place of a teacher.
    """

    losses: Sequence[Loss]
    teacher: Teacher | None
    score: Score
    bigger_is_better: bool
    peers: Sequence[Peer] = ()

    def at_least_as_good(self, new: state.EpochRecord, best: state.EpochRecord | None) -> bool:
        """Of equal epochs the later one has been annealed for longer."""
        if best is None:
            return True
        if self.bigger_is_better:
            return new.validation >= best.validation
        return new.validation <= best.validation


@dataclass(frozen=True)
class Trained:
    """The weights of the epoch that is kept, and how the training went."""

    weights: dict[str, Tensor]
    best_epoch: int
    history: tuple[state.EpochRecord, ...]
