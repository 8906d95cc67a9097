"""What a report says about throughput offline, and about latency where requests come at a rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from edgestill.quantities import count_text, digits, rate_text, size_text
from edgestill.report.figures import (
    Cell,
    Column,
    Section,
    figure,
    ns_text,
    percentile_cell,
    remarks,
    with_interval,
)
from edgestill.targets.blocks import Trial
from edgestill.verify.results import CandidateResult, OfflineResult, PacedResult

Loaded: TypeAlias = "OfflineResult | PacedResult"


def under_loads(candidate: CandidateResult) -> list[tuple[str, Loaded]]:
    """What was measured of a candidate under loads, by what it is called."""
    name = candidate.name
    offline = [(f"{name} offline", candidate.offline)] if candidate.offline is not None else []
    return [*offline, *((f"{name} at {rate_text(paced.rate)}", paced) for paced in candidate.paced)]


def load_line(name: str, found: Loaded) -> str:
    """What was found under a load."""
    if isinstance(found, OfflineResult):
        return f"{name}: {_served(found)}. {_search(found.trials)}"
    return f"{name}: {_waited(found)}."


def throughputs(measured: Sequence[tuple[str, OfflineResult]]) -> Section:
    """How many samples a second some engines serve offline, one row each."""
    columns = (
        Column("engine", numeric=False),
        Column("samples/s"),
        Column("batch"),
        Column("streams"),
        Column("peak memory"),
        Column("calls"),
    )
    rows = tuple(
        (
            Cell(name),
            figure(found.throughput, lambda value: digits(value, 4)),
            Cell(str(found.batch)),
            Cell(str(found.streams), f"of {count_text(found.threads, 'thread', 'threads')}"),
            Cell(size_text(found.memory_bytes)),
            Cell(f"{found.calls:,}", f"{found.blocks} blocks"),
        )
        for name, found in measured
    )
    lines = [f"{name}: {_search(found.trials)}" for name, found in measured]
    return Section("", columns, rows, (*lines, *remarks(measured)))


def paced_latencies(measured: Sequence[tuple[str, PacedResult]]) -> Section:
    """The time from arrival to answer of some engines, one row each."""
    seen = {name for _, found in measured for name in found.percentiles_ns}
    shown = sorted({"50", "95", "99", *seen}, key=float)
    columns = (
        Column("engine", numeric=False),
        *(Column(f"p{name}") for name in shown),
        Column("call alone"),
        Column("can serve"),
        Column("busy"),
        Column("requests"),
    )
    rows = tuple(
        (
            Cell(name),
            *(_percentile(found, p) for p in shown),
            Cell(ns_text(found.service_ns), "p50"),
            figure(found.capacity, rate_text),
            Cell(_busy(found)),
            Cell(f"{found.calls:,}", f"{found.blocks} blocks"),
        )
        for name, found in measured
    )
    lines = [
        f"{name}: {_overload(found)}." for name, found in measured if found.overloaded is not False
    ]
    return Section("", columns, rows, (*lines, *remarks(measured)))


def _served(found: OfflineResult) -> str:
    streams = count_text(found.streams, "stream", "streams")
    per_second = with_interval(found.throughput, lambda value: rate_text(value, 4))
    return f"{per_second} at batch {found.batch} in {streams}, n = {found.calls:,} calls"


def _search(trials: Sequence[Trial]) -> str:
    """`Tried were, in samples/s by batch, in 1 stream 1: 8000, 2: 9100; in 2 streams 1: 9500.`"""
    if not trials:
        return ""
    parts = []
    for number in dict.fromkeys(trial.streams for trial in trials):
        found = (trial for trial in trials if trial.streams == number)
        speeds = ", ".join(f"{trial.batch}: {_speed(trial)}" for trial in found)
        parts.append(f"in {count_text(number, 'stream', 'streams')} {speeds}")
    return f"Tried were, in samples/s by batch, {'; '.join(parts)}."


def _speed(trial: Trial) -> str:
    return f"failed ({trial.failure})" if trial.failure else digits(trial.per_second, 3)


def _waited(found: PacedResult) -> str:
    if found.overloaded is not False:
        return _overload(found)
    shown = [
        f"p{name} {with_interval(estimate, ns_text)}"
        for name, estimate in found.percentiles_ns.items()
    ]
    parts = [*shown, f"busy {_busy(found)} of the time", f"n = {found.calls:,} requests"]
    return ", ".join(parts)


def _busy(found: PacedResult) -> str:
    return f"{min(1.0, found.rate / found.capacity.value):.0%}"


def _overload(found: PacedResult) -> str:
    served = with_interval(found.capacity, rate_text)
    if found.overloaded:
        return (
            f"overloaded, {rate_text(found.rate)} come and {served} can be served: the queue grows "
            "without end, so no latency is typical"
        )
    given_up = f", and {found.unserved} were given up" if found.unserved else ""
    return (
        f"{rate_text(found.rate)} come, {served} can be served{given_up}: whether the queue grows "
        "without end is not certain, so no latency is given"
    )


def _percentile(found: PacedResult, percentile: str) -> Cell:
    if found.overloaded is not False:
        return Cell("n/a", "overloaded" if found.overloaded else "not certain")
    return percentile_cell(found.percentiles_ns.get(percentile), percentile, found.calls)
