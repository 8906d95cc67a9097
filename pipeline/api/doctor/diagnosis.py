"""From a machine, and a recipe if one is given, to a diagnosis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgestill.api.doctor import machine
from edgestill.api.doctor.findings import Diagnosis, Finding, State, problems
from edgestill.arguments import Names, PathLike, as_names
from edgestill.errors import EdgestillError

if TYPE_CHECKING:
    from edgestill.console import Console


def diagnose(
    recipe: PathLike | None = None,
    *,
    overrides: Names = (),
    store: PathLike | None = None,
    console: Console | None = None,
) -> Diagnosis:
    """Look at versions, conflicts and targets; with a recipe, also try it without training.

    Its data is read and split, and one batch goes through its models, losses and exporter. What
    that computes is kept in the store, so that a run does not compute it again. Then a few samples
    go the whole way, in a folder that is thrown away: one step of training, int8, every target's
    compiler, and its runtime where this machine verifies it. Gates are not judged.

    Args:
        recipe: a file, or the name of a preset.
        overrides: `key.path=value`, as in `distill.epochs=5`.
        store: where results are kept; by default `$EDGESTILL_STORE` or `.edgestill`.
    """
    overrides = as_names(overrides, "overrides")
    findings = [*machine.versions(), *machine.conflicts(), *machine.meters()]
    if recipe is None:
        return Diagnosis((*findings, *machine.targets(None)))
    from edgestill.quantities import count_text
    from edgestill.recipe import load_recipe

    try:
        loaded = load_recipe(recipe, overrides)
    except EdgestillError as error:
        return Diagnosis((*findings, *machine.targets(None), *problems("recipe", error)))
    targets = count_text(len(loaded.targets), "target", "targets")
    words = f"{loaded.name}: {loaded.task}, {targets}, no static problem"
    findings += [*machine.targets(loaded), Finding("recipe", State.OK, words)]
    from edgestill.api.doctor.trial import try_out

    return Diagnosis((*findings, *try_out(loaded, store, console)))
