"""From measured rounds to latency figures."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from edgestill.stats import Estimate, mean_throughput, percentile, smallest_sample, speedup
from edgestill.verify.conditions import conditions_of
from edgestill.verify.energy import energy_of
from edgestill.verify.evidence import Evidence
from edgestill.verify.results import LatencyResult

SHOWN_PERCENTILES = (50.0, 90.0, 95.0, 99.0)


def summarize(
    evidence: Evidence,
    candidate: str,
    batch: int,
    threads: int,
    level: float,
    extra: Iterable[float],
) -> LatencyResult | None:
    """The figures of one candidate at one batch size; None when it was not measured.

    Args:
        extra: percentiles to give beside the usual ones.
    """
    blocks = evidence.blocks(candidate, batch)
    if not blocks:
        return None
    samples = evidence.blocks_ns(candidate, batch)
    calls = sum(len(block) for block in samples)
    wanted = sorted({*SHOWN_PERCENTILES, *extra})
    supported = [p for p in wanted if calls >= smallest_sample(p)]
    loads = [block.load_ns for block in blocks]
    return LatencyResult(
        batch=batch,
        threads=threads,
        calls=calls,
        blocks=len(blocks),
        median_ns=percentile(samples, 50.0, level).value,
        percentiles_ns={f"{p:g}": percentile(samples, p, level) for p in supported},
        throughput=mean_throughput(samples, batch, level),
        steady=statistics.fmean(block.steady for block in blocks),
        mismatches=sum(block.mismatches for block in blocks),
        first_load_ns=loads[0],
        later_load_ns=round(statistics.median(loads[1:] or loads)),
        memory_bytes=max(block.peak_rss_bytes for block in blocks),
        measured_at=evidence.rounds[batch][0].started,
        conditions=conditions_of(blocks),
        energy=energy_of(blocks, level),
    )


def speedup_over(
    evidence: Evidence, baseline: str, candidate: str, batch: int, level: float
) -> Estimate:
    """How many times faster `candidate` is than `baseline`, from blocks of the same rounds."""
    pairs = evidence.pairs_ns(baseline, candidate, batch)
    return speedup([first for first, _ in pairs], [second for _, second in pairs], level)
