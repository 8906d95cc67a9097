"""Every sample is in one batch of an epoch, and every row of a batch is computed once."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgestill.errors import ModelError
from edgestill.train.batches import epoch_batches, parts_of


@given(st.integers(1, 300), st.integers(1, 80), st.integers(0, 2**32), st.integers(0, 1000))
def test_an_epoch_has_every_sample_once_in_even_batches(
    count: int, batch_size: int, seed: int, epoch: int
) -> None:
    batches = epoch_batches(count, batch_size, seed, epoch)
    assert sorted(np.concatenate(batches)) == list(range(count))
    assert len(batches) == math.ceil(count / batch_size)
    sizes = {len(batch) for batch in batches}
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return list(np.concatenate(epoch_batches(100, 7, seed, epoch)))

    assert order(0, 3) == order(0, 3)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(5)}) == 15


@given(st.integers(1, 100), st.integers(1, 9), st.integers(1, 5))
def test_the_parts_of_all_processes_are_the_batch(
    rows: int, accumulate: int, processes: int
) -> None:
    batch = np.arange(1000, 1000 + rows)
    if rows < processes:
        with pytest.raises(ModelError) as error:
            parts_of(batch, accumulate, 0, processes)
        assert str(error.value) == (
            f"batch_size: a batch of {rows} samples cannot be cut among {processes} processes. "
            "Raise batch_size or start fewer processes"
        )
        return
    parts = [parts_of(batch, accumulate, process, processes) for process in range(processes)]
    assert len({len(own) for own in parts}) == 1, "processes compute as often as each other"
    assert 1 <= len(parts[0]) <= accumulate
    computed = np.concatenate([part.rows for own in parts for part in own])
    assert sorted(computed) == list(batch)
    for process, own in enumerate(parts):
        for part, others in zip(own, zip(*parts, strict=True), strict=True):
            assert len(part.rows) >= 1
            assert part.whole == rows
            assert part.sizes == tuple(len(other.rows) for other in others)
            assert part.sizes[process] == len(part.rows)
