"""Which teachers a student learns from, and what it takes to ask them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from edgestill.distill.config import CacheConfig, RecordStep
from edgestill.models.config import ModelConfig
from edgestill.plan import Ref, Step
from edgestill.planner.draft import PlanDraft, model_config, without_weights
from edgestill.recipe import Recipe, TrainedModelConfig
from edgestill.train.losses import default_losses
from edgestill.train.losses.config import Reads, reads_of
from edgestill.train.voices import TEACHER, role_of, voices

Teachers = Mapping[str, TrainedModelConfig]


def planned(recipe: Recipe) -> dict[str, TrainedModelConfig]:
    """The teachers that have steps: what others are compared with, and whom the student reads."""
    teachers, learnt = recipe.all_teachers, learnt_from(recipe)
    return {name: t for name, t in teachers.items() if name == TEACHER or name in learnt}


def learnt_from(recipe: Recipe) -> dict[str, TrainedModelConfig]:
    """The teachers whose predictions, layers or weights the student gets, sorted by name: their
    order in the recipe changes no result."""
    if recipe.distill is None:
        return {}
    assert recipe.student is not None
    teachers, reads = recipe.all_teachers, _reads(recipe)
    used = {tap.teacher for read in reads for tap in read.teacher}
    if any(read.prediction for read in reads):
        used |= voices(recipe.distill.teachers, teachers).keys()
    if recipe.student.from_:
        used.add(recipe.student.from_)
    return {name: teachers[name] for name in sorted(used)}


def settings_of(teacher: TrainedModelConfig) -> ModelConfig | None:
    """What has to be known of a teacher to ask it; of an ONNX file, the file says everything."""
    return None if teacher.onnx else without_weights(model_config(teacher))


def answering(teachers: Teachers) -> dict[str, Ref]:
    """The results that stand for these teachers; for a function, none does."""
    return {
        name: Ref(f"export {role_of(name)}" if teacher.onnx else role_of(name))
        for name, teacher in teachers.items()
        if teacher.function is None
    }


def asked_in(teachers: Iterable[TrainedModelConfig]) -> tuple[str, ...]:
    """The libraries beside torch that ask these teachers."""
    return ("onnx", "onnxruntime") if any(teacher.onnx for teacher in teachers) else ()


def add_recordings(draft: PlanDraft, teachers: Teachers) -> dict[str, Ref]:
    """The steps that keep these teachers' answers, by name, where they are to be kept."""
    distill = draft.recipe.distill
    if distill is None or distill.cache is None:
        return {}
    found = {n: _add_recording(draft, n, teacher, distill.cache) for n, teacher in teachers.items()}
    return {name: ref for name, ref in found.items() if ref is not None}


def _add_recording(
    draft: PlanDraft, name: str, teacher: TrainedModelConfig, cache: CacheConfig
) -> Ref | None:
    """One for each, so that another teacher more or less leaves it as it is."""
    recipe, reads = draft.recipe, _reads(draft.recipe)
    assert recipe.distill is not None
    layers = dict.fromkeys(tap for read in reads for tap in read.teacher if tap.teacher == name)
    settings, model = settings_of(teacher), answering({name: teacher}).get(name)
    config = RecordStep(
        teacher=settings,
        augment=recipe.distill.augment,
        cache=cache,
        prediction=name in voices(recipe.distill.teachers, recipe.all_teachers)
        and any(read.prediction for read in reads),
        layers=tuple(replace(tap, teacher=TEACHER) for tap in layers),
        task=recipe.task,
        threads=recipe.threads,
    )
    if not (config.prediction or config.layers):
        return None
    step = Step(
        f"record {role_of(name)}",
        "record",
        config,
        {"train": Ref("data", "train", "inputs"), **({"teacher": model} if model else {})},
        draft.code(settings),
        draft.files(settings),
        asked_in([teacher]),
        after=("check",),
    )
    return Ref(draft.add(step))


def _reads(recipe: Recipe) -> list[Reads]:
    """What the losses of the student read."""
    assert recipe.distill is not None
    losses = recipe.distill.losses or default_losses(recipe.task, teacher=True)
    return [reads_of(loss) for loss in losses]
