"""What is known about a target's candidates before anything is decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy
from numpy.typing import NDArray

from edgestill.artifact import Engine, Predictions
from edgestill.targets.blocks import Trial
from edgestill.targets.measure import Block, Round
from edgestill.targets.measure import Candidate as Timed
from edgestill.verdict import Estimate
from edgestill.verify.config import BASELINE, FLOAT, Load


@dataclass(frozen=True)
class Candidate:
    """An engine and its answers.

    Attributes:
        name: its precision, or `teacher` for the baseline.
        validation: on the split that choices are made on; None on a device, which has it not.
        test: on the split that gates are decided on.
        drop: on validation, as it was found where the release was built.
    """

    name: str
    engine: Engine
    validation: Predictions | None
    test: Predictions
    drop: Estimate | None = None


@dataclass(frozen=True)
class Evidence:
    """All that was computed and measured for one target.

    Attributes:
        rounds: by batch size, interleaved blocks of every candidate.
        loads: the same under each load, of every candidate but the baseline.
    """

    target: str
    candidates: tuple[Candidate, ...]
    rounds: Mapping[int, tuple[Round, ...]]
    loads: Mapping[Load, tuple[Round, ...]] = field(default_factory=dict)

    @property
    def baseline(self) -> Candidate | None:
        return next((c for c in self.candidates if c.name == BASELINE), None)

    @property
    def precisions(self) -> tuple[Candidate, ...]:
        return tuple(c for c in self.candidates if c.name != BASELINE)

    @property
    def failures(self) -> dict[str, str]:
        """Of each candidate that crashed, hung or answered otherwise while it was timed: how."""
        found: dict[str, str] = {}
        measured = {f"at batch {batch}": rounds for batch, rounds in self.rounds.items()}
        for where, rounds in (measured | {str(load): r for load, r in self.loads.items()}).items():
            ended = {f.candidate: f.what for round_ in rounds for f in round_.failures}
            found = self._mismatches(rounds, where) | ended | found
        return found

    @property
    def reference(self) -> Candidate:
        """The candidate that others are compared with: the float one, or the first there is."""
        return next((c for c in self.precisions if c.name == FLOAT), self.precisions[0])

    def blocks(self, candidate: str, batch: int) -> list[Block]:
        """The blocks of a candidate, in the order of the rounds."""
        return _blocks_of(candidate, self.rounds.get(batch, ()))

    def blocks_under(self, load: Load, candidate: str) -> list[Block]:
        """The same under a load."""
        return _blocks_of(candidate, self.loads.get(load, ()))

    def trials(self, load: Load, candidate: str) -> tuple[Trial, ...]:
        """What was tried before, to find how the candidate serves most."""
        rounds = self.loads.get(load, ())
        return tuple(t for round_ in rounds for t in round_.trials if t.candidate == candidate)

    def blocks_ns(self, candidate: str, batch: int) -> list[NDArray[numpy.int64]]:
        """The timed calls of a candidate, one array per block."""
        return [_calls_ns(block) for block in self.blocks(candidate, batch)]

    def pairs_ns(
        self, first: str, second: str, batch: int
    ) -> list[tuple[NDArray[numpy.int64], NDArray[numpy.int64]]]:
        """The timed calls of two candidates, of each round that has a block of both."""
        pairs = []
        for round_ in self.rounds.get(batch, ()):
            blocks = {block.candidate: block for block in round_.blocks}
            if first in blocks and second in blocks:
                pairs.append((_calls_ns(blocks[first]), _calls_ns(blocks[second])))
        return pairs

    def _mismatches(self, rounds: Sequence[Round], where: str) -> dict[str, str]:
        found = {}
        for candidate in self.candidates:
            blocks = _blocks_of(candidate.name, rounds)
            calls = sum(len(block.samples_ns) for block in blocks)
            if wrong := sum(block.mismatches for block in blocks):
                found[candidate.name] = (
                    f"{wrong} of {calls} timed calls {where} gave other outputs than the "
                    "run that its accuracy was taken from"
                )
        return found


def timed_under(load: int | Load, candidates: Sequence[Candidate]) -> list[Timed]:
    """The candidates that are measured at a batch size or under a load.

    A baseline is there to be compared with, call by call: under a load nothing is.
    """
    return [
        Timed(c.name, c.engine, c.test)
        for c in candidates
        if isinstance(load, int) or c.name != BASELINE
    ]


def _blocks_of(candidate: str, rounds: Sequence[Round]) -> list[Block]:
    return [b for round_ in rounds for b in round_.blocks if b.candidate == candidate]


def _calls_ns(block: Block) -> NDArray[numpy.int64]:
    return numpy.asarray(block.samples_ns, numpy.int64)
