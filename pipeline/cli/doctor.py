"""`edgestill doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgestill.cli.options import set_option, store_option
from edgestill.cli.output import write_result
from edgestill.errors import ExitCode

if TYPE_CHECKING:
    from edgestill.api.doctor import Diagnosis


@click.command(short_help="Find what is wrong with this machine, or with a recipe on it.")
@click.argument("recipe", required=False)
@set_option
@store_option
def command(recipe: str | None, overrides: tuple[str, ...], store: Path) -> ExitCode:
    """Look at the installed versions and the targets of this machine.

    With RECIPE, also try it without training: its data is read, and one batch goes through its
    models, losses and exporter.
    """
    from edgestill.api.doctor import diagnose

    diagnosis = diagnose(recipe, overrides=overrides, store=store)
    write_result(describe(diagnosis))
    return diagnosis.exit_code


def describe(diagnosis: Diagnosis) -> str:
    """A line for each finding with its fix below it, and how many need attention."""
    lines = []
    for finding in diagnosis.findings:
        lines.append(f"{finding.state.value:<8} {finding.subject}: {finding.found}")
        if finding.fix:
            lines.append(f"{'':<8} {finding.fix}")
    counts = {
        word: sum(finding.state.value == word for finding in diagnosis.findings)
        for word in ("problem", "warning")
    }
    lines.append(f"\n{counts['problem']} problems, {counts['warning']} warnings")
    return "\n".join(lines)
