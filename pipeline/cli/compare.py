"""`edgestill compare`."""

from __future__ import annotations

from pathlib import Path

import click

from edgestill.cli.options import budget_options, judgement_options, targets_option
from edgestill.cli.output import write_judgement
from edgestill.errors import ExitCode


@click.command(short_help="Compare two releases on this device, with a verdict on each change.")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@targets_option
@budget_options(score="what the new release allows int8")
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    help="Blocks of each engine at the first look; more follow until all is decided.",
)
@click.option(
    "--allow-code",
    is_flag=True,
    help="Let the new release's own metric run: that is code that came with it.",
)
@judgement_options
def command(
    old: Path,
    new: Path,
    targets: tuple[str, ...],
    rounds: int | None,
    allow_code: bool,
    shape: str,
    out: Path | None,
    **budgets: str | None,
) -> ExitCode:
    """Ask and time what OLD and NEW ship, on this device and NEW's evaluation set.

    Blocks of the two alternate, so that whatever slows the machine slows both. Each change for the
    worse is decided on its confidence interval: PASS, FAIL or INCONCLUSIVE.
    """
    from edgestill.api.compare import compare_releases
    from edgestill.report.comparison import judgement
    from edgestill.verify.budgets import Budgets

    found = compare_releases(
        old,
        new,
        targets=targets,
        budgets=Budgets.parse(budgets),
        rounds=rounds,
        allow_code=allow_code,
    )
    write_judgement(judgement(found), shape, out)
    return found.exit_code
