"""What is known about a target's candidates before anything is decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from edgestill.artifact import Engine, Predictions
from edgestill.stats import Look, last_look, repeated
from edgestill.targets.blocks import Trial
from edgestill.targets.measure import Block, Round
from edgestill.targets.measure import Candidate as Timed
from edgestill.verdict import Estimate
from edgestill.verify.config import BASELINE, FLOAT, Load, load_text


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
        rounds: interleaved blocks, of every candidate by batch size, where one call comes after the
            other, and of all but the baseline under each load.
        first_look: the rounds after which a series is first looked at; None for series of a fixed
            length, which are looked at once.
    """

    target: str
    candidates: tuple[Candidate, ...]
    rounds: Mapping[int | Load, tuple[Round, ...]]
    first_look: int | None = None

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
        for load, rounds in self.rounds.items():
            ended = {f.candidate: f.what for round_ in rounds for f in round_.failures}
            found = self._mismatches(load) | ended | found
        return found

    @property
    def reference(self) -> Candidate:
        """The candidate that others are compared with: the float one, or the first there is."""
        return next((c for c in self.precisions if c.name == FLOAT), self.precisions[0])

    def look(self, load: int | Load) -> Look | None:
        """The last look that a series has reached; None where its length was fixed."""
        if self.first_look is None:
            return None
        return last_look(self.first_look, len(self.rounds.get(load, ())))

    def estimate(
        self, load: int | Load, level: float, estimate_at: Callable[[float], Estimate]
    ) -> Estimate:
        """An estimate from a series, whose interval holds at `level` with all its looks."""
        look = self.look(load)
        return estimate_at(level) if look is None else repeated(estimate_at, look, level)

    def blocks(self, candidate: str, load: int | Load) -> list[Block]:
        """The blocks of a candidate up to the last look, in the order of the rounds."""
        return _blocks(self._seen(load), candidate)

    def trials(self, candidate: str, load: Load) -> tuple[Trial, ...]:
        """What was tried before, to find how the candidate serves most."""
        rounds = self.rounds.get(load, ())
        return tuple(t for round_ in rounds for t in round_.trials if t.candidate == candidate)

    def blocks_ns(self, candidate: str, batch: int) -> list[NDArray[numpy.int64]]:
        """The timed calls of a candidate, one array per block."""
        return [_calls_ns(block) for block in self.blocks(candidate, batch)]

    def pairs_ns(
        self, first: str, second: str, batch: int
    ) -> list[tuple[NDArray[numpy.int64], NDArray[numpy.int64]]]:
        """The timed calls of two candidates, of each round that has a block of both."""
        pairs = []
        for round_ in self._seen(batch):
            blocks = {block.candidate: block for block in round_.blocks}
            if first in blocks and second in blocks:
                pairs.append((_calls_ns(blocks[first]), _calls_ns(blocks[second])))
        return pairs

    def _seen(self, load: int | Load) -> tuple[Round, ...]:
        look, rounds = self.look(load), self.rounds.get(load, ())
        return rounds if look is None else rounds[: look.rounds]

    def _mismatches(self, load: int | Load) -> dict[str, str]:
        found = {}
        for candidate in self.candidates:
            blocks = _blocks(self.rounds[load], candidate.name)
            checked = sum(block.checked for block in blocks)
            if wrong := sum(block.mismatches for block in blocks):
                apart = max(block.largest_difference for block in blocks)
                by = f"by up to {apart:.0%} of the largest" if apart < 1e6 else "with NaN"
                found[candidate.name] = (
                    f"{wrong} of {checked} answers {load_text(load)} were others than in the run "
                    f"that its accuracy was taken from, {by}: they depend on the batch, or on the "
                    "moment"
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


def _blocks(rounds: Sequence[Round], candidate: str) -> list[Block]:
    return [b for round_ in rounds for b in round_.blocks if b.candidate == candidate]


def _calls_ns(block: Block) -> NDArray[numpy.int64]:
    return numpy.asarray(block.samples_ns, numpy.int64)
