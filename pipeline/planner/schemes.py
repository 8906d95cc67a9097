"""From the schemes of a recipe to trainings, each of one model by one teacher, in their order.

A chain of assistants, generations and stages are all the same to the stages of the pipeline: a
model learns from the result of a step before it, from fresh weights or from those of the stage
before. The check tries what is planned here, and the plan has a step for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from edgestill.digest import digest_value
from edgestill.distill.config import DistillConfig, SchemeConfig, StageConfig
from edgestill.models.config import ModelConfig
from edgestill.planner.draft import STUDENT, TEACHER, model_config
from edgestill.recipe import Recipe


@dataclass(frozen=True)
class Training:
    """One distillation.

    Attributes:
        name: of its step, such as `assistant 1`, `student generation 1` or `student stage 2`.
        role: whose model it trains: the student or an assistant.
        model: what that is.
        teacher: the name of the step that gives its teacher; None where no other model teaches.
        teacher_role: whose model the teacher is.
        start: the name of the step whose weights it starts from; None for fresh ones.
        ends: whether it gives a whole model, and no stage comes after it.
    """

    name: str
    role: str
    model: ModelConfig
    teacher: str | None
    teacher_role: str | None
    distill: DistillConfig
    seed: int
    start: str | None
    ends: bool

    @property
    def peers(self) -> tuple[ModelConfig, ...]:
        """Who learns beside it."""
        return tuple(peer.as_model for peer in self.distill.peers)


def trainings(recipe: Recipe) -> tuple[Training, ...]:
    """Every distillation of a recipe, each after those that it rests on."""
    if recipe.distill is None or recipe.student is None:
        return ()
    learners = [
        (f"assistant {number}", model_config(entry), entry.distill or recipe.distill)
        for number, entry in enumerate(recipe.assistants, 1)
    ]
    learners.append((STUDENT, model_config(recipe.student), recipe.distill))
    found: list[Training] = []
    teacher = TEACHER if recipe.teacher else None
    for role, model, scheme in learners:
        heard = teacher if scheme.learn_from == "teacher" else None
        found += _generations(role, model, scheme, heard, recipe.seed)
        teacher = role
    return tuple(found)


def _generations(
    role: str, model: ModelConfig, scheme: SchemeConfig, teacher: str | None, seed: int
) -> Iterator[Training]:
    teacher_role = teacher
    for generation in range(1, scheme.generations + 1):
        last = generation == scheme.generations
        name = role if last else f"{role} generation {generation}"
        start = None
        for number, distill in enumerate(_stages(scheme), 1):
            ends = number == max(1, len(scheme.stages))
            step = name if ends else f"{name} stage {number}"
            own_seed = _seed(seed, generation, number)
            yield Training(step, role, model, teacher, teacher_role, distill, own_seed, start, ends)
            start = step
        teacher, teacher_role = name, role


def _stages(scheme: SchemeConfig) -> list[DistillConfig]:
    """The training of each stage; all but the last run to their end."""
    whole = DistillConfig(**{f.name: getattr(scheme, f.name) for f in fields(DistillConfig)})
    parts = [replace(whole, **_given(stage)) for stage in scheme.stages] or [whole]
    return [*(replace(part, early_stop=None) for part in parts[:-1]), parts[-1]]


def _given(stage: StageConfig) -> dict[str, Any]:
    values = {field.name: getattr(stage, field.name) for field in fields(StageConfig)}
    return {name: value for name, value in values.items() if value is not None}


def _seed(seed: int, generation: int, stage: int) -> int:
    """The recipe's for the first training; each later one has other weights and batches."""
    if (generation, stage) == (1, 1):
        return seed
    return int(digest_value([seed, generation, stage])[:8], 16)
