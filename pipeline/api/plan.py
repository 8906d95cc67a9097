"""`edgestill plan`: what a run would do, without doing it."""

from __future__ import annotations

import os
from pathlib import Path

from edgestill.api.opening import import_index, open_store
from edgestill.api.series import measurements
from edgestill.arguments import Names, PathLike, as_names
from edgestill.console import Console
from edgestill.planner import make_plan
from edgestill.recipe import load_recipe
from edgestill.runner import Prospect, Runner
from edgestill.source_code import remembered_imports


def plan_recipe(
    recipe: PathLike,
    *,
    overrides: Names = (),
    store: PathLike | None = None,
    console: Console | None = None,
) -> tuple[Prospect, ...]:
    """Each step and measurement: whether its result is there, and if not what changed.

    Raises:
        UsageError: the recipe is wrong, or a file of it is missing.
    """
    console = console or Console()
    loaded = load_recipe(recipe, as_names(overrides, "overrides"))
    plan, opened = make_plan(loaded), open_store(store, console)
    with remembered_imports(import_index(opened)):
        runner = Runner(plan, opened, console, Path(os.devnull))
        steps = runner.prospects()
        return (*steps, *measurements(runner, {prospect.name: prospect for prospect in steps}))
