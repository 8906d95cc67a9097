"""`edgestill doctor`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgestill.cli.group import Settings
from edgestill.cli.options import set_option, store_option
from edgestill.cli.output import write_result
from edgestill.errors import ExitCode

if TYPE_CHECKING:
    from edgestill.api.doctor import Diagnosis, Finding


@click.command(short_help="Find what is wrong with this machine, or with a recipe on it.")
@click.argument("recipe", required=False)
@set_option
@store_option
@click.pass_obj
def command(
    settings: Settings, recipe: str | None, overrides: tuple[str, ...], store: Path
) -> ExitCode:
    """Look at the installed versions and the targets of this machine.

    With RECIPE, also try it without training: its data is read, and a few samples go through
    models, losses, exporter, quantization, every target's compiler and the runtimes that are here.
    """
    from edgestill.api.doctor import diagnose

    diagnosis = diagnose(recipe, overrides=overrides, store=store)
    if settings.debug:
        _show_tracebacks(diagnosis)
    write_result(describe(diagnosis))
    return diagnosis.exit_code


def _show_tracebacks(diagnosis: Diagnosis) -> None:
    import traceback

    for error in dict.fromkeys(finding.error for finding in diagnosis.findings):
        if error is not None:
            click.echo("".join(traceback.format_exception(error)).rstrip(), err=True)


def describe(diagnosis: Diagnosis) -> str:
    """A line for each finding with its fix below it, and how many need attention.

    Steps that were not tried for one reason share a line.
    """
    from edgestill.quantities import count_text

    lines = []
    for group in _alike(diagnosis.findings):
        subjects = ", ".join(finding.subject for finding in group)
        lines.append(f"{group[0].state.value:<8} {subjects}: {group[0].found}")
        if group[0].fix:
            lines.append(f"{'':<8} {group[0].fix}")
    counts = {
        word: sum(finding.state.value == word for finding in diagnosis.findings)
        for word in ("problem", "warning")
    }
    summary = [count_text(counts[word], word, f"{word}s") for word in ("problem", "warning")]
    lines.append(f"\n{', '.join(summary)}")
    return "\n".join(lines)


def _alike(findings: Sequence[Finding]) -> Iterator[tuple[Finding, ...]]:
    """Neighbours that differ in nothing but their subject, where nothing came of them."""

    def sameness(place: tuple[int, Finding]) -> object:
        index, finding = place
        absent = finding.state.value == "absent"
        return (finding.found, finding.fix) if absent else index

    for _, group in groupby(enumerate(findings), key=sameness):
        yield tuple(finding for _, finding in group)
