"""Randomness as a function of position, so that a resumed run repeats an uninterrupted one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b

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
    _seed_accelerators(seed)
    numpy.random.seed(seed)
    random.seed(seed)


def _seed_accelerators(seed: int) -> None:
    """Seed the generators of the GPUs, or of what else accelerates torch here."""
    device = _accelerator()
    if device is None:
        return
    module = torch.get_device_module(device)
    for seed_generators in ("manual_seed_all", "manual_seed"):  # Apple's GPU is one: it has no all
        if hasattr(module, seed_generators):
            getattr(module, seed_generators)(seed)
            return


@lru_cache(maxsize=1)
def _accelerator() -> torch.device | None:
    return torch.accelerator.current_accelerator(check_available=True)


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
