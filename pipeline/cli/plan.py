"""`edgestill plan`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgestill.cli.options import recipe_argument, set_option, store_option
from edgestill.cli.output import write_result

if TYPE_CHECKING:
    from edgestill.runner import Prospect


@click.command(short_help="Show what a run would do, and what it would reuse.")
@recipe_argument
@set_option
@store_option
@click.option("--explain", is_flag=True, help="Say which part of its key makes a step a miss.")
def command(recipe: str, overrides: tuple[str, ...], store: Path, explain: bool) -> None:
    """Show what a run of RECIPE, a file or a preset, would do. Nothing is computed.

    hit: the stored result is used. miss: the step runs. damaged: the stored result is broken and
    the step runs again. unknown: that depends on what a step before it gives. A measurement that
    is a hit goes on where it leaves a gate undecided.
    """
    from edgestill.api.plan import plan_recipe

    prospects = plan_recipe(recipe, overrides=overrides, store=store)
    write_result(describe(prospects, explain=explain))


def describe(prospects: Sequence[Prospect], *, explain: bool) -> str:
    """A line for each step, and a summary."""
    width = max((len(prospect.name) for prospect in prospects), default=0)
    lines = []
    for prospect in prospects:
        reasons = _reasons(prospect, explain)
        words = f"{prospect.state:<8} {prospect.name:<{width}}  "
        lines.append(f"{words}{reasons[0] if reasons else ''}".rstrip())
        lines += [" " * len(words) + reason for reason in reasons[1:]]
    counts = {
        state: sum(p.state == state for p in prospects)
        for state in ("hit", "miss", "damaged", "unknown")
    }
    missing = counts["miss"] + counts["damaged"]
    lines.append(
        f"\n{len(prospects)} steps: {counts['hit']} reused, {missing} to run, "
        f"{counts['unknown']} known once those before them have run"
    )
    if counts["miss"] and not explain:
        lines.append("--explain says why a step has to run")
    return "\n".join(lines)


def _reasons(prospect: Prospect, explain: bool) -> Sequence[str]:
    if prospect.state in ("unknown", "damaged"):
        return prospect.reasons
    if prospect.state == "hit" or not explain:
        return ()
    return prospect.reasons or ("no earlier result of this step",)
