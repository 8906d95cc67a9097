"""Cells, tables and sections of a report, and how a figure is shown with what it rests on.

A figure that is not in the report is not made up here: a percentile without enough calls says how
many it would need.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgestill.quantities import count_text, digits, size_text, time_text
from edgestill.stats import SMALLEST_BLOCKS, Estimate, smallest_sample
from edgestill.verify.results import LatencyResult

_BUSY = 1.5  # processes per core; a training that has just ended leaves about one behind


@dataclass(frozen=True)
class Cell:
    """A figure or a word.

    Attributes:
        basis: what it rests on, shown less prominently.
    """

    text: str = ""
    basis: str = ""


@dataclass(frozen=True)
class Column:
    """Attributes:
    numeric: whether it is aligned to the right.
    """

    title: str
    numeric: bool = True


@dataclass(frozen=True)
class Section:
    """A heading, a table that may have no rows, and lines below it."""

    title: str
    columns: tuple[Column, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()
    lines: tuple[str, ...] = ()


def measured_percentile(latency: LatencyResult, percentile: str) -> Cell:
    """A percentile of one call's time, or what it would need: never a value without data."""
    found = latency.percentiles_ns.get(percentile)
    if found is None and percentile == "50":
        return Cell(ns_text(latency.median_ns), "no interval")
    if found is not None and found.count >= smallest_sample(float(percentile)):
        return figure(found, ns_text)
    needed = smallest_sample(float(percentile))
    return Cell("n/a", f"needs {needed} calls" if latency.calls < needed else "not reported")


def figure(estimate: Estimate, text: Callable[[float], str]) -> Cell:
    """A value above its interval."""
    return Cell(text(estimate.value), interval_text(estimate, text))


def interval_text(estimate: Estimate, text: Callable[[float], str]) -> str:
    """`[54.9, 55.8]` in the unit of the value; where an end has another one, both have theirs."""
    if estimate.interval is None:
        return "no interval"
    unit = _unit(text(estimate.value))
    ends = [text(end) for end in (estimate.interval.low, estimate.interval.high)]
    if all(_unit(end) == unit for end in ends):
        numbers = [end.removesuffix(unit).rstrip() for end in ends]
        decimals = max(len(number.partition(".")[2]) for number in numbers)
        ends = [_padded(number, decimals) for number in numbers]
    return f"[{', '.join(ends)}]"


def _unit(text: str) -> str:
    return re.sub(r"[-+]?[\d.]+(e[-+]\d+)?\s*", "", text, count=1)


def _padded(number: str, decimals: int) -> str:
    """`54` as `54.0` beside `56.8`, up to the three digits that a figure has."""
    if "e" in number:
        return number
    whole, _, fraction = number.partition(".")
    wanted = min(decimals, 3 - len(whole.lstrip("-0")))
    fraction = fraction.ljust(wanted, "0")
    return f"{whole}.{fraction}" if fraction else whole


def latencies(measured: Sequence[tuple[str, LatencyResult]]) -> Section:
    """Everything that was measured about some engines' time and memory, one row each."""
    seen = {name for _, latency in measured for name in latency.percentiles_ns}
    shown = sorted({"50", "95", "99", *seen}, key=float)
    columns = (
        Column("engine", numeric=False),
        *(Column(f"p{name}") for name in shown),
        Column("samples/s"),
        Column("first load"),
        Column("later loads"),
        Column("peak memory"),
        Column("calls"),
    )
    rows = tuple(
        (
            Cell(name),
            *(measured_percentile(latency, p) for p in shown),
            figure(latency.throughput, lambda value: digits(value, 4)),
            Cell(ns_text(latency.first_load_ns)),
            Cell(ns_text(latency.later_load_ns)),
            Cell(size_text(latency.memory_bytes)),
            Cell(f"{latency.calls:,}", f"{latency.blocks} blocks"),
        )
        for name, latency in measured
    )
    lines = [line for name, latency in measured for line in doubts(name, latency)]
    return Section("", columns, rows, (*noise_floors(measured), *lines))


def noise_floors(measured: Sequence[tuple[str, LatencyResult]]) -> list[str]:
    """How small a change of speed the blocks of each engine can tell from none."""
    known = [(name, found.noise_floor) for name, found in measured if found.noise_floor is not None]
    floors = ", ".join(f"{name} {floor:.1%}" for name, floor in known)
    return [f"Noise floor of the speed, each engine against itself: {floors}."] if known else []


def doubts(name: str, latency: LatencyResult) -> list[str]:
    """What makes a measurement less than it seems."""
    found = []
    if latency.blocks < SMALLEST_BLOCKS:
        blocks = count_text(latency.blocks, "block", "blocks")
        found.append(f"{name}: {blocks}; an interval needs {SMALLEST_BLOCKS}.")
    if latency.steady < 1:
        found.append(
            f"{name}: the warm-up settled in {latency.steady:.0%} of {latency.blocks} blocks only."
        )
    if latency.mismatches:
        wrong = count_text(latency.mismatches, "timed call", "timed calls")
        found.append(f"{name}: {wrong} of {latency.calls:,} gave another output than expected.")
    if latency.load is not None and latency.load > _BUSY:
        found.append(
            f"{name}: the machine was busy, {latency.load:.1f} processes for each of its cores."
        )
    return found


def ns_text(value: float) -> str:
    """A time in nanoseconds, such as `54.9 µs`."""
    return time_text(value / 1e9)


def seconds_text(seconds: float) -> str:
    """How long a step took."""
    if seconds >= 120:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds:.1f} s" if seconds >= 0.1 else time_text(seconds) if seconds else "0 s"
