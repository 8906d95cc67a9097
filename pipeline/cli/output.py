"""Results on standard output: as wide and as colourful as it is, whoever reads it."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgestill.errors import UsageError

if TYPE_CHECKING:
    from edgestill.report.judgement import Judgement
    from edgestill.report.model import Report

# For terminals and logs that know no Unicode.
_PLAIN = str.maketrans({"µ": "u", "×": "x", "─": "-", "·": "-", "→": "->", "…": "...", "└": "`"})
_WIDTHS = (60, 120)
_WIDTH_OF_A_LOG = 100


def write_result(text: str) -> None:
    """Write to standard output; where the reader has left, let it go (the exit code stays)."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_PLAIN).encode(encoding, "replace").decode(encoding)
    try:
        click.echo(text.rstrip("\n"))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write_file(file: Path, text: str) -> None:
    """Write a result into a file instead.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"the report cannot be written ({error.strerror})",
            where=str(file),
            fix="Name another place with --out",
        ) from error


def output_width() -> int:
    """Columns to fill."""
    narrowest, widest = _WIDTHS
    columns = shutil.get_terminal_size((_WIDTH_OF_A_LOG, 24)).columns
    return min(max(columns, narrowest), widest)


def output_in_color() -> bool:
    """Whether standard output is a terminal whose user has not asked for no colour."""
    return (
        sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def write_report(
    report: Report | Judgement, *, release: Path | None = None, written: Path | None = None
) -> None:
    """Write a report to standard output, as `edgestill.report.terminal.render` has it."""
    from edgestill.report.terminal import render

    text = render(
        report, width=output_width(), color=output_in_color(), release=release, written=written
    )
    write_result(text)


def write_judgement(found: Judgement, shape: str, out: Path | None) -> None:
    """Write a comparison or a check where it is wanted, and where a step of GitHub shows it.

    A file comes last: what took minutes to measure has been seen where it cannot be written.
    """
    from edgestill.report.formats import render

    if out is not None or shape == "terminal":
        write_report(found)
    else:
        write_result(render(found, shape))
    announce(found)
    if out is not None:
        write_file(out, render(found, shape))


def in_github() -> bool:
    """Whether this is a step of a workflow in GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def announce(found: Report | Judgement) -> None:
    """In a step of GitHub Actions: annotations in its log, and all of it as its summary.

    What was found stays found where one of them cannot be written: the exit code is the verdict's.
    """
    if not in_github():
        return
    from edgestill.report.github import MOST_IN_SUMMARY, render, summary

    name = os.environ.get("GITHUB_STEP_SUMMARY")
    with suppress(OSError):
        click.echo(render(found), err=True, nl=False)
    try:
        if name:
            with Path(name).open("ab") as file:  # other commands of the step have written, too
                file.write(summary(found, MOST_IN_SUMMARY - file.tell()).encode())
    except OSError as error:
        with suppress(OSError):
            why = f"the step's summary cannot be written ({error.strerror})"
            click.echo(f"{why}: {name}", err=True)
