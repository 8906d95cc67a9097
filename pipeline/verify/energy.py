"""The energy of a sample, from what the blocks of a candidate used."""

from __future__ import annotations

from collections.abc import Sequence

from edgestill.stats import throughput
from edgestill.targets.blocks import Block
from edgestill.verdict import Estimate, Interval
from edgestill.verify.results import EnergyResult


def energy_of(blocks: Sequence[Block], level: float) -> EnergyResult | None:
    """None where a block has none: no counter can be read, or blocks are too short for it."""
    metered = [block.energy for block in blocks if block.energy is not None]
    if not metered or len(metered) < len(blocks) or not all(e.microjoules for e in metered):
        return None
    used, calls = [e.microjoules for e in metered], [e.calls for e in metered]
    # Samples per 1e9 microjoules, as samples per 1e9 nanoseconds are a throughput.
    per_kilojoule = throughput(used, calls, blocks[0].batch, level)
    interval = per_kilojoule.interval
    return EnergyResult(
        source=metered[0].source,
        per_sample_j=Estimate(
            1000 / per_kilojoule.value,
            interval and Interval(1000 / interval.high, 1000 / interval.low, level),
            per_kilojoule.count,
        ),
        watts=1000 * sum(used) / sum(e.window_ns for e in metered),
    )
