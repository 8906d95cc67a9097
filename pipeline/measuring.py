"""Blocks as facts: measured on a device, appended, and more of them until everything is decided."""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, takewhile
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pydantic import ValidationError

from edgestill.artifact import Dataset
from edgestill.digest import canonical
from edgestill.errors import DeviceError
from edgestill.source_code import stage_digest
from edgestill.store import Facts, Key
from edgestill.targets import TARGETS
from edgestill.targets.blocks import MeasureConfig, Round

if TYPE_CHECKING:
    from edgestill.targets.measure import Candidate


@dataclass(frozen=True)
class Session:
    """What is measured together: candidates interleaved on the same samples.

    Attributes:
        datasets: the samples that are fed, in rotation.
    """

    candidates: Sequence[Candidate]
    dataset: Dataset
    config: MeasureConfig


def series_key(
    name: str,
    target: str,
    engines: Mapping[str, str],
    samples: str,
    config: MeasureConfig,
    device: str,
) -> Key:
    """Everything that the blocks of a target's engines belong to.

    Args:
        name: what people call the measurement; it is no part of what blocks belong to.
        engines: the digest of each engine by its candidate's name.
        samples: the digest of what they are fed; its labels have no say in how long a call takes.
        device: the digest of its fingerprint.
    """
    spec = TARGETS[target]
    parts = {
        "stage": stage_digest("edgestill.targets.worker", spec.implementation),
        "candidates": dict(engines),
        "samples": samples,
        "config": canonical(config),
        "device": device,
        "libraries": {spec.distribution: spec.version},
    }
    return Key(name, "measure", parts)


@dataclass(frozen=True)
class Noted:
    """A series in the store, where a run may go on with it.

    Attributes:
        seconds: how long it took to measure.
    """

    name: str
    rounds: tuple[Round, ...]
    seconds: float


def latest_series(facts: Facts, *, mend: bool = True) -> Noted | None:
    """The newest series; rounds that a killed run has left are its beginning.

    None where a candidate failed in it: what crashed is tried again, and a former series in which
    it did not may not speak for it. Rounds that another version of edgestill noted in another form
    are passed over.
    """
    series: dict[str, dict[int, Round]] = {}
    seconds: dict[str, float] = defaultdict(float)
    for record in facts.read(mend=mend):
        with suppress(ValidationError):
            round_ = Round.from_json(record["round"])
            # Two runs that go on with one series at once both note a round of the same index.
            series.setdefault(record["series"], {}).setdefault(round_.index, round_)
            seconds[record["series"]] += record.get("seconds", 0.0)
    for name, found in reversed(series.items()):
        rounds = tuple(found[index] for index in takewhile(found.__contains__, count()))
        if any(map(_failed, found.values())):
            return None
        if rounds:
            return Noted(name, rounds, seconds[name])
    return None


def _failed(round_: Round) -> bool:
    return bool(round_.failures) or any(block.mismatches for block in round_.blocks)


class Series:
    """The rounds of a session, which grow from look to look.

    Args:
        facts: where every round is kept as soon as it is there; None to keep none.
        former: what there is already, to go on from.

    Attributes:
        former_seconds: how long that took.
        measured: rounds of this process, which took `seconds`.
    """

    def __init__(self, session: Session, facts: Facts | None = None, former: Noted | None = None):
        self.session = session
        self.rounds = former.rounds if former else ()
        self.former_seconds = former.seconds if former else 0.0
        self.measured = 0
        self.seconds = 0.0
        self._name = former.name if former else uuid.uuid4().hex
        self._facts = facts

    @property
    def at_first_look(self) -> bool:
        return len(self.rounds) >= self.session.config.rounds

    def may_go_on(self, limit_s: float) -> bool:
        """Whether the next look can be taken within the limit. The first one of this process always
        can, so that every run brings an open decision forward; none can where a candidate failed.
        """
        if any(map(_failed, self.rounds)):
            return False
        if not self.measured:
            return True
        missing = self._next_look() - len(self.rounds)
        return self.seconds * (1 + missing / self.measured) <= limit_s

    def measure_on(self, progress: Callable[[float, str], None]) -> None:
        """Measure up to the next look."""
        started = time.monotonic()
        indices = range(len(self.rounds), self._next_look())
        for round_ in measured_rounds(self.session, progress, indices, self.rounds):
            took_s = time.monotonic() - started
            if self._facts is not None:
                record = {"series": self._name, "round": round_.to_json(), "seconds": took_s}
                self._facts.append(record)
            self.rounds += (round_,)
            self.measured += 1
            self.seconds += took_s
            started = time.monotonic()

    def _next_look(self) -> int:
        from edgestill.stats import next_look  # with numpy, which a plan does without

        return next_look(self.session.config.rounds, len(self.rounds)).rounds


class Judged(Protocol):
    """What was decided, and the series whose rounds leave something open."""

    @property
    def open_at(self) -> Collection[Any]: ...


JudgedT = TypeVar("JudgedT", bound=Judged)
Load = TypeVar("Load")


def measure_until_decided(
    series: Mapping[Load, Series],
    judge: Callable[[Mapping[Load, tuple[Round, ...]]], JudgedT],
    measure_on: Callable[[Series], None],
    limit_s: float,
) -> JudgedT:
    """Measure and judge, at fixed looks, until nothing is open or no look fits into the time.

    Args:
        series: by batch size or load.
        measure_on: takes a series to its next look.
        limit_s: for each series.
    """
    for one in series.values():
        if not one.at_first_look:
            measure_on(one)
    while True:
        judged = judge({load: one.rounds for load, one in series.items()})
        open_ = [one for load, one in series.items() if load in judged.open_at]
        going_on = [one for one in open_ if one.may_go_on(limit_s)]
        if not going_on:
            return judged
        for one in going_on:
            measure_on(one)


def measured_rounds(
    session: Session,
    progress: Callable[[float, str], None],
    indices: range | None = None,
    former: Sequence[Round] = (),
) -> Iterator[Round]:
    """Measure round by round; where no candidate is left, the last round says why.

    Args:
        indices: of the rounds; by default as many as the session's settings say.
        former: the rounds before these.
    """
    from edgestill.targets.measure import measure  # with numpy, which a plan does without

    indices = range(session.config.rounds) if indices is None else indices
    failed = False
    try:
        for round_ in measure(
            session.candidates, session.dataset, session.config, indices=indices, former=former
        ):
            failed = failed or bool(round_.failures)
            progress((round_.index + 1) / indices.stop, f"round {round_.index + 1}/{indices.stop}")
            yield round_
    except DeviceError:
        if not failed:
            raise
