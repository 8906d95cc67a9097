"""What the states of the machine before and after each block say about a measurement."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterable, Sequence

from edgestill.stats import change_of_speed
from edgestill.targets.blocks import Block
from edgestill.targets.fingerprint import DeviceState
from edgestill.verify.results import Conditions, SpeedChange


def conditions_of(blocks: Sequence[Block]) -> Conditions:
    """The conditions of one candidate's blocks, which lie in the order of the rounds."""
    # Before a block, since what it starts itself counts after it.
    waiting = [block.before.load for block in blocks if block.before.load is not None]
    after = [block.after for block in blocks]
    held_us = _grown(blocks, lambda state: state.quota_throttled_us)
    return Conditions(
        load=statistics.median(waiting) / (os.cpu_count() or 1) if waiting else None,
        frequency_mhz=_range(
            state.gpu.clock_mhz if state.gpu else state.frequency_mhz for state in after
        ),
        temperature_c=_range(
            state.gpu.temperature_c if state.gpu else state.temperature_c for state in after
        ),
        slowed_blocks=_slowed_blocks(blocks),
        held_blocks=sum(time > 0 for time in held_us) if held_us else None,
        held_ns=1000 * sum(held_us) if held_us else None,
        speed_change=_speed_change(blocks),
    )


def _slowed_blocks(blocks: Sequence[Block]) -> int | None:
    """By the counters of the cores, or by what a GPU said of its clock right after each block."""
    told = [block.after.gpu.slowed for block in blocks if block.after.gpu is not None]
    if not told:
        times = _grown(blocks, lambda state: state.throttled)
        return sum(grown > 0 for grown in times) if times else None
    known = [slowed for slowed in told if slowed is not None]
    return sum(known) if known else None


def _grown(blocks: Iterable[Block], counter: Callable[[DeviceState], int | None]) -> list[int]:
    """By how much a counter grew in each block in which it could be read."""
    pairs = ((counter(block.before), counter(block.after)) for block in blocks)
    return [last - first for first, last in pairs if first is not None and last is not None]


def _range(found: Iterable[float | None]) -> tuple[float, float] | None:
    values = [value for value in found if value is not None]
    return (min(values), max(values)) if values else None


def _speed_change(blocks: Sequence[Block]) -> SpeedChange | None:
    # Where requests wait for each other, the calls themselves tell the speed.
    medians = [statistics.median(block.service_ns or block.samples_ns) for block in blocks]
    cut = change_of_speed(medians)
    if cut is None:
        return None
    before, after = statistics.median(medians[:cut]), statistics.median(medians[cut:])
    return SpeedChange(cut, before, after)
