"""What measuring gives: facts, never judged here. A round has one block of each candidate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

from edgestill.digest import canonical_json
from edgestill.errors import DeviceError
from edgestill.targets.fingerprint import DeviceState

if TYPE_CHECKING:
    from pydantic import TypeAdapter

# How requests come: see `edgestill.targets.modes`.
Mode = Literal["single", "offline", "paced"]

# Of a block, at rates that no device can serve: what can be served has to be known there too.
MOST_ARRIVALS = 10_000
_QUEUE_LEAD_IN = 3  # of the arrivals, the first third finds a queue that is still filling


@dataclass(frozen=True)
class MeasureConfig:
    """How candidates are timed.

    Attributes:
        rounds: blocks of each candidate at the first look, after which more may be asked for.
        batch: samples of one call; in the mode `offline`, of the largest that is tried.
        threads: that a CPU runtime may use, for all calls that it serves at once.
        block_seconds: how long the timed calls of a block take together, at least.
        min_calls: timed calls of a block, at least.
        warmup_limit_s: when warming up ends though it is not steady; three windows are always seen.
        time_limit_s: the longest time that a load or a call may take; then its process is killed.
        rate: requests a second, in the mode `paced`.
    """

    rounds: int = 12
    batch: int = 1
    threads: int = 1
    block_seconds: float = 0.06
    min_calls: int = 10
    warmup_limit_s: float = 0.5
    time_limit_s: float = 60.0
    mode: Mode = "single"
    rate: float | None = None

    @property
    def arriving_s(self) -> float:
        """How long the requests of a block take to arrive, on average, where they have a rate."""
        if self.rate is None:
            return 0.0
        counted = counted_arrivals(self.rate, self.block_seconds, self.min_calls)
        return (counted + lead_in_of(counted)) / self.rate


def counted_arrivals(rate: float, block_seconds: float, min_calls: int) -> int:
    """How many requests of a block count: as many as arrive in it, or `min_calls`."""
    return max(min_calls, round(min(rate * block_seconds, MOST_ARRIVALS)))


def lead_in_of(counted: int) -> int:
    """How many requests come before so many that count, while the queue fills."""
    return counted // (_QUEUE_LEAD_IN - 1)


@dataclass(frozen=True)
class Energy:
    """What a device used while calls were timed, in all of the window and not in the calls alone.

    Attributes:
        source: what was metered, in words.
        calls: that were served in the window.
    """

    source: str
    microjoules: int
    window_ns: int
    calls: int


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What the worker process of one block measured.

    Attributes:
        samples_ns: of each timed call, in order; in the mode `paced` from when it was due, so that
            the time that a request waits for its turn counts.
        service_ns: in that mode, the part of it that the call itself took.
        unserved: in that mode, requests that were given up since the queue had grown too long.
        elapsed_ns: in the mode `offline`, in which all calls were served.
        load_ns: from the file to a session; the runtime's own import is not in it.
        first_call_ns: of the very first call.
        warmup_calls: before the timed ones, the first included.
        steady: whether three windows in a row agreed before timing began.
        checked: how many answers were held against the candidate's own predictions: those to all
            timed calls, or the last one to each of their samples where that would take a core's
            time from them.
        mismatches: of these, answers that were others.
        largest_difference: of an output of theirs from those predictions, as a share of the
            output's largest absolute value.
        peak_rss_bytes: of the process, with numpy and the runtime in it.
        energy: None where no counter can be read, or the block was too short for it.
    """

    samples_ns: tuple[int, ...]
    service_ns: tuple[int, ...] = ()
    unserved: int = 0
    elapsed_ns: int | None = None
    load_ns: int
    first_call_ns: int
    warmup_calls: int
    steady: bool
    checked: int
    mismatches: int
    largest_difference: float
    peak_rss_bytes: int
    energy: Energy | None = None


@dataclass(frozen=True, kw_only=True)
class Block(Timing):
    """The timing of one candidate in one fresh process.

    Attributes:
        batch: samples of one call.
        streams: calls that were served at once.
        started: ISO 8601, UTC.
        before: the device right before the block.
        after: the device right after it.
    """

    candidate: str
    batch: int = 1
    streams: int = 1
    started: str
    before: DeviceState
    after: DeviceState


@dataclass(frozen=True)
class Failure:
    """A candidate that crashed, hung or gave nonsense; it has no blocks from this round on."""

    candidate: str
    what: str

    def error(self) -> DeviceError:
        return DeviceError(self.what, where=self.candidate)


@dataclass(frozen=True)
class Trial:
    """A batch size and a number of streams that the search for the best throughput tried.

    Attributes:
        per_second: samples a second, in one short block.
        failure: why it gave none; else empty.
    """

    candidate: str
    batch: int
    streams: int
    per_second: float
    failure: str = ""


@dataclass(frozen=True)
class Round:
    """One block of each candidate, in the order in which they ran: A B C, then C B A.

    Attributes:
        index: 0 for the first round.
        started: ISO 8601, UTC.
        batch: as it was configured.
        trials: what was tried before this round to find how each candidate is best served.
    """

    index: int
    started: str
    batch: int
    threads: int
    blocks: tuple[Block, ...]
    failures: tuple[Failure, ...] = ()
    trials: tuple[Trial, ...] = ()

    def to_json(self) -> str:
        """One line of JSON."""
        return canonical_json(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Round:
        """The round that `to_json` wrote.

        Raises:
            pydantic.ValidationError: the text is something else.
        """
        return _adapter().validate_json(text)


@cache
def _adapter() -> TypeAdapter[Round]:
    from pydantic import TypeAdapter

    return TypeAdapter(Round)
