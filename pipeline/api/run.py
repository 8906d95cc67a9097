"""`edgestill run`: from a recipe to a release with verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgestill.api.gathering import Gathering
from edgestill.api.opening import import_index, new_log, open_store
from edgestill.api.releasing import write_release
from edgestill.api.requirements import requirements_of
from edgestill.arguments import Names, PathLike, as_names, as_path
from edgestill.capture import captured
from edgestill.companions import dismiss
from edgestill.console import Console
from edgestill.errors import DeviceError, MissingExtra, UsageError
from edgestill.extras import installed
from edgestill.installed import installed_version
from edgestill.plan import Plan
from edgestill.planner import make_plan
from edgestill.planner.schemes import planned_teachers
from edgestill.recipe import Recipe, load_recipe
from edgestill.release import writing
from edgestill.report.build import make_report
from edgestill.report.model import Report
from edgestill.runner import Runner
from edgestill.source_code import remembered_imports
from edgestill.spelling import nearest
from edgestill.targets import TARGETS, get_target
from edgestill.train.voices import role_of
from edgestill.verify.assess import hop_results, not_run
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
        for name in runner.plan.steps:
            runner.resolve(name)
        with captured(runner.log):  # a user's own metric may print, too
            report = _judge(gathering)
        write_release(writer, gathering, report, overrides)
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
    hops = [(h.name, h.parent, gathering.predictions(h.predictions)) for h in plan.hops]
    shipped = [
        target.hops[precision]
        for target, result in zip(plan.targets, results, strict=True)
        for precision in result.shipped
    ]
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
        hops=hop_results(hops, rules.test, rules.measure.level, shipped=shipped),
        targets=results,
        gates=gates,
        steps=gathering.runner.records,
        fingerprint=gathering.fingerprint,
        notes=(*_notes(recipe), *gathering.remarks()),
        failures=failures,
    )


def _notes(recipe: Recipe) -> tuple[str, ...]:
    """What a reader has to know to trust the figures."""
    notes = []
    entries = {role_of(name): entry for name, entry in planned_teachers(recipe).items()}
    if recipe.student is not None and not recipe.distill:
        entries["student"] = recipe.student
    for role, entry in entries.items():
        if not entry.train:
            notes.append(
                f"The {role} came trained: it may have seen samples that are validation or test "
                "data here, and score better on them than on new ones."
            )
    return tuple(notes)


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


def require_ready(plan: Plan) -> None:
    """Refuse, before any work, what this machine lacks for the rest of it.

    Raises:
        MissingExtra: libraries that build are not installed.
        DeviceError: a target is not installed or cannot run here; with how to get it.
        UsageError: nothing says which GPU to build for, and there is none here.
    """
    steps = plan.steps.values()
    used = {name for step in steps for name in (*step.stage.libraries, *step.libraries)}
    brought = {r.name for r in requirements_of("edgestill") if r.extra == "build"}
    missing = sorted(n for n in used & brought if not (installed_version(n) or installed(n)))
    if missing:
        raise MissingExtra(
            f"this needs the extra build (not installed: {', '.join(missing)})",
            where=str(plan.recipe.path),
            fix="Install it: pip install 'edgestill[build]'",
        )
    for index, target in enumerate(plan.recipe.targets):
        require_target(plan.recipe, index, run=target.verify == "here")


def require_target(recipe: Recipe, index: int, *, run: bool) -> None:
    """Refuse a target of a recipe that cannot be compiled for here or, with `run`, not be run.

    Raises:
        DeviceError: with how to get it.
        UsageError: nothing says which GPU to build for, and there is none here.
    """
    target = recipe.targets[index]
    found = get_target(target.target).probe()
    here = TARGETS[target.target].for_gpu_here(target.options)
    if here and found.can_compile and not found.can_run:
        raise UsageError(
            f"there is no GPU here that {target.target} could build for",
            where=f"{recipe.path}: targets[{index}]",
            fix="Say which GPUs it is for, such as compute_capability: [8.6, 8.9]",
        )
    if not (found.can_compile and (found.can_run or not run)):
        elsewhere = ", or set verify: elsewhere" if found.can_compile else ""
        raise DeviceError(
            f"{target.target} cannot {'run' if found.can_compile else 'compile'} here "
            f"({found.reason})",
            where=str(recipe.path),
            fix=f"{found.fix or 'Leave out this target'}{elsewhere}",
        )
