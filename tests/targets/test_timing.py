"""The timing loop, driven by sessions whose calls take known times on a clock of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from itertools import chain, cycle, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.artifact import Dataset, Engine, EngineDescription, OnnxModel, Signature, TensorSpec
from edgestill.targets import timing
from edgestill.targets.jobs import Model, TimeJob
from edgestill.targets.measure import Candidate

Arrays = Mapping[str, NDArray[Any]]

MS = 1_000_000
FEEDS = [{"x": np.full((1, 2), number, np.float32)} for number in range(4)]


class TimedSession:
    """Doubles its input; each call moves its clock by the next of the given times."""

    signature = Signature(
        (TensorSpec("x", "float32", (None, 2)),), (TensorSpec("y", "float32", (None, 2)),), "y"
    )

    def __init__(self, times_ns: Iterable[int]) -> None:
        self.now = 0
        self.fed: list[float] = []
        self._times = iter(times_ns)

    def run(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        self.now += next(self._times)
        self.fed.append(float(feeds["x"][0, 0]))
        return {"y": 2 * feeds["x"]}

    def close(self) -> None:
        pass


Start = Callable[[Iterable[int]], TimedSession]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """A session whose clock the loop reads."""

    def start(times_ns: Iterable[int]) -> TimedSession:
        session = TimedSession(times_ns)
        monkeypatch.setattr(timing, "perf_counter_ns", lambda: session.now)
        return session

    return start


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
    assert timing._warm_up(session, FEEDS, 100 * MS, signs.count) == (calls, steady)
    assert signs.counted == calls
    assert session.fed == [number % 4 for number in range(calls)]


def job(block_ns: int, min_calls: int) -> TimeJob:
    model = Model("onnx", Path("nowhere"), "")
    return TimeJob("time", model, Path(), Path(), 1, 1, 0, block_ns, min_calls, 0)


def doubled() -> timing._Check:
    return timing._Check([{"y": 2 * feed["x"]} for feed in FEEDS], 1e-3)


@pytest.mark.parametrize(
    ("block_ms", "min_calls", "expected"), [(0, 7, 7), (20, 3, 20), (19.5, 3, 20), (5, 30, 30)]
)
def test_a_block_has_the_calls_and_the_time_that_are_asked_for(
    block_ms: float, min_calls: int, expected: int, start: Start
) -> None:
    session, signs = start(repeat(MS)), Signs()
    samples = timing._time_calls(
        session, FEEDS, doubled(), job(round(block_ms * MS), min_calls), signs.count
    )
    assert signs.counted == expected
    assert samples == [MS] * expected
    assert session.fed == [number % 4 for number in range(expected)]


def test_samples_are_the_calls_alone_in_order(start: Start) -> None:
    times = [3, 1, 4, 1, 5, 9, 2, 6]
    session = start(times)
    checked: list[int] = []

    class SlowCheck(timing._Check):
        def __call__(self, position: int, outputs: dict[str, NDArray[Any]]) -> None:
            super().__call__(position, outputs)
            session.now += 1000
            checked.append(position)

    check = SlowCheck([{"y": 2 * feed["x"]} for feed in FEEDS], 1e-3)
    assert timing._time_calls(session, FEEDS, check, job(0, len(times)), int) == times
    assert checked == [0, 1, 2, 3, 0, 1, 2, 3]
    assert check.mismatches == 0


REFERENCE = np.array([[1.0, -4.0], [0.5, 2.0]], np.float32)
NOT_NUMBERS = sys.float_info.max


@pytest.mark.parametrize(
    ("output", "difference", "mismatches"),
    [
        (REFERENCE, 0.0, 0),
        (REFERENCE + np.float32(2**-9), 2**-11, 0),
        (REFERENCE + np.float32(2**-6), 2**-8, 1),
        (-REFERENCE, 2.0, 1),
        (np.full((2, 2), np.nan, np.float32), NOT_NUMBERS, 1),
        (np.array([[1.0, -4.0], [np.inf, 2.0]], np.float32), NOT_NUMBERS, 1),
        (REFERENCE[:1], NOT_NUMBERS, 1),
        (REFERENCE[:, :, None], NOT_NUMBERS, 1),
        (np.float32(1.0).reshape(()), NOT_NUMBERS, 1),
    ],
)
def test_outputs_are_held_against_predictions(
    output: NDArray[Any], difference: float, mismatches: int
) -> None:
    check = timing._Check([{"y": REFERENCE}], 1e-3)
    check(0, {"y": output})
    assert (check.largest_difference, check.mismatches) == (difference, mismatches)
    # And counted each time that it is met.
    check(0, {"y": output.copy()})
    assert (check.largest_difference, check.mismatches) == (difference, 2 * mismatches)


def test_what_was_accepted_is_no_excuse_for_what_comes_later() -> None:
    check = timing._Check([{"y": REFERENCE}], 1e-3)
    check(0, {"y": REFERENCE + np.float32(2**-9)})
    check(0, {"y": REFERENCE * 2})
    assert (check.mismatches, check.largest_difference) == (1, 1.0)
    check(0, {"y": REFERENCE})
    assert check.mismatches == 1


def test_an_answer_to_another_feed_is_wrong() -> None:
    check = timing._Check([{"y": np.array([1.0])}, {"y": np.array([2.0])}], 1e-3)
    check(1, {"y": np.array([2.0])})
    check(0, {"y": np.array([2.0])})
    assert check.mismatches == 1
    check(0, {"y": np.array([1.0])})
    check(1, {"y": np.array([1.0])})
    assert check.mismatches == 2


def test_every_output_counts_on_its_own_scale() -> None:
    large, small = np.array([1000.0]), np.array([0.001])
    check = timing._Check([{"large": large, "small": small}], 1e-3)
    check(0, {"large": large + 0.5, "small": small})
    assert check.mismatches == 0
    check(0, {"large": large, "small": small * 1.1})
    assert (check.mismatches, check.largest_difference) == (1, pytest.approx(0.1))
    # Nonsense in an output of small values is still a number that JSON can hold.
    check(0, {"large": large, "small": small * np.nan})
    assert check.largest_difference == NOT_NUMBERS


def test_the_scale_is_that_of_all_references() -> None:
    check = timing._Check([{"y": np.array([0.0])}, {"y": np.array([-8.0])}], 1e-3)
    check(0, {"y": np.array([2**-8])})
    assert (check.mismatches, check.largest_difference) == (0, 2**-11)
    zeros = timing._Check([{"y": np.zeros(2)}], 1e-3)
    zeros(0, {"y": np.array([0.0, 0.5])})
    assert (zeros.mismatches, zeros.largest_difference) == (1, 0.5)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16"])
def test_outputs_that_are_no_floats_are_compared_too(dtype: str) -> None:
    reference = np.array([0, 1, 1], dtype)
    check = timing._Check([{"y": reference}], 1e-3)
    check(0, {"y": reference.copy()})
    assert (check.mismatches, check.largest_difference) == (0, 0.0)
    check(0, {"y": np.array([1, 1, 1], dtype)})
    assert (check.mismatches, check.largest_difference) == (1, 1.0)


def test_empty_outputs_are_equal() -> None:
    empty = np.zeros((2, 0), np.float32)
    check = timing._Check([{"y": empty}], 1e-3)
    check(0, {"y": empty.copy()})
    assert (check.mismatches, check.largest_difference) == (0, 0.0)


@pytest.mark.parametrize(
    ("precision", "options", "tolerance"),
    [
        ("fp32", {}, 1e-3),
        ("fp32", {"inference_precision": "f32"}, 1e-3),
        ("fp32", {"inference_precision": "bf16"}, 5e-2),
        ("int8", {"inference_precision": "f32"}, 5e-2),
        ("fp16", {"max_batch": 16}, 2e-2),
    ],
)
def test_the_tolerance_is_that_of_what_an_engine_computes_in(
    precision: str, options: dict[str, Any], tolerance: float, tmp_path: Path
) -> None:
    signature = TimedSession.signature
    description = EngineDescription("openvino", precision, None, signature, "m", options, {})
    engine = Engine.seal(tmp_path, description)
    assert timing._tolerance(Model.of(engine)) == tolerance


def test_the_tolerance_of_an_onnx_model_is_that_of_its_precision(doubling: OnnxModel) -> None:
    assert timing._tolerance(Model.of(doubling)) == 1e-3


@pytest.mark.parametrize(
    ("first", "batch", "most_bytes", "starts"),
    [
        (0, 1, 1 << 20, list(range(64))),
        (90, 1, 1 << 20, [*range(90, 100), *range(54)]),
        (90, 30, 1 << 20, [90, 20, 50]),
        (5, 300, 1 << 20, [5]),
        # A sample has two numbers in and two out: 16 bytes.
        (0, 1, 50, [0, 1, 2]),
        (0, 10, 1, [0]),
    ],
)
def test_feeds_are_whole_batches_of_samples_and_what_was_predicted_for_them(
    first: int,
    batch: int,
    most_bytes: int,
    starts: list[int],
    ort: Candidate,
    numbers: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timing, "MOST_FEED_BYTES", most_bytes)
    model, answers = Model.of(ort.engine), ort.predictions.path
    feeds, references = timing._prepare(
        TimeJob("time", model, numbers.path, answers, 1, batch, first, 0, 1, 0)
    )
    samples = [[(start + row) % 100 for row in range(batch)] for start in starts]
    assert [feed["x"][:, 0].tolist() for feed in feeds] == samples
    assert all(feed["x"].flags.carray for feed in feeds)
    for feed, reference in zip(feeds, references, strict=True):
        np.testing.assert_array_equal(reference["y"], 2 * feed["x"])
