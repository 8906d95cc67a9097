"""The ways in which requests come to a session, after the scenarios of MLPerf Inference.

`single` (single stream): each as soon as the one before is answered. `offline`: all are there from
the start, and as many are served at once as there are streams. `paced` (server): each comes at a
time of its own, whether or not the one before is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from time import perf_counter_ns

import numpy
from numpy.typing import NDArray

from edgestill.targets.base import Session
from edgestill.targets.blocks import Mode, counted_arrivals, lead_in_of
from edgestill.targets.checking import Check
from edgestill.targets.jobs import TimeJob
from edgestill.targets.loop import Alive, Call, Due, back_to_back, time_calls
from edgestill.targets.samples import Feeds

_LEAD_IN = 4  # the streams serve for a quarter of a block before it begins
_FEWEST_CALLS = 10


@dataclass(frozen=True)
class Served:
    """What was served.

    Attributes:
        calls: those that count.
        of: how many calls there were with those that lead in.
        answers: the last answer to each feed, where they are not checked between two calls.
        elapsed_ns: how long they took all together, where several were served at once.
        unserved: requests that were given up, because the queue of those that wait grew too long.
    """

    calls: Sequence[Call]
    of: int
    answers: Sequence[Mapping[int, Feeds]] = ()
    elapsed_ns: int | None = None
    unserved: int = 0


# Given a session, its feeds, what checks their answers, and the job.
Serve = Callable[[Session, Sequence[Feeds], Check, TimeJob, Alive], Served]


def one_after_the_other(
    session: Session, feeds: Sequence[Feeds], check: Check, job: TimeJob, alive: Alive
) -> Served:
    """Each call's outputs are checked before the next begins."""
    due_of = back_to_back(job.block_ns, job.min_calls)
    calls = time_calls(session, feeds, due_of, check, alive)
    return Served(calls, of=len(calls))


def several_at_once(
    session: Session, feeds: Sequence[Feeds], check: Check, job: TimeJob, alive: Alive
) -> Served:
    """Every stream calls without a pause, in a thread of its own.

    To check an answer would take the time of a core that serves: it is done after the block.

    `elapsed_ns` is by the sum of the streams' rates: the first and the last call of a block, in
    which not all of them are at work, weigh on none.
    """
    del check
    sessions = [session, *(session.another() for _ in range(job.streams - 1))]
    answers: list[dict[int, Feeds]] = [{} for _ in sessions]
    start = Barrier(job.streams)  # else one could be through before the next one begins

    def serve(own: Session, last: dict[int, Feeds]) -> tuple[int, list[Call]]:
        start.wait()
        lead_in = back_to_back(job.block_ns // _LEAD_IN, 1)
        before = len(time_calls(own, feeds, lead_in, last.__setitem__, alive))
        due_of = back_to_back(job.block_ns, job.min_calls)
        return before, time_calls(own, feeds, due_of, last.__setitem__, alive)

    with ThreadPoolExecutor(job.streams) as pool:
        found = list(pool.map(serve, sessions, answers))
    streams = [calls for _, calls in found]
    rates = sum(len(calls) / (calls[-1].end_ns - calls[0].start_ns) for calls in streams)
    calls = [call for stream in streams for call in stream]
    of = len(calls) + sum(before for before, _ in found)
    return Served(calls, of, answers, elapsed_ns=round(len(calls) / rates))


def as_they_arrive(
    session: Session, feeds: Sequence[Feeds], check: Check, job: TimeJob, alive: Alive
) -> Served:
    """Arrivals are a Poisson process; a request waits where the one before is still served."""
    del check
    assert job.rate is not None
    wanted = counted_arrivals(job.rate, job.block_ns / 1e9, job.min_calls)
    lead_in = lead_in_of(wanted)
    dues = arrivals_ns(job.rate, wanted + lead_in, job.seed) + perf_counter_ns()
    answers: dict[int, Feeds] = {}
    calls = time_calls(session, feeds, arriving(dues), answers.__setitem__, alive)
    # Where the queue grew before the lead-in was over, all that was served is what there is.
    unserved = len(dues) - len(calls)
    return Served(calls[lead_in:] or calls, len(calls), [answers], unserved=unserved)


def arrivals_ns(rate: float, number: int, seed: int) -> NDArray[numpy.int64]:
    """The times of a Poisson process of so many arrivals a second, `[number]`, from 0 on."""
    gaps = numpy.random.default_rng(seed).exponential(1e9 / rate, number)
    return numpy.cumsum(gaps).astype(numpy.int64)


def arriving(dues: NDArray[numpy.int64]) -> Due:
    """Each call at its time, until one is late by half of the time in which all of them come: the
    queue grows then, and a later one would only wait longer. The first ten are always served."""
    patience_ns = (int(dues[-1]) - int(dues[0])) // 2

    def due_of(calls: int, busy_ns: int) -> int | None:
        del busy_ns
        if calls == len(dues):
            return None
        late_ns = perf_counter_ns() - int(dues[calls])
        return int(dues[calls]) if late_ns <= patience_ns or calls < _FEWEST_CALLS else None

    return due_of


MODES: Mapping[Mode, Serve] = {
    "single": one_after_the_other,
    "offline": several_at_once,
    "paced": as_they_arrive,
}
