"""`edgestill store`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgestill.cli.options import store_option
from edgestill.cli.output import write_result

if TYPE_CHECKING:
    from edgestill.store import EntryInfo, FactsInfo, Store

DEFAULT_KEEP_DAYS = 30.0


@click.group(short_help="List or clean up stored results and measurements.", no_args_is_help=False)
def command() -> None:
    """List or clean up what is stored."""


@command.command("ls")
@store_option
def list_results(store: Path) -> None:
    """List the stored results and measurements, those used last first."""
    opened = _open(store)
    now = time.time()
    lines = [*_lines(opened.entries(), opened.all_facts(), now), _sum(opened)]
    write_result("\n".join(lines))


@command.command("gc")
@store_option
@click.option(
    "--keep-days",
    type=click.FloatRange(min=0),
    default=DEFAULT_KEEP_DAYS,
    show_default=True,
    help="Keep what was used within so many days.",
)
@click.option("--dry-run", is_flag=True, help="Only list what would go.")
def clean_up(store: Path, keep_days: float, dry_run: bool) -> None:
    """Remove what was not used lately, and what killed runs left behind."""
    from edgestill.quantities import size_text

    opened = _open(store)
    if dry_run:
        found = opened.collectable(keep_days)
        entries = [entry for entry in opened.entries() if entry.key in found.keys]
        facts = [info for info in opened.all_facts() if info.key in found.keys]
        would = f"would free {size_text(found.size_bytes)}; now {_sum(opened)}"
        write_result("\n".join([*_lines(entries, facts, time.time()), would]))
    else:
        freed = opened.gc(keep_days)
        write_result(f"freed {size_text(freed)}; left are {_sum(opened)}")


def _open(store: Path) -> Store:
    from edgestill.console import Console
    from edgestill.store import Store

    return Store(store, Console().say)


def _lines(entries: Sequence[EntryInfo], facts: Sequence[FactsInfo], now: float) -> Iterator[str]:
    """A line for each result and for each measurement."""
    from edgestill.quantities import count_text, size_text
    from edgestill.report.figures import seconds_text

    infos: list[EntryInfo | FactsInfo] = [*entries, *facts]
    names = {info.key: info.step or "measure" for info in infos}
    width = max(map(len, names.values()), default=0)

    def line(info: EntryInfo | FactsInfo, took: str) -> str:
        named = f"{names[info.key]:<{width}}  {info.key[:12]}  {size_text(info.size_bytes):>8}"
        return f"{named}  {took:>21}, used {_ago(now - info.last_used)}"

    yield from (line(entry, f"{seconds_text(entry.seconds)} to compute") for entry in entries)
    yield from (line(info, count_text(info.records, "round", "rounds")) for info in facts)


def _sum(store: Store) -> str:
    """`27 results, 4.1 MB, and 3 measurements, 120 kB, in .edgestill`."""
    from edgestill.quantities import count_text, size_text

    entries, facts = store.entries(), store.all_facts()
    results = count_text(len(entries), "result", "results")
    measured = count_text(len(facts), "measurement", "measurements")
    sizes = [size_text(sum(info.size_bytes for info in infos)) for infos in (entries, facts)]
    return f"{results}, {sizes[0]}, and {measured}, {sizes[1]}, in {store.root}"


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        count = int(seconds // size)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
