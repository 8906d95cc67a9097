"""`edgestill store`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgestill.cli.options import store_option
from edgestill.cli.output import write_result

if TYPE_CHECKING:
    from edgestill.store import EntryInfo, Store

DEFAULT_KEEP_DAYS = 30.0


@click.group(short_help="List or clean up the stored results.", no_args_is_help=False)
def command() -> None:
    """List or clean up the stored results."""


@command.command("ls")
@store_option
def list_results(store: Path) -> None:
    """List the stored results, the one used last first."""
    opened = _open(store)
    write_result(describe(opened.entries(), opened.root, time.time()))


@command.command("gc")
@store_option
@click.option(
    "--keep-days",
    type=click.FloatRange(min=0),
    default=DEFAULT_KEEP_DAYS,
    show_default=True,
    help="Keep what was used within so many days.",
)
def clean_up(store: Path, keep_days: float) -> None:
    """Remove what was not used lately, and what killed runs left behind."""
    from edgestill.quantities import count_text, size_text

    opened = _open(store)
    freed = opened.gc(keep_days)
    kept = opened.entries()
    size = size_text(sum(entry.size_bytes for entry in kept))
    count = count_text(len(kept), "result", "results")
    stay = "stays" if len(kept) == 1 else "stay"
    write_result(f"freed {size_text(freed)}; {count}, {size}, {stay} in {opened.root}")


def _open(store: Path) -> Store:
    from edgestill.console import Console
    from edgestill.store import Store

    return Store(store, Console().say)


def describe(entries: list[EntryInfo], root: Path, now: float) -> str:
    """A line for each result, and their sum."""
    from edgestill.quantities import count_text, size_text
    from edgestill.report.figures import seconds_text

    width = max((len(entry.step) for entry in entries), default=0)
    lines = [
        f"{entry.step:<{width}}  {entry.key[:12]}  {size_text(entry.size_bytes):>8}  "
        f"{seconds_text(entry.seconds):>10} to compute, used {_ago(now - entry.last_used)}"
        for entry in entries
    ]
    total = size_text(sum(entry.size_bytes for entry in entries))
    lines.append(f"{count_text(len(entries), 'result', 'results')}, {total}, in {root}")
    return "\n".join(lines)


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        count = int(seconds // size)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
