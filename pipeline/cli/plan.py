"""`edgestill plan`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgestill.cli.options import recipe_argument, set_option, store_option
from edgestill.cli.output import write_result
from edgestill.errors import ExitCode

if TYPE_CHECKING:
    from edgestill.api.plan import Outlook
    from edgestill.runner import Prospect


@click.command(short_help="Show what a run would do, and what it would reuse.")
@recipe_argument
@set_option
@store_option
@click.option("--explain", is_flag=True, help="Say which part of its key makes a step a miss.")
def command(recipe: str, overrides: tuple[str, ...], store: Path, explain: bool) -> ExitCode:
    """Show what a run of RECIPE, a file or a preset, would do. Nothing is computed.

    hit: the stored result is used. miss: the step runs. damaged: the stored result is broken and
    the step runs again. unknown: that depends on what a step before it gives. A measurement that
    is a hit goes on where it leaves a gate undecided.

    The exit code is 0, or what the run would end with for sure: 3 where this machine lacks what
    it needs.
    """
    from edgestill.api.plan import plan_recipe

    outlook = plan_recipe(recipe, overrides=overrides, store=store)
    write_result(describe(outlook, explain=explain))
    return outlook.exit_code


def describe(outlook: Outlook, *, explain: bool) -> str:
    """A line for each step, a summary, and what a user should know before a run."""
    lines = [*_steps(outlook.steps, explain)]
    told = [("warning", c.where, c.what, c.fix) for c in outlook.cautions]
    told += [("problem", str(h.where), h.what, str(h.fix)) for h in outlook.hindrances]
    lines += [f"\n{kind}: {where}: {what}\n         {fix}" for kind, where, what, fix in told]
    if outlook.exit_code:
        lines.append(f"\nA run would end before any work, exit code {int(outlook.exit_code)}")
    return "\n".join(lines)


def _steps(prospects: Sequence[Prospect], explain: bool) -> Iterator[str]:
    from edgestill.quantities import duration_text

    width = max((len(prospect.name) for prospect in prospects), default=0)
    for prospect in prospects:
        reasons = [*_reasons(prospect, explain)]
        if prospect.lasts_s:
            reasons.append(f"takes {duration_text(prospect.lasts_s)}")
        words = f"{prospect.state:<8} {prospect.name:<{width}}  "
        yield f"{words}{reasons[0] if reasons else ''}".rstrip()
        yield from (" " * len(words) + reason for reason in reasons[1:])
    counts = {
        state: sum(p.state == state for p in prospects)
        for state in ("hit", "miss", "damaged", "unknown")
    }
    missing = counts["miss"] + counts["damaged"]
    yield (
        f"\n{len(prospects)} steps: {counts['hit']} reused, {missing} to run, "
        f"{counts['unknown']} known once those before them have run"
    )
    if counts["miss"] and not explain:
        yield "--explain says why a step has to run"


def _reasons(prospect: Prospect, explain: bool) -> Sequence[str]:
    if prospect.state in ("unknown", "damaged"):
        return prospect.reasons
    if prospect.state == "hit" or not explain:
        return ()
    return prospect.reasons or ("no earlier result of this step",)
