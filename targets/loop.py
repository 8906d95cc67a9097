"""THE timing loop: every call of every target is timed by these lines, in every mode."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import NamedTuple

from edgestill.targets.base import Session
from edgestill.targets.samples import Feeds

Alive = Callable[[], None]
# Given how many calls there were and how long they took together: when the next is due, by the
# clock of the loop; 0 for at once, None for no more.
Due = Callable[[int, int], "int | None"]
# Takes the position of a feed, and what it was answered.
Take = Callable[[int, Feeds], None]

_WINDOW_NS = 2_000_000
_WINDOW_CALLS = 3
_AGREEMENT = 0.05

# The system wakes a sleeper some time after it asked for: the last part of a wait is spent awake.
_AWAKE_NS = 200_000
_LONGEST_SLEEP_NS = 500_000_000


class Call(NamedTuple):
    """When a call was due, when it began and when it ended, by the clock of the loop."""

    due_ns: int
    start_ns: int
    end_ns: int

    @property
    def service_ns(self) -> int:
        return self.end_ns - self.start_ns


def time_calls(
    session: Session, feeds: Sequence[Feeds], due_of: Due, take: Take, alive: Alive
) -> list[Call]:
    """Calls with each feed in rotation: between the two clock reads lies the call and nothing else.

    Args:
        take: called with what was answered after each call.
        alive: called between two calls, so that slow is not taken for hung.
    """
    run, clock = session.run, perf_counter_ns
    calls: list[Call] = []
    busy_ns = 0
    while (due := due_of(len(calls), busy_ns)) is not None:
        position = len(calls) % len(feeds)
        feed = feeds[position]
        if due:
            _wait_until(due, alive)
        start = clock()
        outputs = run(feed)
        end = clock()
        calls.append(Call(due or start, start, end))
        busy_ns += end - start
        take(position, outputs)
        alive()
    return calls


def back_to_back(block_ns: int, min_calls: int) -> Due:
    """Each call at once after the one before, until they took so long together and were so many."""
    return lambda calls, busy_ns: 0 if busy_ns < block_ns or calls < min_calls else None


def warm_up(
    session: Session, feeds: Sequence[Feeds], limit_ns: int, alive: Alive
) -> tuple[int, bool]:
    """Call until the medians of three windows in a row agree; how many calls, and whether they did.

    A window is 2 ms long and three calls at least.
    """
    medians: list[float] = []
    calls, begun = 0, perf_counter_ns()
    while True:
        window: list[int] = []
        opened = perf_counter_ns()
        while len(window) < _WINDOW_CALLS or perf_counter_ns() - opened < _WINDOW_NS:
            before = perf_counter_ns()
            session.run(feeds[calls % len(feeds)])
            window.append(perf_counter_ns() - before)
            calls += 1
            alive()
        medians.append(statistics.median(window))
        last = medians[-3:]
        if len(last) == 3 and max(last) <= min(last) * (1 + _AGREEMENT):
            return calls, True
        if len(last) == 3 and perf_counter_ns() - begun > limit_ns:
            return calls, False


def _wait_until(due_ns: int, alive: Alive) -> None:
    while (left := due_ns - perf_counter_ns()) > _AWAKE_NS:
        time.sleep(min(left - _AWAKE_NS, _LONGEST_SLEEP_NS) / 1e9)
        alive()
    while perf_counter_ns() < due_ns:
        pass
