"""`edgestill baseline`."""

from __future__ import annotations

from pathlib import Path

import click

from edgestill.cli.options import budget_options, judgement_options
from edgestill.cli.output import write_judgement, write_result
from edgestill.errors import ExitCode

report_argument = click.argument("report", type=click.Path(path_type=Path))

file_option = click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("baseline.json"),
    show_default=True,
    help="Where accepted figures stand; commit it.",
)


@click.group(short_help="Accept figures, or hold a report against them.", no_args_is_help=False)
def command() -> None:
    """Accept the figures of a release, or hold a later report against them.

    Figures belong to the machine that they were measured on: on another one there is no comparable
    baseline, which is inconclusive and never a pass.
    """


@command.command("accept")
@report_argument
@file_option
@click.option("--reason", required=True, help="Why these figures may count; stands in the file.")
def accept(report: Path, file: Path, reason: str) -> None:
    """Accept what REPORT found: a release, or the file that `edgestill verify` wrote.

    An entry of the same release, target, precision and machine is replaced, and is shown.
    """
    from edgestill.api.baseline import accept_baseline
    from edgestill.baseline.accept import changed_figures

    accepted = accept_baseline(report, reason=reason, file=file)
    for entry, former in accepted.entries:
        what = f"{entry.release} on {entry.target} {entry.precision}, {entry.device_name}"
        write_result(f"accepted in {file}: {what}")
        if former is not None:
            write_result(f"  in place of what was accepted {former.accepted}: {former.reason}")
            for change in changed_figures(former, entry):
                write_result(f"  {change}")
    if accepted.undecided:
        write_result(
            f"warning: the report did not decide {', '.join(accepted.undecided)}: nothing shows "
            "that these figures keep their budgets. What is open on time, another run measures on"
        )


@command.command("check")
@report_argument
@file_option
@budget_options(score="0.5pp")
@judgement_options
def check(
    report: Path, file: Path, shape: str, out: Path | None, **budgets: str | None
) -> ExitCode:
    """Hold REPORT against what was accepted on its machine, with a verdict on each figure."""
    from edgestill.api.baseline import check_baseline
    from edgestill.verify.budgets import Budgets

    found = check_baseline(report, file=file, budgets=Budgets.parse(budgets))
    write_judgement(found.judgement(str(file)), shape, out)
    return found.exit_code
