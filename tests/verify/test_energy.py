"""The energy of a sample is that of a window over all that was served in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from edgestill.targets.blocks import Block, Energy, Round
from edgestill.verify.energy import energy_of

Rounds = Callable[..., tuple[Round, ...]]


def metered(rounds: Rounds, *used: Energy | None, batch: int = 1) -> list[Block]:
    found = rounds({"fp32": 100.0}, number=len(used))
    return [
        replace(round_.blocks[0], energy=energy, batch=batch)
        for round_, energy in zip(found, used, strict=True)
    ]


def energy(microjoules: int, calls: int = 100) -> Energy:
    return Energy("RAPL", microjoules, 100_000_000, calls)


def test_all_energy_is_shared_by_all_samples(rounds: Rounds) -> None:
    # 2 and 4 J for 100 calls of 4 samples each, in turn.
    found = energy_of(metered(rounds, *[energy(2_000_000), energy(4_000_000)] * 6, batch=4), 0.95)
    assert found is not None and found.per_sample_j.interval is not None
    assert found.source == "RAPL"
    assert found.per_sample_j.value == pytest.approx(3.0 / 400)
    assert found.per_sample_j.count == 1200
    assert 2.0 / 400 < found.per_sample_j.interval.low < 3.0 / 400
    assert 3.0 / 400 < found.per_sample_j.interval.high < 4.0 / 400
    assert found.watts == pytest.approx(30.0)


def test_few_blocks_carry_no_interval(rounds: Rounds) -> None:
    found = energy_of(metered(rounds, *[energy(2_000_000)] * 3), 0.95)
    assert found is not None
    assert (found.per_sample_j.value, found.per_sample_j.interval) == (pytest.approx(0.02), None)


@pytest.mark.parametrize(
    "used",
    [
        pytest.param([], id="no blocks"),
        pytest.param([None] * 12, id="no counter"),
        pytest.param([energy(5)] * 11 + [None], id="one window too short"),
        pytest.param([energy(5)] * 11 + [energy(0)], id="a counter that stood still"),
    ],
)
def test_what_was_not_metered_throughout_has_no_energy(
    used: list[Energy | None], rounds: Rounds
) -> None:
    assert energy_of(metered(rounds, *used), 0.95) is None
