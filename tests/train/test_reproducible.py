"""What a seed reaches."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from edgestill.train import reproducible
from edgestill.train.reproducible import seed_everything


def test_every_generator_of_this_process_is_seeded_as_torch_seeds_its_own() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    seed_everything(7)
    first = random.random(), np.random.random()
    assert torch.equal(torch.rand(3), expected)
    seed_everything(7)
    assert (random.random(), np.random.random()) == first


@pytest.mark.parametrize("functions", [("manual_seed", "manual_seed_all"), ("manual_seed",)])
def test_the_generators_of_an_accelerator_are_seeded(
    monkeypatch: pytest.MonkeyPatch, functions: tuple[str, ...]
) -> None:
    seeded: list[tuple[str, int]] = []
    noting = {name: lambda seed, name=name: seeded.append((name, seed)) for name in functions}
    monkeypatch.setattr(reproducible, "_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch, "get_device_module", lambda device: SimpleNamespace(**noting))
    seed_everything(3)
    assert seeded == [(functions[-1], 3)]
