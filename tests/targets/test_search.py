"""The search for the batch size and the streams that serve most samples a second."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgestill.targets.blocks import Trial
from edgestill.targets.search import Setting, batches_up_to, best_of, streams_up_to, tried


@pytest.mark.parametrize(
    ("largest", "fixed", "batches"),
    [(1, None, (1,)), (16, None, (1, 2, 4, 8, 16)), (31, None, (1, 2, 4, 8, 16)), (64, 6, (6,))],
)
def test_batches_are_powers_of_two_or_the_one_there_is(
    largest: int, fixed: int | None, batches: tuple[int, ...]
) -> None:
    assert batches_up_to(largest, fixed) == batches


@pytest.mark.parametrize(
    ("threads", "streams"),
    [(1, (1,)), (2, (1, 2)), (4, (1, 2, 4)), (6, (1, 2, 4, 6)), (9, (1, 2, 4, 8, 9))],
)
def test_streams_go_up_to_one_for_each_thread(threads: int, streams: tuple[int, ...]) -> None:
    assert streams_up_to(threads) == streams


def search(
    per_second: Callable[[int, int], float | str], most: int = 64, threads: int = 2
) -> list[Trial]:
    """What is tried where a setting serves so many samples a second, or fails in words."""

    def trial(setting: Setting) -> Trial:
        found = per_second(setting.batch, setting.streams)
        speed, failure = (0.0, found) if isinstance(found, str) else (found, "")
        return Trial("fp32", setting.batch, setting.streams, speed, failure)

    return list(tried(batches_up_to(most, None), streams_up_to(threads), trial))


def settings(trials: list[Trial]) -> list[tuple[int, int]]:
    return [(trial.batch, trial.streams) for trial in trials]


def test_everything_is_tried_where_larger_is_better() -> None:
    trials = search(lambda batch, streams: 1000.0 * batch * streams, most=8)
    assert settings(trials) == [(1, 1), (2, 1), (4, 1), (8, 1), (1, 2), (2, 2), (4, 2), (8, 2)]
    assert best_of(trials) == Setting(8, 2)


def test_a_batch_that_is_clearly_worse_ends_the_way_up() -> None:
    # The best is at 4; at 8 it is a little less, as noise may have it, at 16 a lot.
    speeds = {1: 1000.0, 2: 2000.0, 4: 3000.0, 8: 2800.0, 16: 2500.0, 32: 9999.0}
    trials = search(lambda batch, streams: speeds[batch] / streams)
    assert settings(trials) == [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1)] + [
        (batch, 2) for batch in (1, 2, 4, 8, 16)
    ]
    assert best_of(trials) == Setting(4, 1)


def test_a_batch_that_fails_ends_the_way_up_and_the_other_streams_go_on() -> None:
    trials = search(lambda batch, streams: "out of memory" if batch * streams > 2 else 10.0 * batch)
    assert settings(trials) == [(1, 1), (2, 1), (4, 1), (1, 2), (2, 2)]
    assert [trial.failure for trial in trials if trial.failure] == ["out of memory"] * 2
    assert best_of(trials) == Setting(2, 1)


def test_calls_of_half_a_second_end_the_way_up() -> None:
    trials = search(lambda batch, streams: 5.0, threads=1)
    assert settings(trials) == [(1, 1), (2, 1), (4, 1)]


@pytest.mark.parametrize("trials", [[], [Trial("fp32", 1, 1, 0.0, "crashed")]])
def test_where_all_failed_there_is_no_best(trials: list[Trial]) -> None:
    assert best_of(trials) is None
