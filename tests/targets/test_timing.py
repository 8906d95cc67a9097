"""A block is fed whole batches of real samples, knows what was predicted, and meters its energy."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import numpy as np
import pytest

from edgestill.artifact import Dataset
from edgestill.targets import timing
from edgestill.targets.blocks import Mode
from edgestill.targets.energy import Meter
from edgestill.targets.jobs import Model, TimeJob
from edgestill.targets.measure import Candidate


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


@pytest.fixture
def metered(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A processor with a meter that grows by 1 J each time that it is read; what it has shown."""
    shown: list[int] = []

    def read_uj() -> tuple[int, ...]:
        shown.append(1_000_000 * len(shown))
        return (shown[-1],)

    monkeypatch.setattr(timing, "find_meter", lambda *, gpu: Meter("a meter", 1, (None,), read_uj))
    yield shown
    gc.enable()  # a block ends with its process, and left the collector off


@pytest.mark.parametrize(
    ("mode", "streams", "rate"),
    [("single", 1, None), ("offline", 2, None), ("paced", 1, 100.0)],
)
def test_the_energy_of_a_block_is_that_of_all_its_calls(
    mode: Mode,
    streams: int,
    rate: float | None,
    ort: Candidate,
    numbers: Dataset,
    metered: list[int],
) -> None:
    job = TimeJob(
        "time", Model.of(ort.engine), numbers.path, ort.predictions.path, threads=2, batch=1,
        first=0, block_ns=0, min_calls=20, warmup_limit_ns=0, mode=mode, streams=streams, rate=rate,
    )  # fmt: skip
    found = timing.time_block(job, lambda: None)
    assert len(metered) == 2
    assert found.energy is not None
    assert found.energy.microjoules == 1_000_000
    led_in = {"single": 0, "offline": streams, "paced": 10}[mode]
    # A machine that stands still for a while gives requests up, in the mode paced.
    assert found.energy.calls == len(found.samples_ns) + led_in
    assert len(found.samples_ns) + found.unserved >= 20
    assert found.energy.window_ns >= 0
    assert found.mismatches == 0
