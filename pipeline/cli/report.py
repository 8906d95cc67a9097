"""`edgestill report`."""

from __future__ import annotations

from pathlib import Path

import click

from edgestill.cli.options import format_options, release_argument
from edgestill.cli.output import write_file, write_report, write_result
from edgestill.report.formats import FORMATS, render


@click.command(short_help="Show the report of a release again.")
@release_argument
@format_options(
    list(FORMATS),
    "github is for its log: annotations, and nothing where all is well.",
    "Write it to this file instead of showing it.",
)
def command(release: Path, shape: str, out: Path | None) -> None:
    """Show the report of RELEASE, or of the report file that `edgestill verify` wrote.

    Shows only: the exit code is 0 whatever the verdict was.
    """
    from edgestill.api.report import read_report

    report = read_report(release)
    if out is not None:
        write_file(out, render(report, shape))
    elif shape == "terminal":
        write_report(report, release=release if release.is_dir() else None)
    else:
        write_result(render(report, shape))
