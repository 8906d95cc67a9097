"""Budgets, and how they are measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from edgestill.config import config
from edgestill.quantities import rate_text
from edgestill.targets.blocks import MeasureConfig as TimingConfig
from edgestill.targets.blocks import Mode
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
    """A budget on a percentile of the time of one call.

    Attributes:
        rate: calls come so often, at random times, and the time that one waits counts; without it,
            each comes when the one before is answered.
    """

    at_most: Seconds
    percentile: Annotated[float, Field(gt=0, lt=100)] = 95
    batch: Batch = 1
    rate: PerSecond | None = None


@config
class ThroughputGate:
    """A budget on samples per second.

    Attributes:
        mode: one call after the other, or `offline`: all samples are there, and the batch size and
            the number of calls at once are those that serve most.
    """

    at_least: PerSecond
    batch: Batch = 1
    mode: Literal["single", "offline"] = "single"


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


# What is tried for the best throughput.
LARGEST_BATCH = 64
# Of one block, where they arrive at a rate: fewer would hardly ever meet in the queue.
PACED_CALLS = 50


@dataclass(frozen=True)
class Load:
    """How requests come to a device, other than one after the other.

    Attributes:
        batch: samples of a request; offline, of the largest call that is tried.
        rate: requests a second.
    """

    mode: Mode
    batch: int
    rate: float | None = None

    def __str__(self) -> str:
        if self.rate is None:
            return "offline"
        return f"at {rate_text(self.rate)}" + (f" batch {self.batch}" if self.batch > 1 else "")


OFFLINE = Load("offline", LARGEST_BATCH)


def load_text(load: int | Load) -> str:
    """A batch size, one call after the other, or a load: `at batch 1`, `offline`."""
    return f"at batch {load}" if isinstance(load, int) else str(load)


def load_of(gate: Any) -> Load | None:
    """The load that a gate is decided under; None for all that asks for nothing else than calls."""
    if isinstance(gate, LatencyGate) and gate.rate is not None:
        return Load("paced", gate.batch, gate.rate)
    return OFFLINE if isinstance(gate, ThroughputGate) and gate.mode == "offline" else None


def measured_batches(measure: MeasureConfig, gates: tuple[tuple[str, Any], ...]) -> tuple[int, ...]:
    """Every batch size that has to be measured, the one for the choice first."""
    sizes = [gate.batch for _, gate in gates if hasattr(gate, "batch") and load_of(gate) is None]
    return tuple(dict.fromkeys([measure.batch, *sizes]))


def measured_loads(gates: tuple[tuple[str, Any], ...]) -> tuple[Load, ...]:
    """Every load that has to be measured."""
    loads = (load_of(gate) for _, gate in gates)
    return tuple(dict.fromkeys(load for load in loads if load is not None))


def timing(measure: MeasureConfig, threads: int, load: int | Load) -> TimingConfig:
    """How the timing loop measures at a batch size, or under a load."""
    under = Load("single", load) if isinstance(load, int) else load
    return TimingConfig(
        rounds=measure.rounds,
        batch=under.batch,
        threads=threads,
        block_seconds=measure.block,
        min_calls=PACED_CALLS if under.mode == "paced" else TimingConfig.min_calls,
        time_limit_s=measure.time_limit,
        mode=under.mode,
        rate=under.rate,
    )


@config
class EvaluateStep:
    """How candidates are run."""

    threads: int
