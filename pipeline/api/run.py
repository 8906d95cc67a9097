"""`edgestill run`: from a recipe to a release with verdicts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgestill.api.cautions import cautions
from edgestill.api.departing import with_departures
from edgestill.api.gathering import Gathering
from edgestill.api.opening import import_index, new_log, open_store
from edgestill.api.readiness import require_ready
from edgestill.api.releasing import write_release
from edgestill.arguments import Names, PathLike, as_names, as_path
from edgestill.capture import captured
from edgestill.companions import dismiss
from edgestill.console import Console
from edgestill.errors import UsageError
from edgestill.planner import make_plan
from edgestill.recipe import Recipe, load_recipe
from edgestill.release import writing
from edgestill.report.build import make_report
from edgestill.report.model import Report
from edgestill.runner import Runner
from edgestill.source_code import remembered_imports
from edgestill.spelling import nearest
from edgestill.verify.assess import hop_results, not_run
from edgestill.verify.changes import with_changes
from edgestill.verify.results import GateResult, TargetResult


def run_recipe(
    recipe: PathLike,
    *,
    overrides: Names = (),
    targets: Names = (),
    out: PathLike | None = None,
    store: PathLike | None = None,
    fresh: bool = False,
    console: Console | None = None,
) -> Report:
    """Run a recipe, or what has changed of it, and write its release.

    Args:
        recipe: a file, or the name of a preset.
        overrides: `key.path=value`, as in `distill.epochs=5`.
        targets: only these targets of the recipe.
        out: where the release goes; by default `dist/<name>`.
        store: where results are kept; by default `$EDGESTILL_STORE` or `.edgestill`.
        fresh: measure again, whatever was measured before.

    Raises:
        UsageError: the recipe, its data or its models are wrong.
        EnvironmentFailure: this machine or a target's software failed.
    """
    console = console or Console()
    overrides = as_names(overrides, "overrides")
    loaded = select_targets(load_recipe(recipe, overrides), as_names(targets, "targets"))
    opened = open_store(store, console)
    runner = Runner(make_plan(loaded), opened, console, new_log(opened))
    runner.before_computing = lambda: require_ready(runner.plan)
    place = Path("dist") / loaded.name if out is None else as_path(out, "out")
    # The folder is claimed first, so that an unfit one is refused before hours of training.
    with writing(place, keep=(opened.root,)) as writer, remembered_imports(import_index(opened)):
        gathering = Gathering(runner, runner.machine.fingerprint, fresh=fresh)
        runner.resolve("data")
        for caution in cautions(runner):
            console.say(f"warning: {caution}")
        for name in runner.plan.steps:
            runner.resolve(name)
        with captured(runner.log):  # a user's own metric may print, too
            report = _judge(gathering)
        write_release(writer, gathering, report, overrides)
    if writer.kept is not None:
        console.say(f"the release before, which passed, is kept in {os.path.relpath(writer.kept)}")
    dismiss()
    return report


def _judge(gathering: Gathering) -> Report:
    """Every target judged, and the whole as a report."""
    recipe, plan, rules = gathering.recipe, gathering.runner.plan, gathering.rules
    results: list[TargetResult] = []
    gates: list[GateResult] = []
    failures: list[str] = []
    for target in plan.targets:
        if target.evaluate is None:
            results.append(gathering.elsewhere(target))
            gates += not_run(target.config.target, recipe.gates, "verify: elsewhere")
        else:
            found = gathering.judged(target, rules)
            results.append(found.target)
            gates += found.gates
            failures += found.failures
    answers = {hop.name: gathering.predictions(hop.predictions) for hop in plan.hops}
    shipped = [
        target.hops[precision]
        for target, result in zip(plan.targets, results, strict=True)
        for precision in result.shipped
    ]
    level = rules.measure.level
    ways = [(hop.name, hop.parent, answers[hop.name]) for hop in plan.hops]
    hops = hop_results(ways, rules.test, level, shipped=shipped)
    hops = with_changes(
        hops, answers, rules.references, gathering.split("test"), level, shipped=shipped
    )
    roles = ("train", "calibration", "validation", "test")
    return make_report(
        kind="run",
        name=recipe.name,
        task=recipe.task,
        metric=rules.test.metric.name,
        bigger_is_better=rules.test.metric.bigger_is_better,
        seed=recipe.seed,
        threads=recipe.threads,
        splits={role: gathering.split(role).description.count for role in roles},
        evaluation=gathering.split("test").digest,
        models=gathering.models(),
        hops=with_departures(gathering, hops, results),
        targets=results,
        gates=gates,
        steps=gathering.runner.records,
        fingerprint=gathering.fingerprint,
        quantized=gathering.quantization(),
        budgets=recipe.gates,
        notes=gathering.notes(),
        failures=failures,
    )


def select_targets(recipe: Recipe, names: Sequence[str]) -> Recipe:
    """The recipe with only these of its targets; all of them when none is named.

    Raises:
        UsageError: the recipe has no such target.
    """
    known = [target.target for target in recipe.targets]
    for name in names:
        if name not in known:
            raise UsageError(
                f"the recipe has no target {name!r}",
                where=str(recipe.path),
                fix=nearest(name, known, "Its targets"),
            )
    if not names:
        return recipe
    left = tuple(target for target in recipe.targets if target.target in names)
    if recipe.gates and all(target.verify == "elsewhere" for target in left):
        raise UsageError(
            f"{', '.join(names)} is verified elsewhere, so no gate would be decided",
            where=str(recipe.path),
            fix="Name a target that is verified here too, or build without gates: --set gates=null",
        )
    return replace(recipe, targets=left)
