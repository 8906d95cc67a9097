"""Budgets, and how they are measured."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from edgestill.config import config
from edgestill.targets.blocks import MeasureConfig as TimingConfig
from edgestill.units import Bytes, Factor, PerSecond, Score, Seconds

BASELINE = "teacher"  # the candidate whose speed a speed-up is measured against
FLOAT = "fp32"  # the candidate that others are compared with

Batch = Annotated[int, Field(gt=0)]


@config
class ScoreGate:
    """A budget on the task's metric, decided on the test split.

    Attributes:
        drop_vs: the model whose score is the reference; the drop is in points of the metric.
        at_most: the largest drop with `drop_vs`; else the largest score (for errors such as mae).
        at_least: the smallest score.
    """

    drop_vs: Literal["teacher", "student"] | None = None
    at_most: Score | None = None
    at_least: Score | None = None


@config
class AgreementGate:
    """A budget on how often the shipped model answers as another model does."""

    at_least: Score
    vs: Literal["teacher", "student"] = "teacher"


@config
class LatencyGate:
    """A budget on a percentile of the time of one call."""

    at_most: Seconds
    percentile: Annotated[float, Field(gt=0, lt=100)] = 95
    batch: Batch = 1


@config
class ThroughputGate:
    """A budget on samples per second, one call after the other."""

    at_least: PerSecond
    batch: Batch = 1


@config
class SpeedupGate:
    """A budget on the ratio of median latencies, measured interleaved on one device."""

    at_least: Factor
    over: Literal["teacher", "student"] = "teacher"
    batch: Batch = 1


@config
class SizeGate:
    """A budget on the bytes that are shipped."""

    at_most: Bytes


@config
class MemoryGate:
    """A budget on the peak resident memory of the process that runs the model."""

    at_most: Bytes


@config
class MeasureConfig:
    """How latency is measured.

    Attributes:
        rounds: blocks of each candidate, interleaved, at the first look; fewer than 12 give no
            interval. While a gate on time is open, a look follows at twice as many, and so on.
        decide_within: how long that may take for each target and batch size; the look that a run
            begins with is taken however long it takes.
        batch: samples per call where no gate says otherwise; choices are made on it.
        block: how long the timed calls of one block take together, at least.
        level: the confidence of every interval.
        time_limit: how long a load or a call may take before its block is given up.
    """

    rounds: Annotated[int, Field(ge=1)] = 12
    batch: Batch = 1
    block: Seconds = 0.06
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    time_limit: Seconds = 60.0
    decide_within: Seconds = 60.0


# Gates that every task has; any other name of a gate is a metric of the task, with a ScoreGate.
GATE_CONFIGS = {
    "agreement": AgreementGate,
    "latency": LatencyGate,
    "throughput": ThroughputGate,
    "speedup": SpeedupGate,
    "size": SizeGate,
    "memory": MemoryGate,
}


def measured_batches(measure: MeasureConfig, gates: tuple[tuple[str, Any], ...]) -> tuple[int, ...]:
    """Every batch size that has to be measured, the one for the choice first."""
    sizes = [gate.batch for _, gate in gates if hasattr(gate, "batch")]
    return tuple(dict.fromkeys([measure.batch, *sizes]))


def timing(measure: MeasureConfig, threads: int, batch: int) -> TimingConfig:
    """How the timing loop measures at one of them."""
    return TimingConfig(
        rounds=measure.rounds,
        batch=batch,
        threads=threads,
        block_seconds=measure.block,
        time_limit_s=measure.time_limit,
    )


@config
class EvaluateStep:
    """How candidates are run."""

    threads: int
