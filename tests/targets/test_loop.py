"""The timing loop, driven by sessions whose calls take known times on a clock of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain, cycle, repeat
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.targets import loop
from edgestill.targets.checking import Check
from edgestill.targets.loop import back_to_back, time_calls, warm_up

Arrays = Mapping[str, NDArray[Any]]

MS = 1_000_000
FEEDS = [{"x": np.full((1, 2), number, np.float32)} for number in range(4)]


Start = Callable[..., Any]


def windows(*medians_ms: float) -> Iterable[int]:
    """Three calls a window, as long as calls take a millisecond or so; the last one for ever."""
    times = [round(median * MS) for median in medians_ms]
    return chain(*(repeat(time, 3) for time in times), repeat(times[-1]))


class Signs:
    """Signs of life, counted."""

    counted = 0

    def count(self) -> None:
        self.counted += 1


WARM_UPS = [
    ("steady at once", windows(1), 9, True),
    ("faster, then steady", windows(10, 5, 1), 15, True),
    ("within 5 %", windows(1, 1.05, 1), 9, True),
    ("beyond 5 %", windows(1, 1.06, 1), 15, True),
    ("a slow drift", windows(1, 1.04, 1.08, 1.12), 15, True),
    ("short calls", repeat(MS // 10), 60, True),
    ("outliers", cycle([1 * MS, 1 * MS, 9 * MS]), 9, True),
    # 27 ms a pair of windows: the limit is passed in the eighth.
    ("never steady", cycle([3 * MS] * 3 + [6 * MS] * 3), 24, False),
    ("longer than the limit", windows(200, 300, 400), 9, False),
]


@pytest.mark.parametrize(
    ("times", "calls", "steady"),
    [case[1:] for case in WARM_UPS],
    ids=[case[0] for case in WARM_UPS],
)
def test_warming_up_ends_when_three_windows_agree_or_the_limit_is_passed(
    times: Iterable[int], calls: int, steady: bool, start: Start
) -> None:
    session, signs = start(times), Signs()
    assert warm_up(session, FEEDS, 100 * MS, signs.count) == (calls, steady)
    assert signs.counted == calls
    assert session.fed == [number % 4 for number in range(calls)]


def doubled() -> Check:
    return Check([{"y": 2 * feed["x"]} for feed in FEEDS], 1e-3)


@pytest.mark.parametrize(
    ("block_ms", "min_calls", "expected"), [(0, 7, 7), (20, 3, 20), (19.5, 3, 20), (5, 30, 30)]
)
def test_a_block_has_the_calls_and_the_time_that_are_asked_for(
    block_ms: float, min_calls: int, expected: int, start: Start
) -> None:
    session, signs = start(repeat(MS)), Signs()
    due_of = back_to_back(round(block_ms * MS), min_calls)
    calls = time_calls(session, FEEDS, due_of, doubled(), signs.count)
    assert signs.counted == expected
    assert [call.service_ns for call in calls] == [MS] * expected
    assert session.fed == [number % 4 for number in range(expected)]


def test_between_the_two_clock_reads_lies_the_call_alone(start: Start) -> None:
    times = [3, 1, 4, 1, 5, 9, 2, 6]
    session = start(times)
    taken: list[tuple[int, float]] = []

    def take_slowly(position: int, outputs: Arrays) -> None:
        session.now += 1000
        taken.append((position, float(outputs["y"][0, 0])))

    calls = time_calls(session, FEEDS, back_to_back(0, len(times)), take_slowly, int)
    assert [call.service_ns for call in calls] == times
    assert all(call.due_ns == call.start_ns for call in calls)
    assert taken == [(position, 2.0 * position) for position in [0, 1, 2, 3, 0, 1, 2, 3]]


def test_a_call_waits_until_it_is_due_and_no_sign_of_life_is_missed_meanwhile(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, signs = start(repeat(2 * MS), tick_ns=100), Signs()
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        session.now += round(seconds * 1e9)

    monkeypatch.setattr(loop.time, "sleep", sleep)
    # The second one is due while the first is answered, the third long after.
    dues = [5 * MS, 6 * MS, 1500 * MS]
    calls = time_calls(
        session, FEEDS, lambda count, _: dues[count] if count < 3 else None, doubled(), signs.count
    )
    assert [call.due_ns for call in calls] == dues
    starts = [call.start_ns / MS for call in calls]
    assert starts == pytest.approx([5, 7, 1500], abs=0.01)
    assert max(slept) <= 0.5
    assert sum(slept) == pytest.approx(1.4956, abs=0.001)
    assert signs.counted == len(calls) + len(slept)
