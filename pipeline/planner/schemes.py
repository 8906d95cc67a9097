"""From the schemes of a recipe to trainings, each of one model by its teachers, in their order.

A chain of assistants, generations and stages are all the same to the stages of the pipeline: a
model learns from the results of steps before it, from fresh weights or from those of the stage
before. The check tries what is planned here, and the plan has a step for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from edgestill.digest import digest_value
from edgestill.distill.config import DistillConfig, SchemeConfig, StageConfig
from edgestill.models.config import ModelConfig
from edgestill.plan import Ref
from edgestill.planner.draft import STUDENT, model_config, without_weights
from edgestill.recipe import Recipe, TrainedModelConfig
from edgestill.train.losses import default_losses
from edgestill.train.losses.config import Reads, reads_of
from edgestill.train.voices import TEACHER, role_of, voices


@dataclass(frozen=True)
class Source:
    """A model that teaches another.

    Attributes:
        role: whose model it is: `teacher`, `teacher wide`, `assistant 1` or `student`.
        step: the name of the step that gives its weights, such as `student generation 1`.
    """

    role: str
    step: str
    model: ModelConfig

    @property
    def result(self) -> Ref | None:
        """The result that stands for it; for a function, none does."""
        if self.model.function is not None:
            return None
        return Ref(f"export {self.step}" if self.model.onnx else self.step)

    @property
    def settings(self) -> ModelConfig | None:
        """What has to be known of it to ask it; of an ONNX file, the file says everything."""
        return None if self.model.onnx else without_weights(self.model)

    @property
    def libraries(self) -> tuple[str, ...]:
        """What asks it beside torch."""
        return ("onnx", "onnxruntime") if self.model.onnx else ()


@dataclass(frozen=True)
class Training:
    """One distillation.

    Attributes:
        name: of its step, such as `assistant 1`, `student generation 1` or `student stage 2`.
        role: whose model it trains: the student or an assistant.
        model: what that is.
        teachers: those that it learns from, by the names that losses and weights give them.
        reads: what its losses read.
        start: the name of the step whose weights it starts from; None for fresh ones.
        ends: whether it gives a whole model, and no stage comes after it.
    """

    name: str
    role: str
    model: ModelConfig
    teachers: Mapping[str, Source]
    distill: DistillConfig
    reads: tuple[Reads, ...]
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
    teachers = {
        name: Source(role_of(name), role_of(name), model_config(entry))
        for name, entry in recipe.all_teachers.items()
    }
    found: list[Training] = []
    for role, model, scheme in learners:
        found += _generations(recipe, role, model, scheme, teachers)
        teachers = {TEACHER: Source(role, role, model)}
    return tuple(found)


def planned_teachers(recipe: Recipe) -> dict[str, TrainedModelConfig]:
    """The teachers that have steps: what others are compared with, and whom a model learns from."""
    heard = {name for training in trainings(recipe) for name in training.teachers}
    teachers = recipe.all_teachers.items()
    return {name: entry for name, entry in teachers if name == TEACHER or name in heard}


def _generations(
    recipe: Recipe,
    role: str,
    model: ModelConfig,
    scheme: SchemeConfig,
    teachers: Mapping[str, Source],
) -> Iterator[Training]:
    for generation in range(1, scheme.generations + 1):
        last = generation == scheme.generations
        name = role if last else f"{role} generation {generation}"
        start = None
        for number, distill in enumerate(_stages(scheme, weighed=len(teachers) > 1), 1):
            ends = number == max(1, len(scheme.stages))
            step = name if ends else f"{name} stage {number}"
            losses = distill.losses or default_losses(recipe.task, teacher=True)
            reads = tuple(reads_of(loss) for loss in losses)
            yield Training(
                name=step,
                role=role,
                model=model,
                teachers=_heard(distill, reads, teachers),
                distill=distill,
                reads=reads,
                seed=_seed(recipe.seed, generation, number),
                start=start,
                ends=ends,
            )
            start = step
        teachers = {TEACHER: Source(role, name, model)}


def _stages(scheme: SchemeConfig, *, weighed: bool) -> list[DistillConfig]:
    """The training of each stage; all but the last run to their end.

    Args:
        weighed: whether there are several teachers; of one there is nothing to weigh.
    """
    whole = DistillConfig(**{f.name: getattr(scheme, f.name) for f in fields(DistillConfig)})
    if not weighed:
        whole = replace(whole, teachers=None)
    parts = [replace(whole, **_given(stage)) for stage in scheme.stages] or [whole]
    return [*(replace(part, early_stop=None) for part in parts[:-1]), parts[-1]]


def _given(stage: StageConfig) -> dict[str, Any]:
    values = {field.name: getattr(stage, field.name) for field in fields(StageConfig)}
    return {name: value for name, value in values.items() if value is not None}


def _heard(
    distill: DistillConfig, reads: tuple[Reads, ...], teachers: Mapping[str, Source]
) -> dict[str, Source]:
    """The teachers whose predictions or layers are read, sorted by name: their order in the recipe
    changes no result."""
    if distill.learn_from != "teacher":
        return {}
    names = {tap.teacher for read in reads for tap in read.teacher}
    if any(read.prediction for read in reads):
        names |= voices(distill.teachers, teachers).keys()
    return {name: teachers[name] for name in sorted(names)}


def _seed(seed: int, generation: int, stage: int) -> int:
    """The recipe's for the first training; each later one has other weights and batches."""
    if (generation, stage) == (1, 1):
        return seed
    return int(digest_value([seed, generation, stage])[:8], 16)
