"""What needs the models, found out before any training: shapes, classes, losses, the exporter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from edgestill.artifact import Dataset, OnnxModel
from edgestill.data.arrays import load_ids, load_inputs, load_labels
from edgestill.distill.record import require_top_k
from edgestill.distill.stage import require_same_prediction, student_losses
from edgestill.distill.teacher import Asking, BlackBoxTeacher, make_ensemble, open_black_box
from edgestill.errors import EdgestillError, ModelError
from edgestill.export.config import CheckStep
from edgestill.export.stage import write_onnx
from edgestill.models.config import ModelConfig
from edgestill.models.interface import require_classes
from edgestill.models.wrapper import DeviceModel
from edgestill.step import StepContext
from edgestill.train.learner import Learner, attended_tokens
from edgestill.train.losses.base import Labels, Loss, LossInputs, Outputs
from edgestill.train.losses.config import Tap
from edgestill.train.predict import to_tensors
from edgestill.train.reproducible import reproducible
from edgestill.train.stage import lone_losses, wrap
from edgestill.train.teachers import LiveTeacher, Teacher
from edgestill.train.views import Views, require_whole_labels
from edgestill.train.voices import TEACHER, role_of, voices

SAMPLES = 8

Arrays = Mapping[str, NDArray[Any]]
Asked = DeviceModel | BlackBoxTeacher  # a teacher


@dataclass(frozen=True)
class CheckInputs:
    """The split that everything is tried on, and by name the teachers that are given as ONNX."""

    train: Dataset
    teachers: Mapping[str, OnnxModel] = field(default_factory=dict)


def check(config: CheckStep, inputs: CheckInputs, out: Path, context: StepContext) -> None:
    """One batch through teachers, student, losses and exporter.

    Raises:
        ModelError: a model cannot be built or fed, or does not fit the data or its teachers.
        ExportError: a model cannot be exported.
    """
    arrays = {name: array[:SAMPLES] for name, array in load_inputs(inputs.train).items()}
    ids, labels = load_ids(inputs.train)[:SAMPLES], load_labels(inputs.train)
    for augment in config.augment:
        Views(augment, arrays, ids)  # refuses what it cannot make views of
        require_whole_labels(augment, labels)
    built = _built(config)
    summary: list[str] = []

    def told(line: str) -> None:
        summary.append(f"student from its teacher: {line}")
        context.say(summary[-1])

    with reproducible(config.seed, torch.get_num_threads()):
        models: dict[str, DeviceModel] = {}
        for role, model in built.items():
            context.progress(len(models) / (len(built) + 2), f"build {role}")
            with _about(role):
                models[role] = wrap(model, inputs.train, config.task, context.base, say=told)
                require_classes(models[role].prediction_shape, inputs.train.description)
        teachers = _teachers(config, inputs, arrays, models, context)
        if config.distilled and "student" in models:
            for name in voices(config.weights, teachers):
                shape = teachers[name].prediction_shape
                require_same_prediction(name, shape, models["student"].prediction_shape)
                require_top_k(config.top_k, shape)
        for role in config.trained:
            if role in models:
                asked = teachers if role == "student" and config.distilled else {}
                with _about(role):
                    _try_losses(models[role], asked, config, arrays, inputs.train)
        for role in (TEACHER, "student"):  # those that are exported
            if role in models:
                context.progress(0.75, f"export {role}")
                folder = context.work / role
                folder.mkdir(parents=True, exist_ok=True)
                with _about(role):
                    write_onnx(models[role].eval(), arrays, config.export, folder)
    functions = {role_of(n): teachers[n] for n, model in config.teachers.items() if model.function}
    predicting = {**functions, **models}
    summary += [f"{role}: predicts {m.prediction_shape}" for role, m in predicting.items()]
    (out / "check.txt").write_text("\n".join(summary) + "\n", encoding="utf-8")


def _built(config: CheckStep) -> dict[str, ModelConfig]:
    """The PyTorch models, by role, in the order in which a run makes them."""
    models = {role_of(name): model for name, model in config.teachers.items() if model.model}
    return models | ({"student": config.student} if config.student else {})


def _teachers(
    config: CheckStep,
    inputs: CheckInputs,
    arrays: Arrays,
    models: Mapping[str, DeviceModel],
    context: StepContext,
) -> dict[str, Asked]:
    """All teachers by name, those without layers tried."""
    threads = torch.get_num_threads()
    asking = Asking(inputs.train, config.asked, config.task, threads, context.base)
    teachers: dict[str, Asked] = {}
    for name in sorted({*config.teachers, *inputs.teachers}):
        role, settings = role_of(name), config.teachers.get(name)
        if role in models:
            teachers[name] = models[role]
            continue
        black_box = open_black_box(name, settings, inputs.teachers.get(name), asking)
        if settings is not None:
            with _about(role):
                require_classes(black_box.prediction_shape, inputs.train.description)
            batch = to_tensors(arrays, slice(None), torch.device("cpu"))
            black_box.answer(batch, numpy.arange(len(batch[0])), 0)
        teachers[name] = black_box
    return teachers


@contextmanager
def _about(role: str) -> Iterator[None]:
    """Errors say which model they are about."""
    try:
        yield
    except EdgestillError as error:
        error.where = f"{role}: {error.where}" if error.where else role
        raise


def _try_losses(
    model: DeviceModel,
    teachers: Mapping[str, Asked],
    config: CheckStep,
    arrays: Arrays,
    train: Dataset,
) -> None:
    """One step of a model's objective on the first samples, backwards too."""
    labels = load_labels(train)
    known = None if labels is None else Labels(torch.from_numpy(numpy.array(labels[:SAMPLES])))
    batch = to_tensors(arrays, slice(None), torch.device("cpu"))
    answers = None
    if teachers:
        losses = student_losses(config.losses, config.task, train)
        answers = _answers(teachers, losses, config, batch, known)
    else:
        losses = lone_losses(config.task, train)
    learner = Learner(model.train(), losses)
    attended = attended_tokens(arrays, batch)
    given = partial(LossInputs, teacher=answers, labels=known, attended=attended)
    learner.adapt(batch, given)
    seen = given(learner.outputs(batch))
    _require_gradient(seen.student.logits)
    for loss in losses:
        _try_loss(loss, seen)
    learner.taps.close()
    model.zero_grad()


def _answers(
    teachers: Mapping[str, Asked],
    losses: Sequence[Loss],
    config: CheckStep,
    batch: list[torch.Tensor],
    labels: Labels | None,
) -> Outputs | None:
    """What the teachers say of the first samples; None where no loss asks."""
    live: list[LiveTeacher] = []

    def opened(name: str, layers: tuple[Tap, ...]) -> Teacher:
        teacher = teachers[name]
        if not isinstance(teacher, DeviceModel):
            return teacher
        live.append(LiveTeacher(teacher, layers, role_of(name)))
        return live[-1]

    ensemble = make_ensemble(teachers, losses, config.weights, config.task, opened)
    if ensemble is None:
        return None
    if ensemble.weighing == "loss" and labels is None:
        raise ModelError(
            "distill.teachers: loss weighs teachers by the labels, and the train split has none",
            fix="Write confidence, or a weight for each teacher",
        )
    answers = ensemble.answer(batch, numpy.arange(len(batch[0])), 0, labels)
    for teacher in live:
        teacher.taps.close()
    return answers


def _require_gradient(logits: torch.Tensor) -> None:
    """Refuse a model in train mode that nothing can be taught."""
    if not logits.requires_grad:
        raise ModelError(
            "its prediction depends on no trainable parameter",
            fix="Look for detach, no_grad, argmax and requires_grad in the model, or set "
            "pretrained: true where nothing is to be trained",
        )


def _try_loss(loss: Loss, terms: LossInputs) -> None:
    logits = terms.student.logits
    try:
        value = loss(terms)
        torch.autograd.backward(value, retain_graph=True)
    except (RuntimeError, IndexError, ValueError) as error:
        labels = f"labels {list(terms.labels.own.shape)}" if terms.labels else "no labels"
        raise ModelError(
            f"the loss {loss.name} cannot be computed from predictions "
            f"{list(logits.shape)} and {labels} ({error})",
            fix="Look at the model's output, the task, the labels and the losses",
        ) from error
    if not torch.isfinite(value):
        raise ModelError(
            f"the loss {loss.name} is {float(value.detach())} on the first {len(logits)} samples",
            fix="Look at normalize: and at the model's initial weights",
        )
