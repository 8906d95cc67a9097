"""`edgestill report`."""

from __future__ import annotations

from pathlib import Path

import click

from edgestill.cli.options import release_argument
from edgestill.cli.output import write_report, write_result


@click.command(short_help="Show the report of a release again.")
@release_argument
@click.option(
    "--format",
    "shape",
    type=click.Choice(["terminal", "markdown", "json"]),
    default="terminal",
    show_default=True,
)
def command(release: Path, shape: str) -> None:
    """Show the report of RELEASE, or of the report file that `edgestill verify` wrote.

    Shows only: the exit code is 0 whatever the verdict was.
    """
    from edgestill.api.report import read_report

    report = read_report(release)
    if shape == "terminal":
        write_report(report, release=release if release.is_dir() else None)
    elif shape == "markdown":
        from edgestill.report.markdown import render

        write_result(render(report))
    else:
        write_result(report.to_json())
