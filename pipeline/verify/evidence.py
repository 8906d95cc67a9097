"""What is known about a target's candidates before anything is decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from edgestill.artifact import Engine, Predictions
from edgestill.targets.measure import Round

BASELINE = "teacher"  # the candidate whose speed a speed-up is measured against
FLOAT = "fp32"


@dataclass(frozen=True)
class Candidate:
    """An engine and its answers.

    Attributes:
        name: its precision, or `teacher` for the baseline.
        validation: on the split that choices are made on; None on a device, which has it not.
        test: on the split that gates are decided on.
    """

    name: str
    engine: Engine
    validation: Predictions | None
    test: Predictions


@dataclass(frozen=True)
class Evidence:
    """All that was computed and measured for one target.

    Attributes:
        rounds: by batch size, interleaved blocks of every candidate.
    """

    target: str
    candidates: tuple[Candidate, ...]
    rounds: Mapping[int, tuple[Round, ...]]

    @property
    def baseline(self) -> Candidate | None:
        return next((c for c in self.candidates if c.name == BASELINE), None)

    @property
    def precisions(self) -> tuple[Candidate, ...]:
        return tuple(c for c in self.candidates if c.name != BASELINE)

    @property
    def reference(self) -> Candidate:
        """The candidate that others are compared with: the float one, or the first there is."""
        return next((c for c in self.precisions if c.name == FLOAT), self.precisions[0])

    def blocks_ns(self, candidate: str, batch: int) -> list[NDArray[numpy.int64]]:
        """The timed calls of a candidate, one array per block, in the order of the rounds."""
        return [
            numpy.asarray(block.samples_ns, numpy.int64)
            for round_ in self.rounds.get(batch, ())
            for block in round_.blocks
            if block.candidate == candidate
        ]
