"""The steps of the distillations: what each teacher says beforehand, and each training."""

from __future__ import annotations

from dataclasses import replace

from edgestill.distill.config import CacheConfig, DistillStep, RecordStep
from edgestill.plan import Ref, Step
from edgestill.planner.draft import STUDENT, PlanDraft, without_weights
from edgestill.planner.models import SPLITS, add_answers
from edgestill.planner.schemes import Source, Training, trainings
from edgestill.train.voices import TEACHER, voices


def add_trainings(draft: PlanDraft) -> None:
    """Every distillation up to the student's; models between teacher and student are asked too."""
    for training in trainings(draft.recipe):
        _add_training(draft, training)
        if training.ends and training.name != STUDENT:
            add_answers(draft, training.name, without_weights(training.model))
            draft.between.append(training.name)


def _add_training(draft: PlanDraft, training: Training) -> None:
    recipe, model, teachers = draft.recipe, training.model, training.teachers
    settings = {name: source.settings for name, source in teachers.items()}
    config = DistillStep(
        student=model,
        teachers=settings,
        distill=training.distill,
        task=recipe.task,
        metric=recipe.metric,
        seed=training.seed,
        threads=recipe.threads,
        keep="best" if training.ends else "last",
    )
    started = {}
    if training.start is not None:
        started["start"] = Ref(training.start)
    elif model.from_ is not None:
        started["origin"] = Ref(TEACHER)
    results = {name: source.result for name, source in teachers.items()}
    built = (model, *settings.values(), *training.peers)
    asked_in = dict.fromkeys(name for source in teachers.values() for name in source.libraries)
    draft.add(
        Step(
            training.name,
            "distill",
            config,
            {
                **SPLITS,
                **started,
                "teachers": {name: ref for name, ref in results.items() if ref},
                "recordings": _recordings(draft, training),
            },
            (*draft.code(*built), *draft.metric_code()),
            draft.files(*built),
            ("accelerate", *asked_in),
            ("check",),
            draft.loss_modules(training.distill.losses),
        )
    )


def _recordings(draft: PlanDraft, training: Training) -> dict[str, Ref]:
    """The steps that keep what each teacher says, where that is to be kept: one for each, so that
    another teacher more or less leaves it as it is."""
    cache = training.distill.cache
    if cache is None:
        return {}
    return {
        name: Ref(_record(draft, training, cache, name, source))
        for name, source in training.teachers.items()
    }


def _record(
    draft: PlanDraft, training: Training, cache: CacheConfig, name: str, source: Source
) -> str:
    recipe, distill = draft.recipe, training.distill
    heard = voices(distill.teachers, training.teachers)
    layers = [tap for read in training.reads for tap in read.teacher if tap.teacher == name]
    config = RecordStep(
        teacher=source.settings,
        augment=distill.augment,
        cache=cache,
        prediction=name in heard and any(read.prediction for read in training.reads),
        layers=tuple(dict.fromkeys(replace(tap, teacher=TEACHER) for tap in layers)),
        task=recipe.task,
        threads=recipe.threads,
    )
    step = f"record {source.step}"
    if draft.taken(step, config):  # of another stage, which reads other layers
        step += f" for {training.name}"
    return draft.add(
        Step(
            step,
            "record",
            config,
            {
                "train": Ref("data", "train", "inputs"),
                **({"teacher": source.result} if source.result else {}),
            },
            draft.code(source.settings),
            draft.files(source.settings),
            source.libraries,
            after=("check",),
        )
    )
