"""Cells, tables and sections of a report, and how a figure is shown with what it rests on.

A figure that is not in the report is not made up here: a percentile without enough calls says how
many it would need.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from edgestill.quantities import count_text, digits, energy_text, size_text, time_text
from edgestill.stats import SMALLEST_BLOCKS, Estimate, smallest_sample
from edgestill.verify.results import Conditions, LatencyResult, OfflineResult, PacedResult

Measured: TypeAlias = "LatencyResult | OfflineResult | PacedResult"

_BUSY = 1.5  # processes per core; a training that has just ended leaves about one behind


@dataclass(frozen=True)
class Cell:
    """A figure or a word.

    Attributes:
        basis: what it rests on, shown less prominently.
        estimate: of which it is the text, for what is drawn beside it.
    """

    text: str = ""
    basis: str = ""
    estimate: Estimate | None = None


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

    def without_empty_columns(self) -> Section:
        """Without the columns in which nothing stands."""
        kept = [i for i, _ in enumerate(self.columns) if any(row[i].text for row in self.rows)]
        return replace(
            self,
            columns=tuple(self.columns[i] for i in kept),
            rows=tuple(tuple(row[i] for i in kept) for row in self.rows),
        )


def measured_percentile(latency: LatencyResult, percentile: str) -> Cell:
    """A percentile of one call's time, or what it would need: never a value without data."""
    found = latency.percentiles_ns.get(percentile)
    if found is None and percentile == "50":
        return Cell(ns_text(latency.median_ns), "no interval")
    return percentile_cell(found, percentile, latency.calls)


def percentile_cell(found: Estimate | None, percentile: str, calls: int) -> Cell:
    """A percentile of so many calls, where these carry one."""
    needed = smallest_sample(float(percentile))
    if found is not None and found.count >= needed:
        return figure(found, ns_text)
    return Cell("n/a", f"needs {needed} calls" if calls < needed else "not reported")


def figure(estimate: Estimate, text: Callable[[float], str]) -> Cell:
    """A value above its interval."""
    return Cell(text(estimate.value), interval_text(estimate, text), estimate)


def with_interval(estimate: Estimate, text: Callable[[float], str]) -> str:
    """`55.4 µs [54.9, 55.8]`, or `55.4 µs (no interval)`."""
    interval = interval_text(estimate, text)
    return f"{text(estimate.value)} {interval if estimate.interval else f'({interval})'}"


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
    return Section("", columns, rows, (*noise_floors(measured), *remarks(measured)))


def noise_floors(measured: Sequence[tuple[str, LatencyResult]]) -> list[str]:
    """How small a change of speed the blocks of each engine can tell from none."""
    known = [(name, found.noise_floor) for name, found in measured if found.noise_floor is not None]
    floors = ", ".join(f"{name} {floor:.1%}" for name, floor in known)
    return [f"Noise floor of the speed, each engine against itself: {floors}."] if known else []


def remarks(measured: Sequence[tuple[str, Measured]]) -> list[str]:
    """What makes measurements less than they seem, and what energy a sample took.

    What holds for several of them alike is told once, and so is that the machine was busy.
    """
    names: dict[str, list[str]] = {}
    for name, found in measured:
        for remark in _remarks(found):
            names.setdefault(remark, []).append(name)
    told = [f"{', '.join(some)}: {remark}." for remark, some in names.items()]
    return [*told, *_busy(measured)]


def _busy(measured: Sequence[tuple[str, Measured]]) -> list[str]:
    """In how many measurements the machine had other work, and how much."""
    loads = {name: found.conditions.load or 0.0 for name, found in measured}
    busy = {name: load for name, load in loads.items() if load > _BUSY}
    if not busy:
        return []
    least, most = (f"{load:.1f}" for load in (min(busy.values()), max(busy.values())))
    processes = least if least == most else f"{least} to {most}"
    names, words = ", ".join(busy), f"{processes} processes for each of its cores."
    if len(measured) == 1:
        return [f"{names}: the machine was busy, {words}"]
    of = count_text(len(measured), "measurement", "measurements")
    return [f"The machine was busy in {len(busy)} of {of} ({names}), {words}"]


def _remarks(measured: Measured) -> list[str]:
    found = []
    if measured.blocks < SMALLEST_BLOCKS:
        blocks = count_text(measured.blocks, "block", "blocks")
        found.append(f"{blocks}; an interval needs {SMALLEST_BLOCKS}")
    if measured.steady < 1:
        blocks = f"{measured.steady:.0%} of {measured.blocks} blocks"
        found.append(f"the warm-up settled in {blocks} only")
    if isinstance(measured, LatencyResult) and measured.mismatches:
        wrong = count_text(measured.mismatches, "timed call", "timed calls")
        found.append(f"{wrong} of {measured.calls:,} gave another output than expected")
    found += _disturbances(measured.conditions, measured.blocks)
    if energy := measured.energy:
        each = with_interval(energy.per_sample_j, energy_text)
        found.append(f"{each} a sample at {digits(energy.watts)} W ({energy.source})")
    return found


def _disturbances(conditions: Conditions, blocks: int) -> list[str]:
    """What slowed the machine while it was measured, or made it faster."""
    found = []
    if change := conditions.speed_change:
        factor = change.after_ns / change.before_ns
        found.append(
            f"the device changed its speed in the middle: {ns_text(change.before_ns)} in the first "
            f"{change.block} of {blocks} blocks, {ns_text(change.after_ns)} in the later ones, "
            f"{max(factor, 1 / factor):.2f}x as {'slow' if factor > 1 else 'fast'}"
        )
    if conditions.slowed_blocks:
        found.append(
            f"it was slowed for its temperature or power in {conditions.slowed_blocks} of {blocks} "
            "blocks"
        )
    if conditions.held_blocks and conditions.held_ns is not None:
        found.append(
            f"its control group held it back in {conditions.held_blocks} of {blocks} blocks, for "
            f"{ns_text(conditions.held_ns)} in all (the quota of processor time is used up)"
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
