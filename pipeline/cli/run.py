"""`edgestill run`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from edgestill.cli.options import recipe_argument, set_option, store_option, targets_option
from edgestill.cli.output import announce, write_report
from edgestill.errors import ExitCode


@click.command(short_help="Build, verify and release what a recipe describes.")
@recipe_argument
@set_option
@targets_option
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the release goes.  [default: dist/NAME]",
)
@store_option
@click.option("--fresh", is_flag=True, help="Measure again, whatever was measured before.")
def command(
    recipe: str,
    overrides: tuple[str, ...],
    targets: tuple[str, ...],
    out: Path | None,
    store: Path,
    fresh: bool,
) -> ExitCode:
    """Build, verify and release what RECIPE, a file or a preset, describes.

    What was computed before is reused, and what is interrupted goes on the next time.
    """
    from edgestill.api.run import run_recipe
    from edgestill.companions import accompany, is_companion

    if is_companion():
        accompany(store / "logs" / f"companion-{os.getpid()}.log")
        return ExitCode.PASSED
    report = run_recipe(
        recipe, overrides=overrides, targets=targets, out=out, store=store, fresh=fresh
    )
    write_report(report, release=out or Path("dist") / report.name)
    announce(report)
    return report.exit_code
