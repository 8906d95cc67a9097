"""From measured rounds to figures of time, each at the look that its series has reached."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Iterable, Sequence

import numpy
from numpy.typing import NDArray

from edgestill.stats import (
    Estimate,
    mean_throughput,
    noise_floor,
    percentile,
    smallest_sample,
    speedup,
)
from edgestill.targets.blocks import Block
from edgestill.verify.conditions import conditions_of
from edgestill.verify.energy import energy_of
from edgestill.verify.evidence import Evidence
from edgestill.verify.results import BlockResult, Histogram, LatencyResult

SHOWN_PERCENTILES = (50.0, 90.0, 95.0, 99.0)
BINS = 60


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
    look = evidence.look(batch)
    return LatencyResult(
        batch=batch,
        threads=threads,
        calls=calls,
        blocks=len(blocks),
        median_ns=percentile_of(evidence, candidate, batch, 50.0, level).value,
        percentiles_ns={
            f"{p:g}": percentile_of(evidence, candidate, batch, p, level) for p in supported
        },
        throughput=throughput_of(evidence, candidate, batch, level),
        steady=statistics.fmean(block.steady for block in blocks),
        mismatches=sum(block.mismatches for block in blocks),
        first_load_ns=loads[0],
        later_load_ns=round(statistics.median(loads[1:] or loads)),
        memory_bytes=max(block.peak_rss_bytes for block in blocks),
        measured_at=evidence.rounds[batch][0].started,
        looks=max(1, look.number) if look else 1,
        noise_floor=noise_floor(samples, look.level(level) if look else level),
        conditions=conditions_of(blocks),
        energy=energy_of(blocks, level),
        histogram=_histogram(samples),
        series=tuple(_block(block) for block in blocks),
    )


def _histogram(samples: Sequence[NDArray[numpy.int64]]) -> Histogram:
    """Every call in one of `BINS` bins, which are as wide as their time is long."""
    logs = numpy.log(numpy.maximum(numpy.concatenate(samples), 1))
    low, high = float(logs.min()), float(logs.max())
    counts, _ = numpy.histogram(logs, bins=BINS, range=(low, high))
    return Histogram(math.exp(low), math.exp(high), tuple(counts.tolist()))


def _block(block: Block) -> BlockResult:
    p10, median, p90 = numpy.quantile(block.samples_ns, (0.1, 0.5, 0.9)).tolist()
    load = block.before.load
    return BlockResult(
        started=block.started,
        calls=len(block.samples_ns),
        p10_ns=p10,
        median_ns=median,
        p90_ns=p90,
        steady=block.steady,
        load=None if load is None else load / (os.cpu_count() or 1),
        frequency_mhz=block.after.frequency_mhz,
        temperature_c=block.after.temperature_c,
    )


def percentile_of(
    evidence: Evidence, candidate: str, batch: int, p: float, level: float
) -> Estimate:
    """A percentile of the time of one call, in ns."""
    blocks = evidence.blocks_ns(candidate, batch)
    return evidence.estimate(batch, level, lambda at: percentile(blocks, p, at))


def throughput_of(evidence: Evidence, candidate: str, batch: int, level: float) -> Estimate:
    """Samples per second, one call after the other."""
    blocks = evidence.blocks_ns(candidate, batch)
    return evidence.estimate(batch, level, lambda at: mean_throughput(blocks, batch, at))


def speedup_over(
    evidence: Evidence, baseline: str, candidate: str, batch: int, level: float
) -> Estimate:
    """How many times faster `candidate` is than `baseline`, from blocks of the same rounds."""
    pairs = evidence.pairs_ns(baseline, candidate, batch)
    first, second = [one for one, _ in pairs], [other for _, other in pairs]
    return evidence.estimate(batch, level, lambda at: speedup(first, second, at))
