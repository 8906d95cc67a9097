"""What the machine did while a candidate was timed, from the states around its blocks."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from edgestill.targets.blocks import Block, Round
from edgestill.targets.nvml import GpuState
from edgestill.verify.conditions import conditions_of
from edgestill.verify.results import Conditions, SpeedChange


@pytest.fixture
def blocks(rounds: Callable[..., tuple[Round, ...]]) -> Callable[..., list[Block]]:
    """Blocks with these medians in microseconds; before and after each, this state."""

    def make(
        *medians: float, before: dict[str, list[Any]] | None = None, **after: list[Any]
    ) -> list[Block]:
        found = []
        for index, round_ in enumerate(rounds({"fp32": list(medians)}, number=len(medians))):
            (block,) = round_.blocks
            first = {name: values[index] for name, values in (before or {}).items()}
            last = {name: values[index] for name, values in after.items()}
            found.append(
                replace(
                    block,
                    before=replace(block.before, **first),
                    after=replace(block.after, **last),
                )
            )
        return found

    return make


def test_a_machine_that_tells_nothing_has_no_conditions(blocks: Callable[..., Any]) -> None:
    assert conditions_of(blocks(100, 100, 100)) == Conditions()


def test_the_load_is_that_before_the_blocks_for_each_core(blocks: Callable[..., Any]) -> None:
    found = conditions_of(
        blocks(100, 100, 100, before={"load": [4.0, 6.0, 90.0]}, load=[1000.0] * 3)
    )
    assert found.load == pytest.approx(6.0 / (os.cpu_count() or 1))


def test_clock_and_heat_are_the_range_after_the_blocks(blocks: Callable[..., Any]) -> None:
    found = conditions_of(
        blocks(100, 100, 100, frequency_mhz=[2400, 1800, None], temperature_c=[61, 75.5, 70])
    )
    assert (found.frequency_mhz, found.temperature_c) == ((1800, 2400), (61, 75.5))


def test_blocks_in_which_a_counter_grew_are_counted(blocks: Callable[..., Any]) -> None:
    found = conditions_of(
        blocks(
            *[100] * 4,
            before={"throttled": [7, 7, 9, None], "quota_throttled_us": [100, 100, 350, 350]},
            throttled=[7, 9, 10, 12],
            quota_throttled_us=[100, 350, 350, 400],
        )
    )
    assert found.slowed_blocks == 2
    assert (found.held_blocks, found.held_ns) == (2, 300_000)


def test_of_what_runs_on_a_gpu_the_gpu_is_what_counts(blocks: Callable[..., Any]) -> None:
    states = [
        GpuState(1980, 60, slowed=False),
        GpuState(1500, 84, slowed=True),
        GpuState(None, None, None),
    ]
    found = conditions_of(
        blocks(
            *[100] * 3, before={"throttled": [0] * 3}, throttled=[9] * 3, frequency_mhz=[2000] * 3,
            gpu=states,
        )
    )  # fmt: skip
    assert (found.frequency_mhz, found.temperature_c) == ((1500, 1980), (60, 84))
    assert found.slowed_blocks == 1


def test_a_device_that_changes_speed_in_the_middle_is_noticed(blocks: Callable[..., Any]) -> None:
    found = conditions_of(blocks(*[100] * 5, *[130] * 7))
    assert found.speed_change == SpeedChange(5, 100_000, 130_000)
    assert conditions_of(blocks(*[100] * 12)).speed_change is None
