"""Whether this machine has what a plan needs: what it lacks is known before any work."""

from __future__ import annotations

from collections.abc import Iterator

from edgestill.api.requirements import requirements_of
from edgestill.errors import DeviceError, EdgestillError, MissingExtra, UsageError
from edgestill.extras import installed
from edgestill.installed import installed_version
from edgestill.plan import Plan
from edgestill.quantities import count_text
from edgestill.recipe import Recipe
from edgestill.targets import TARGETS, get_target
from edgestill.targets.fingerprint import usable_cores

_MOST_THREADS_PER_CORE = 2


def require_ready(plan: Plan, *, computes: bool = True) -> None:
    """Refuse, before any work, what this machine lacks for the rest of it.

    Args:
        computes: whether steps have to run; else what they gave is only measured.

    Raises:
        MissingExtra: libraries that build are not installed.
        DeviceError: a target is not installed or cannot run here; with how to get it.
        UsageError: nothing says which GPU to build for, and there is none here.
    """
    for hindrance in hindrances(plan, computes=computes):
        raise hindrance


def hindrances(plan: Plan, *, computes: bool = True) -> Iterator[EdgestillError]:
    """All that `require_ready` would refuse."""
    if (crowded := crowding(plan)) is not None:
        yield crowded
    if computes:
        yield from _lacking(plan)


def _lacking(plan: Plan) -> Iterator[EdgestillError]:
    """What is not installed, or cannot run."""
    steps = plan.steps.values()
    used = {name for step in steps for name in (*step.stage.libraries, *step.libraries)}
    brought = {r.name for r in requirements_of("edgestill") if r.extra == "build"}
    missing = sorted(n for n in used & brought if not (installed_version(n) or installed(n)))
    if missing:
        yield MissingExtra(
            f"this needs the extra build (not installed: {', '.join(missing)})",
            where=str(plan.recipe.path),
            fix="Install it: pip install 'edgestill[build]'",
        )
    found = (
        hindrance(plan.recipe, index, run=target.verify == "here")
        for index, target in enumerate(plan.recipe.targets)
    )
    yield from (error for error in found if error is not None)


def crowding(plan: Plan) -> EdgestillError | None:
    """Why a CPU target cannot be verified here with so many threads.

    A few more than there are cores have to do, with a warning: threads also decide the bits of a
    training, and who has one core may repeat what was trained with two. Many more take the machine
    from everybody, and what is timed is how they wait for each other.
    """
    threads, cores = plan.recipe.threads, usable_cores()
    here = [target.target for target in plan.recipe.targets if target.verify == "here"]
    timed = [name for name in here if not TARGETS[name].gpu]
    if not timed or threads <= _MOST_THREADS_PER_CORE * cores:
        return None
    verb = "is" if len(timed) == 1 else "are"
    return DeviceError(
        f"{threads} threads are more than twice the {count_text(cores, 'core', 'cores')} that this "
        f"process gets, and {' and '.join(timed)} {verb} verified here: what is timed would be "
        "how they wait for each other",
        where=f"{plan.recipe.path}: threads",
        fix=f"Write threads: {cores}, or leave it out; for a larger device, set verify: elsewhere",
    )


def hindrance(recipe: Recipe, index: int, *, run: bool) -> EdgestillError | None:
    """Why a target of a recipe cannot be compiled for here or, with `run`, not be run."""
    target = recipe.targets[index]
    found = get_target(target.target).probe()
    here = TARGETS[target.target].for_gpu_here(target.options)
    if here and found.can_compile and not found.can_run:
        return UsageError(
            f"there is no GPU here that {target.target} could build for",
            where=f"{recipe.path}: targets[{index}]",
            fix="Say which GPUs it is for, such as compute_capability: [8.6, 8.9]",
        )
    if found.can_compile and (found.can_run or not run):
        return None
    elsewhere = ", or set verify: elsewhere" if found.can_compile else ""
    return DeviceError(
        f"{target.target} cannot {'run' if found.can_compile else 'compile'} here ({found.reason})",
        where=str(recipe.path),
        fix=f"{found.fix or 'Leave out this target'}{elsewhere}",
    )
