"""From rounds that were measured under a load to figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from statistics import fmean

import numpy
from numpy.typing import NDArray

from edgestill.stats import Estimate, mean_throughput, percentile, smallest_sample, throughput
from edgestill.targets.blocks import MOST_ARRIVALS, Block, lead_in_of
from edgestill.verify.conditions import conditions_of
from edgestill.verify.config import Load
from edgestill.verify.energy import energy_of
from edgestill.verify.evidence import Evidence
from edgestill.verify.latency import SHOWN_PERCENTILES
from edgestill.verify.results import OfflineResult, PacedResult


def offline(evidence: Evidence, candidate: str, load: Load, level: float) -> OfflineResult | None:
    """The samples a second of one candidate; None when it was not measured."""
    blocks = evidence.blocks(candidate, load)
    if not blocks or load.mode != "offline":
        return None
    batch = blocks[0].batch
    elapsed_ns = [block.elapsed_ns for block in blocks if block.elapsed_ns is not None]
    calls = [len(block.samples_ns) for block in blocks]
    return OfflineResult(
        batch=batch,
        streams=blocks[0].streams,
        threads=evidence.rounds[load][0].threads,
        throughput=evidence.estimate(
            load, level, lambda at: throughput(elapsed_ns, calls, batch, at)
        ),
        trials=evidence.trials(candidate, load),
        calls=sum(calls),
        blocks=len(blocks),
        steady=fmean(block.steady for block in blocks),
        memory_bytes=max(block.peak_rss_bytes for block in blocks),
        conditions=conditions_of(blocks),
        energy=energy_of(blocks, level),
    )


def paced(
    evidence: Evidence,
    candidate: str,
    load: Load,
    level: float,
    extra: Iterable[float] = (),
) -> PacedResult | None:
    """The latency of one candidate under a rate; None when it was not measured.

    Args:
        extra: percentiles to give beside the usual ones.
    """
    blocks = evidence.blocks(candidate, load)
    if not blocks or load.rate is None:
        return None
    samples = [_array(block.samples_ns) for block in blocks]
    services = [_array(block.service_ns) for block in blocks]
    calls = sum(len(block) for block in samples)
    capacity = evidence.estimate(load, level, lambda at: mean_throughput(services, 1, at))
    overloaded = _overloaded(capacity, load.rate, blocks)
    if overloaded is False and _still_fills(blocks, capacity, load.rate):
        overloaded = None
    supported: list[float] = []
    if overloaded is False:
        wanted = sorted({*SHOWN_PERCENTILES, *extra})
        supported = [p for p in wanted if calls >= smallest_sample(p)]
    return PacedResult(
        batch=load.batch,
        threads=evidence.rounds[load][0].threads,
        rate=load.rate,
        capacity=capacity,
        overloaded=overloaded,
        percentiles_ns={
            f"{p:g}": evidence.estimate(load, level, partial(percentile, samples, p))
            for p in supported
        },
        service_ns=float(numpy.median(numpy.concatenate(services))),
        calls=calls,
        blocks=len(blocks),
        steady=fmean(block.steady for block in blocks),
        unserved=sum(block.unserved for block in blocks),
        conditions=conditions_of(blocks),
        energy=energy_of(blocks, level),
    )


def _overloaded(capacity: Estimate, rate: float, blocks: Sequence[Block]) -> bool | None:
    """Whether the queue grows without end: it does where more requests arrive than can be served.

    A queue has a steady state if and only if the rate is below what can be served (Loynes 1962).
    Without an interval, the value and the queues that were given up have to agree.
    """
    gave_up = any(block.unserved for block in blocks)
    interval = capacity.interval
    low, high = (interval.low, interval.high) if interval else (capacity.value, capacity.value)
    if high <= rate and (interval or gave_up):
        return True
    return False if low > rate and not gave_up else None


def longer_blocks_s(evidence: Evidence, candidate: str, found: PacedResult) -> float | None:
    """How long a block has to take, in seconds, for its queue to be grown before calls count:
    infinity where no block can be so long, None where that is not what blocks lack."""
    load = Load("paced", found.batch, found.rate)
    blocks = evidence.blocks(candidate, load)
    certain = _overloaded(found.capacity, found.rate, blocks) is False
    if not certain or not _still_fills(blocks, found.capacity, found.rate):
        return None
    counted = 2 * _filling_arrivals(blocks, found.capacity, found.rate)
    return counted / found.rate if counted <= MOST_ARRIVALS else math.inf


def _still_fills(blocks: Sequence[Block], capacity: Estimate, rate: float) -> bool:
    fewest = min(len(block.samples_ns) for block in blocks)
    return lead_in_of(fewest) < _filling_arrivals(blocks, capacity, rate)


def _filling_arrivals(blocks: Sequence[Block], capacity: Estimate, rate: float) -> int:
    """How many requests come until a queue that begins empty is about as long as it will be.

    In times of a call, 1.4 times the relaxation time (C_a^2 + C_s^2) / 2.8 / (1 - sqrt(busy))^2 of
    Odoni and Roth (Operations Research 31 (1983), 432-455), where C_a is 1, that of a Poisson
    process, and C_s that of the calls. Percentiles of what comes after it are within a few percent
    of those of an endless queue (simulated in tests/verify/test_loads.py); of blocks that are too
    short p95 is a third too low where the device is busy for 90 % of the time.
    """
    services = numpy.concatenate([_array(block.service_ns) for block in blocks])
    variation = float(services.var()) / float(services.mean()) ** 2
    busy = rate / capacity.value
    return math.ceil(busy * (1 + variation) / 2 / (1 - math.sqrt(busy)) ** 2)


def _array(times_ns: Sequence[int]) -> NDArray[numpy.int64]:
    return numpy.asarray(times_ns, numpy.int64)
