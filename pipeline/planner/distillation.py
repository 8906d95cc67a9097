"""The steps of the distillations: what each teacher says beforehand, and each training."""

from __future__ import annotations

from edgestill.distill.config import CacheConfig, DistillStep, RecordStep
from edgestill.models.config import ModelConfig
from edgestill.plan import Ref, Step
from edgestill.planner.draft import STUDENT, TEACHER, PlanDraft, model_config, without_weights
from edgestill.planner.models import add_answers
from edgestill.planner.schemes import Training, trainings
from edgestill.train.losses import default_losses
from edgestill.train.losses.config import reads_of


def add_trainings(draft: PlanDraft) -> None:
    """Every distillation up to the student's; models between teacher and student are asked too."""
    models = {TEACHER: _teacher(draft)}
    for training in trainings(draft.recipe):
        teacher = models[training.teacher_role] if training.teacher_role else None
        _add_training(draft, training, teacher)
        model = models[training.role] = without_weights(training.model)
        if training.ends and training.name != STUDENT:
            add_answers(draft, training.name, model)
            draft.between.append(training.name)


def _add_training(draft: PlanDraft, training: Training, teacher: ModelConfig | None) -> None:
    recipe, model = draft.recipe, training.model
    config = DistillStep(
        student=model,
        teacher=teacher,
        distill=training.distill,
        task=recipe.task,
        metric=recipe.metric,
        seed=training.seed,
        threads=recipe.threads,
        keep="best" if training.ends else "last",
    )
    inputs = {"train": Ref("data", "train"), "validation": Ref("data", "validation")}
    if training.teacher is not None:
        inputs["teacher"] = draft.answering(training.teacher)
        inputs |= _recording(draft, training, training.teacher, teacher)
    if training.start is not None:
        inputs["start"] = Ref(training.start)
    elif model.from_ is not None:
        inputs["origin"] = Ref(TEACHER)
    built = (model, teacher, *training.peers)
    draft.add(
        Step(
            training.name,
            "distill",
            config,
            inputs,
            (*draft.code(*built), *draft.metric_code()),
            draft.files(*built),
            ("accelerate", *draft.asked_in(training.teacher)),
            ("check",),
            draft.loss_modules(training.distill.losses),
        )
    )


def _recording(
    draft: PlanDraft, training: Training, name: str, teacher: ModelConfig | None
) -> dict[str, Ref]:
    """The step that keeps the teacher's answers, where they are to be kept."""
    recipe, distill = draft.recipe, training.distill
    losses = distill.losses or default_losses(recipe.task, teacher=True)
    reads = [reads_of(loss) for loss in losses]
    config = RecordStep(
        teacher=teacher,
        augment=distill.augment,
        cache=distill.cache or CacheConfig(),
        prediction=any(loss.prediction for loss in reads),
        layers=tuple(dict.fromkeys(tap for loss in reads for tap in loss.teacher)),
        task=recipe.task,
        threads=recipe.threads,
    )
    if distill.cache is None or not (config.prediction or config.layers):
        return {}
    record = f"record {name}"
    if draft.taken(record, config):  # of another stage, which reads other layers
        record += f" for {training.name}"
    step = Step(
        record,
        "record",
        config,
        {"teacher": draft.answering(name), "train": Ref("data", "train", "inputs")},
        draft.code(teacher),
        draft.files(teacher),
        draft.asked_in(name),
        after=("check",),
    )
    return {"recording": Ref(draft.add(step))}


def _teacher(draft: PlanDraft) -> ModelConfig | None:
    """The recipe's teacher as its checkpoint's readers need it; None for an ONNX file."""
    teacher = draft.recipe.teacher
    return None if teacher is None or draft.black_box else without_weights(model_config(teacher))
