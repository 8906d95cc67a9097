"""A series of blocks that was measured at two speeds is told from one that was not."""

from __future__ import annotations

import numpy as np
import pytest

from edgestill.stats import change_of_speed

NOISE = np.random.default_rng(0)


def medians(cut: int, factor: float, count: int = 12) -> list[float]:
    """Block medians with a noise of 2 %, from the block `cut` on at another speed."""
    times = 100.0 * np.exp(NOISE.normal(0, 0.02, count))
    times[cut:] *= factor
    return list(times)


@pytest.mark.parametrize("factor", [1.25, 0.8, 3.0])
@pytest.mark.parametrize(("cut", "count"), [(3, 12), (6, 12), (9, 12), (5, 40), (37, 40)])
def test_a_change_is_found_at_its_block(cut: int, count: int, factor: float) -> None:
    assert change_of_speed(medians(cut, factor, count)) == cut


@pytest.mark.parametrize(
    "series",
    [
        pytest.param(medians(6, 1.0), id="one speed"),
        pytest.param(medians(6, 1.05), id="less than a tenth apart"),
        pytest.param([100.0] * 12, id="no noise at all"),
        pytest.param([100.0] * 5 + [400.0] + [100.0] * 6, id="one slow block"),
        pytest.param([100.0] * 10 + [150.0] * 2, id="two slow blocks at the end"),
        pytest.param([100.0, 150.0] * 6, id="slow in every other block"),
        pytest.param([100.0] * 5 + [200.0] * 6, id="fewer than 12 blocks"),
        pytest.param([], id="no blocks"),
    ],
)
def test_what_is_no_change_is_not_called_one(series: list[float]) -> None:
    assert change_of_speed(series) is None


@pytest.mark.parametrize("spread", [0.1, 0.5])
def test_of_noisy_series_at_one_speed_few_are_taken_for_two(spread: float) -> None:
    rng = np.random.default_rng(1)
    series = np.exp(spread * rng.standard_t(3, (300, 12)))
    found = sum(change_of_speed(row, seed=seed) is not None for seed, row in enumerate(series))
    assert found <= 13  # 6 are expected, more than 13 of 300 have a chance below 1 %


def test_the_same_series_is_always_judged_alike() -> None:
    series = medians(6, 1.15)
    assert len({change_of_speed(series) for _ in range(3)}) == 1
