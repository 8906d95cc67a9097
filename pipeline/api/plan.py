"""`edgestill plan`: what a run would do, without doing it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edgestill.api.cautions import Caution, cautions
from edgestill.api.opening import import_index, open_store
from edgestill.api.readiness import hindrances
from edgestill.api.series import measurements
from edgestill.arguments import Names, PathLike, as_names
from edgestill.console import Console
from edgestill.errors import EdgestillError, ExitCode
from edgestill.planner import make_plan
from edgestill.recipe import load_recipe
from edgestill.runner import Prospect, Runner
from edgestill.source_code import remembered_imports


@dataclass(frozen=True)
class Outlook:
    """What a run would do.

    Attributes:
        steps: each step and measurement of it.
        cautions: what nothing refuses, and what a user should know before.
        hindrances: what this machine lacks, so that a run would end before any work.
    """

    steps: tuple[Prospect, ...]
    cautions: tuple[Caution, ...]
    hindrances: tuple[EdgestillError, ...]

    @property
    def exit_code(self) -> ExitCode:
        """What a run would end with for sure; else 0, since nothing was decided."""
        codes = {hindrance.exit_code for hindrance in self.hindrances}
        order = (ExitCode.USAGE, ExitCode.ENVIRONMENT)
        return next((code for code in order if code in codes), ExitCode.PASSED)


def plan_recipe(
    recipe: PathLike,
    *,
    overrides: Names = (),
    store: PathLike | None = None,
    console: Console | None = None,
) -> Outlook:
    """Each step and measurement: whether its result is there, and if not what changed.

    Where something has to run, this machine is looked at too, whether it can.

    Raises:
        UsageError: the recipe is wrong, or a file of it is missing.
    """
    console = console or Console()
    loaded = load_recipe(recipe, as_names(overrides, "overrides"))
    plan, opened = make_plan(loaded), open_store(store, console)
    with remembered_imports(import_index(opened)):
        runner = Runner(plan, opened, console, Path(os.devnull))
        steps = runner.prospects()
        by_name = {prospect.name: prospect for prospect in steps}
        prospects = (*steps, *measurements(runner, by_name))
        lacking: tuple[EdgestillError, ...] = ()
        if any(prospect.state != "hit" for prospect in prospects):
            computes = any(prospect.state != "hit" for prospect in steps)
            lacking = tuple(hindrances(plan, computes=computes))
        return Outlook(prospects, tuple(cautions(runner)), lacking)
