"""The state of an unfinished training: what was saved last is there, whatever ends a later save."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from edgestill.train.state import FILE, Progress, Tracked, load, save


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Writing beyond it fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def tracked(value: float) -> Tracked:
    model = nn.Linear(100, 100)
    nn.init.constant_(model.weight, value)
    return Tracked({"learner": model}, {})


def test_a_save_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    save(tmp_path, tracked(1.0), {"best": torch.ones(2)}, Progress(epoch=1, best_epoch=1))
    with no_file_above(20_000), pytest.raises((SafetensorError, OSError)):
        save(tmp_path, tracked(2.0), {"best": torch.zeros(2)}, Progress(epoch=2))
    now = tracked(3.0)
    found = load(tmp_path, now)
    assert found is not None
    progress, best = found
    assert (progress.epoch, progress.best_epoch) == (1, 1)
    assert torch.equal(best["best"], torch.ones(2))
    assert torch.equal(now.modules["learner"].weight, torch.ones(100, 100))


def test_a_save_does_not_write_into_the_one_before(tmp_path: Path) -> None:
    """A kill in the midst of it would leave neither."""
    save(tmp_path, tracked(1.0), {}, Progress(epoch=1))
    before = (tmp_path / FILE).read_bytes()
    os.link(tmp_path / FILE, tmp_path / "the one before")
    save(tmp_path, tracked(2.0), {}, Progress(epoch=2))
    assert (tmp_path / "the one before").read_bytes() == before
    assert (tmp_path / FILE).read_bytes() != before


def test_what_a_killed_save_left_is_cleaned_up(tmp_path: Path) -> None:
    save(tmp_path, tracked(1.0), {}, Progress(epoch=1))
    (tmp_path / f"{FILE}.4711").write_bytes(b"half of it")
    assert load(tmp_path, tracked(0.0)) is not None
    assert [file.name for file in tmp_path.iterdir()] == [FILE]
