"""Requests one after the other, several at once, or when they arrive."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.targets.checking import Check
from edgestill.targets.jobs import Model, TimeJob
from edgestill.targets.modes import MODES, Served, arrivals_ns

Arrays = Mapping[str, NDArray[Any]]
Start = Callable[..., Any]

MS = 1_000_000
FEEDS = [{"x": np.full((1, 2), number, np.float32)} for number in range(4)]
JOB = TimeJob(
    "time", Model("onnx", Path("nowhere"), ""), Path(), Path(), 1, 1, 0, 0, min_calls=1,
    warmup_limit_ns=0,
)  # fmt: skip


def doubled() -> Check:
    return Check([{"y": 2 * feed["x"]} for feed in FEEDS], 1e-3)


def serve(session: Any, check: Check | None = None, **changes: Any) -> Served:
    job, check = replace(JOB, **changes), check or doubled()
    served = MODES[job.mode](session, FEEDS, check, job, int)
    for answers in served.answers:
        for position, outputs in answers.items():
            check(position, outputs)
    return served


# One after the other, and several at once


class Counted:
    """Doubles its input, and notes how many calls are in it at the same time."""

    def __init__(self, streams: int) -> None:
        self.most = 0
        self.sessions = 1
        self.calls = 0
        self.spoilt: Callable[[int], bool] = lambda call: False
        self._inside = 0
        self._lock = threading.Lock()
        self._meeting = threading.Barrier(streams)

    def run(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        with self._lock:
            self.calls += 1
            spoilt = self.spoilt(self.calls)
            self._inside += 1
            self.most = max(self.most, self._inside)
        self._meeting.wait(timeout=30)  # nobody goes on before all streams are in
        with self._lock:
            self._inside -= 1
        self._meeting.wait(timeout=30)
        return {"y": feeds["x"] * (3 if spoilt else 2)}

    def another(self) -> Counted:
        self.sessions += 1
        return self


@pytest.mark.parametrize("streams", [1, 3])
def test_as_many_calls_are_served_at_once_as_there_are_streams(streams: int) -> None:
    session = Counted(streams)
    served = serve(session, mode="offline", streams=streams, min_calls=5)
    assert (session.sessions, session.most) == (streams, streams)
    # Each stream has a call before its block begins, which does not count.
    assert (len(served.calls), served.of, session.calls) == (5 * streams, *[6 * streams] * 2)


def test_streams_are_there_together_though_the_first_could_be_through_already() -> None:
    threads: list[int] = []

    class Quick(Counted):
        def run(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
            threads.append(threading.get_ident())
            return {"y": 2 * feeds["x"]}

    serve(Quick(3), mode="offline", streams=3)
    assert len(set(threads)) == 3


def test_the_time_of_all_streams_is_that_of_one_where_they_serve_alike() -> None:
    served = serve(Counted(3), mode="offline", streams=3, min_calls=50)
    assert served.elapsed_ns is not None
    first = min(call.start_ns for call in served.calls)
    last = max(call.end_ns for call in served.calls)
    # As many calls as there are, in the time from the first to the last: not three times as long.
    assert served.elapsed_ns == pytest.approx(last - first, rel=0.5)


def test_the_last_answer_to_each_feed_is_checked_after_the_block() -> None:
    session, check = Counted(1), doubled()
    session.spoilt = lambda call: call in (2, 8)  # the third feed's first call, and its last
    serve(session, check, mode="offline", min_calls=8)
    assert check.mismatches == 1


def test_what_a_stream_raises_is_raised() -> None:
    class Broken(Counted):
        def run(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        serve(Broken(2), mode="offline", streams=2)


def test_one_after_the_other_every_answer_is_checked(start: Start) -> None:
    session, check = start(repeat(3), factor=3), doubled()
    served = serve(session, check, min_calls=8)
    assert (len(served.calls), served.of, served.elapsed_ns) == (8, 8, None)
    assert check.mismatches == 6  # three times nothing is twice nothing


# When they arrive


def test_arrivals_are_a_poisson_process() -> None:
    times = arrivals_ns(rate=1000.0, number=20_000, seed=3)
    gaps = np.diff(times) / 1e9
    assert gaps.mean() == pytest.approx(1e-3, rel=0.03)
    # Exponential gaps: as wide as their mean, and 1 in e of them is longer than it.
    assert gaps.std() == pytest.approx(1e-3, rel=0.05)
    assert (gaps > 1e-3).mean() == pytest.approx(np.exp(-1), abs=0.02)
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.03


def test_arrivals_are_those_of_their_seed() -> None:
    same = [arrivals_ns(10.0, 5, seed=1).tolist() for _ in range(2)]
    assert same[0] == same[1] != arrivals_ns(10.0, 5, seed=2).tolist()


@pytest.fixture
def paced(start: Start, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Served, Any]]:
    """Serves requests that arrive at a rate, by calls that take so many milliseconds each."""

    def paced(
        service_ms: float, rate: float, factor: int = 2, **changes: Any
    ) -> tuple[Served, Any]:
        session = start(repeat(round(service_ms * MS)), tick_ns=100, factor=factor)

        def sleep(seconds: float) -> None:
            session.now += round(seconds * 1e9)

        monkeypatch.setattr("edgestill.targets.loop.time.sleep", sleep)
        return serve(session, mode="paced", rate=rate, **changes), session

    return paced


def test_latency_counts_from_the_arrival_not_from_when_it_was_served(paced: Any) -> None:
    # M/D/1 at half of what can be served: a request waits half a service time on average.
    served, _ = paced(service_ms=1, rate=500, min_calls=4000)
    latencies = np.array([call.end_ns - call.due_ns for call in served.calls]) / MS
    assert {call.service_ns for call in served.calls} == {1 * MS + 100}
    assert len(latencies) == 4000
    assert latencies.min() >= 1
    assert latencies.mean() == pytest.approx(1.5, abs=0.08)
    # Half of them find nobody before them.
    assert (latencies < 1.01).mean() == pytest.approx(0.5, abs=0.04)


def test_the_first_third_of_the_arrivals_is_left_out(paced: Any) -> None:
    served, session = paced(service_ms=1, rate=100, min_calls=20)
    assert (len(served.calls), served.of, len(session.fed), served.unserved) == (20, 30, 30, 0)


def test_a_block_has_as_many_requests_as_come_in_its_time(paced: Any) -> None:
    served, _ = paced(service_ms=1, rate=100, min_calls=20, block_ns=1000 * MS)
    assert len(served.calls) == 100


def test_a_rate_beyond_all_devices_is_not_listed_arrival_by_arrival(paced: Any) -> None:
    served, _ = paced(service_ms=1, rate=1e12, min_calls=20, block_ns=1000 * MS)
    assert (len(served.calls), served.unserved) == (10, 14_990)


def test_a_device_that_cannot_keep_up_is_not_waited_for(paced: Any) -> None:
    # Ten times as many come as can be served: all would take 3 s, they come in 0.3 s.
    served, session = paced(service_ms=10, rate=1000, min_calls=200)
    assert served.unserved == 300 - len(session.fed) > 250
    assert session.now < 250 * MS
    assert len(served.calls) == len(session.fed) >= 5
    assert {round(call.service_ns / MS) for call in served.calls} == {10}


@pytest.mark.parametrize(("factor", "mismatches"), [(2, 0), (3, 3)])
def test_the_last_answers_of_a_paced_block_are_checked(
    factor: int, mismatches: int, paced: Any
) -> None:
    check = doubled()
    paced(1, 100, factor=factor, min_calls=20, check=check)
    assert check.mismatches == mismatches  # three times nothing is twice nothing
