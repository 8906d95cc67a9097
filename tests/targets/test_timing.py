"""A block is fed whole batches of real samples, and knows what the model predicted for them."""

from __future__ import annotations

import numpy as np
import pytest

from edgestill.artifact import Dataset
from edgestill.targets import timing
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
