"""Which blocks belong to a target of a run, found without numpy, so that a plan can tell too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgestill.measuring import latest_series, series_key
from edgestill.plan import TargetPlan
from edgestill.recipe import Recipe
from edgestill.runner import Prospect, Runner
from edgestill.store import Facts
from edgestill.targets.blocks import MeasureConfig
from edgestill.targets.fingerprint import Fingerprint
from edgestill.verify.config import Load, measured_batches, measured_loads, timing


def measurement(target: TargetPlan, load: int | Load) -> str:
    """What the measurement of a target at a batch size or under a load is called."""
    name = f"measure {target.config.target}"
    if isinstance(load, Load):
        return f"{name} {load}"
    return f"{name} batch {load}" if load > 1 else name


def series_of(
    runner: Runner,
    target: TargetPlan,
    load: int | Load,
    config: MeasureConfig,
    device: Fingerprint,
) -> Facts:
    """The blocks of a target's engines, which have to be resolved, on a device."""
    engines = {
        name: runner.entries[ref.step].digest(ref.part) for name, ref in target.engines.items()
    }
    samples = runner.entries["data"].digest("test/inputs")
    name = measurement(target, load)
    key = series_key(name, target.config.target, engines, samples, config, device.digest)
    return runner.store.facts(key)


def arriving_s(recipe: Recipe, target: TargetPlan, load: Load) -> float:
    """How long it takes until all requests of a target's first look have come; 0 offline."""
    block_s = timing(recipe.measure, recipe.threads, load).arriving_s
    return block_s * recipe.measure.rounds * len(target.candidates)


def measurements(runner: Runner, steps: Mapping[str, Prospect]) -> Iterator[Prospect]:
    """For each measurement of a run whether there is one that fits, from what each step would do.

    A hit leaves open whether it decides every gate: where it does not, a run goes on with it.
    """
    recipe = runner.plan.recipe
    for target in runner.plan.targets:
        if target.evaluate is None:
            continue
        needed = ("data", *(ref.step for ref in target.engines.values()))
        origin = next((steps[name].origin for name in needed if steps[name].origin), None)
        loads: list[int | Load] = [*measured_batches(recipe.measure, recipe.gates)]
        for load in (*loads, *measured_loads(recipe.gates)):
            name = measurement(target, load)
            lasts_s = arriving_s(recipe, target, load) if isinstance(load, Load) else 0.0
            if origin is not None:
                yield Prospect(name, "unknown", (f"until {origin}",), origin, lasts_s)
                continue
            config = timing(recipe.measure, recipe.threads, load)
            facts = series_of(runner, target, load, config, runner.machine.fingerprint)
            found = latest_series(facts, mend=False)
            if found is not None and len(found.rounds) >= config.rounds:
                yield Prospect(name, "hit", ())
            else:
                reasons = ("no complete measurement of these engines here",)
                yield Prospect(name, "miss", reasons, lasts_s=lasts_s)
