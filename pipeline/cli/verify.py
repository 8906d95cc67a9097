"""`edgestill verify`."""

from __future__ import annotations

from pathlib import Path

import click

from edgestill.cli.options import release_argument, targets_option
from edgestill.cli.output import announce, write_report
from edgestill.errors import ExitCode


@click.command(short_help="Check a release on this device: accuracy, latency, size.")
@release_argument
@targets_option
@click.option(
    "--allow-code",
    is_flag=True,
    help="Let the release's own metric run: that is code that came with it.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where the report goes, without its suffix.  [default: RELEASE.verify]",
)
def command(
    release: Path, targets: tuple[str, ...], allow_code: bool, out: Path | None
) -> ExitCode:
    """Check RELEASE on this device, and decide its gates again from what is found here."""
    from edgestill.api.verify import report_place, verify_release

    report = verify_release(release, targets=targets, allow_code=allow_code, out=out)
    place, here = report_place(release, out), Path.cwd()
    write_report(report, written=place.relative_to(here) if place.is_relative_to(here) else place)
    announce(report)
    return report.exit_code
