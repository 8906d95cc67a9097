"""Randomness as a function of position, so that a resumed run repeats an uninterrupted one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy
import torch


def derived_seed(seed: int, *position: int | str) -> int:
    """A 32-bit seed for one place of a run, such as `derived_seed(0, "step", 17)`."""
    text = ",".join(str(item) for item in (seed, *position))
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big")


def seed_everything(seed: int) -> None:
    """Seed the generators that a model's code may use: torch's, numpy's and Python's."""
    # Not torch.manual_seed, which takes a fifth of a millisecond to note the seed for devices that
    # are not there.
    torch.default_generator.manual_seed(seed)
    for accelerator in _accelerators():
        accelerator.manual_seed_all(seed)
    numpy.random.seed(seed)
    random.seed(seed)


@lru_cache(maxsize=1)
def _accelerators() -> tuple[Any, ...]:
    """The module of the GPUs, or of what else accelerates torch here; none or one."""
    device = torch.accelerator.current_accelerator(check_available=True)
    module = None if device is None else torch.get_device_module(device)
    return (module,) if hasattr(module, "manual_seed_all") else ()


@contextmanager
def reproducible(seed: int, threads: int) -> Iterator[None]:
    """Seeded, with deterministic algorithms and a fixed number of threads, until it ends.

    Different thread counts sum in different orders and give different bits.
    """
    threads_before = torch.get_num_threads()
    deterministic_before = torch.are_deterministic_algorithms_enabled()
    states = torch.get_rng_state(), numpy.random.get_state(), random.getstate()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    seed_everything(seed)
    try:
        yield
    finally:
        torch.set_num_threads(threads_before)
        torch.use_deterministic_algorithms(deterministic_before)
        torch.set_rng_state(states[0])
        numpy.random.set_state(states[1])
        random.setstate(states[2])
