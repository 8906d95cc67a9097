"""What a user should know before a run that nothing refuses: what its figures will not be worth,
what they cannot decide, and hours of waiting. A plan, a doctor and a run say it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from edgestill.api.readiness import crowding
from edgestill.api.series import arriving_s
from edgestill.artifact import Dataset
from edgestill.plan import Ref
from edgestill.quantities import duration_text, score_text
from edgestill.quantize.config import DEFAULT_DROP
from edgestill.recipe import Recipe
from edgestill.recipe.tasks import METRIC_FACTS
from edgestill.runner import Runner
from edgestill.targets import TARGETS
from edgestill.verify.config import Load, measured_loads, timing

_LONG_S = 600.0


@dataclass(frozen=True)
class Caution:
    """What will happen, which key of the recipe it comes from, and what to do about it."""

    what: str
    where: str
    fix: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.fix}"


def cautions(runner: Runner) -> Iterator[Caution]:
    """All that can be said of a plan; of its data where they are there."""
    recipe = runner.plan.recipe
    device = runner.machine.fingerprint
    # A crowd that is refused is told as that.
    if crowding(runner.plan) is None and (crowded := device.crowd(recipe.threads)):
        fix = f"Write threads: {device.usable_cores}, or leave it out"
        if any(t.verify == "here" and not TARGETS[t.target].gpu for t in recipe.targets):
            fix += ". What is for a larger device is verified there: verify: elsewhere"
        yield Caution(crowded, f"{recipe.path}: threads", fix)
    if "data" in runner.entries:
        split = runner.typed(Ref("data", "validation"), Dataset)
        if (undecidable := too_fine(recipe, split)) is not None:
            yield undecidable
    for load in measured_loads(recipe.gates):
        yield from _long(runner, load)


def too_fine(recipe: Recipe, validation: Dataset) -> Caution | None:
    """A budget of int8 that is less than one sample of the split that decides about it."""
    quantizes = any("int8" in target.precisions for target in recipe.targets)
    metric = METRIC_FACTS.get(recipe.metric) if isinstance(recipe.metric, str) else None
    if recipe.quantize is None or not quantizes or metric is None or not metric.right_or_wrong:
        return None
    drop, count = recipe.quantize.budget.accuracy_drop, validation.description.count
    budget = DEFAULT_DROP if drop is None else drop
    if not 0 < budget < 1 / count:
        return None
    if recipe.task == "classification" and _has_positions(validation):
        return None
    # 1 / 0.01 is 100, whatever binary fractions make of it.
    enough = math.ceil(round(1 / budget, 6))
    shown, one = score_text(budget, "pp", drop=True), score_text(1 / count, "pp", drop=True)
    return Caution(
        f"int8 may lose {shown} and one of {count} validation samples is {one}: a single one that "
        "it loses refuses it, and whether it keeps the budget is not decided",
        f"{recipe.path}: quantize.budget.accuracy_drop",
        f"{enough} validation samples would do (data.split.validation), or a budget of {one} or "
        "more",
    )


def _has_positions(split: Dataset) -> bool:
    """Whether a sample has many labels, such as one for each pixel."""
    from edgestill.data.arrays import label_shape  # with numpy, which most plans do without

    return bool(label_shape(split))


def _long(runner: Runner, load: Load) -> Iterator[Caution]:
    recipe = runner.plan.recipe
    lasting_s = {
        target.config.target: arriving_s(recipe, target, load)
        for target in runner.plan.targets
        if target.evaluate is not None
    }
    if sum(lasting_s.values()) > _LONG_S:
        block_s = timing(recipe.measure, recipe.threads, load).arriving_s
        each = ", ".join(f"{name} {duration_text(lasts_s)}" for name, lasts_s in lasting_s.items())
        yield Caution(
            f"measuring {load} takes {duration_text(sum(lasting_s.values()))} ({each}), since "
            f"requests come so seldom: {recipe.measure.rounds} rounds with "
            f"{duration_text(block_s)} for each engine",
            f"{recipe.path}: gates.latency",
            "Write a higher rate, or name one precision; fewer than 12 rounds decide nothing",
        )
