"""What needs the models, found out before any training: shapes, classes, losses, the exporter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from edgestill.artifact import Dataset, OnnxModel
from edgestill.data.arrays import label_shape, load_ids, load_inputs, load_labels
from edgestill.distill.record import require_top_k
from edgestill.distill.stage import (
    open_peer,
    peer_losses,
    require_same_prediction,
    student_losses,
    teacher_layers,
)
from edgestill.errors import ModelError, about
from edgestill.export.config import CheckStep
from edgestill.export.stage import write_onnx
from edgestill.models.config import ModelConfig
from edgestill.models.interface import require_classes
from edgestill.models.wrapper import DeviceModel
from edgestill.step import StepContext
from edgestill.train.learner import Learner, attended_tokens
from edgestill.train.losses.base import Labels, Loss, LossInputs, Outputs
from edgestill.train.onnx_teacher import OnnxTeacher
from edgestill.train.peers import peer_name
from edgestill.train.predict import to_tensors
from edgestill.train.reproducible import reproducible
from edgestill.train.stage import lone_losses, wrap
from edgestill.train.teachers import LiveTeacher
from edgestill.train.views import Views, require_whole_labels

SAMPLES = 8

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class CheckInputs:
    """The split that everything is tried on, and a teacher that is given as ONNX."""

    train: Dataset
    teacher: OnnxModel | None = None


def check(config: CheckStep, inputs: CheckInputs, out: Path, context: StepContext) -> None:
    """One batch through teacher, student, losses and exporter.

    Raises:
        ModelError: a model cannot be built or fed, or does not fit the data or its teacher.
        ExportError: a model cannot be exported.
    """
    arrays = {name: array[:SAMPLES] for name, array in load_inputs(inputs.train).items()}
    ids, labels = load_ids(inputs.train)[:SAMPLES], load_labels(inputs.train)
    views = [Views(augment, arrays, ids) for augment in config.augment]
    for augment in config.augment:
        require_whole_labels(augment, labels)
    configs = {"teacher": config.teacher, "student": config.student}
    models: dict[str, DeviceModel] = {}
    summary: list[str] = []

    def told(line: str) -> None:
        summary.append(f"student from its teacher: {line}")
        context.say(summary[-1])

    with reproducible(config.seed, torch.get_num_threads()):
        for role, model_config in configs.items():
            if model_config is not None:
                context.progress(len(models) / 4, f"build {role}")
                with about(role):
                    models[role] = wrap(
                        model_config, inputs.train, config.task, context.base, say=told
                    )
                    _require_classes(models[role], model_config, inputs.train)
        teacher: DeviceModel | OnnxTeacher | None = models.get("teacher")
        if inputs.teacher is not None:
            mixed = next((view.mixed_input for view in views if view.mixed_input), None)
            teacher = OnnxTeacher(inputs.teacher, arrays, torch.get_num_threads(), mixed)
        peers: list[Learner] = []
        if "student" in models and config.learn_from != "teacher":
            # The average starts as a copy.
            teacher = deepcopy(models["student"]) if config.learn_from == "average" else None
            peers = _peers(config, models["student"], arrays, inputs.train, context)
        if teacher is not None and config.distilled and "student" in models:
            require_same_prediction(teacher.prediction_shape, models["student"].prediction_shape)
            require_top_k(config.top_k, teacher.prediction_shape)
        for role in config.trained:
            if role in models:
                distilled = role == "student" and config.distilled
                asked, beside = (teacher, peers) if distilled else (None, [])
                with about(role):
                    if distilled and (asked is not None or beside or config.losses):
                        losses = _student_losses(config, inputs.train)
                    else:
                        losses = lone_losses(config.task, inputs.train)
                    _try_losses(models[role], losses, asked, beside, arrays, inputs.train)
        for role, model in models.items():
            context.progress(0.75, f"export {role}")
            folder = context.work / role
            folder.mkdir(parents=True, exist_ok=True)
            with about(role):
                write_onnx(model.eval(), arrays, config.export, folder)
    summary += [f"{role}: predicts {m.prediction_shape}" for role, m in models.items()]
    (out / "check.txt").write_text("\n".join(summary) + "\n", encoding="utf-8")


def _require_classes(model: DeviceModel, config: ModelConfig, train: Dataset) -> None:
    shape, labels = model.prediction_shape, label_shape(train)
    require_classes(shape, train.description, labels, config.classes)


def _peers(
    config: CheckStep, student: DeviceModel, arrays: Arrays, train: Dataset, context: StepContext
) -> list[Learner]:
    """Those that learn beside the student, each asked once."""
    batch = to_tensors(arrays, slice(None), torch.device("cpu"))
    peers = []
    for number, settings in enumerate(config.peers, 1):
        name = peer_name(number)
        context.progress(0.5, f"build {name}")
        peer = open_peer(settings, number, train, config.task, config.seed, context.base)
        with about(name):
            _require_classes(peer, settings, train)
            _require_gradient(peer.train().prediction(*batch))
        require_same_prediction(peer.prediction_shape, student.prediction_shape, name)
        peers.append(Learner(peer, peer_losses(config.losses, config.task, train, number)))
    return peers


def _student_losses(config: CheckStep, train: Dataset) -> tuple[Loss, ...]:
    taught = config.learn_from == "teacher"
    return student_losses(config.losses, config.task, train, taught=taught)


def _try_losses(
    model: DeviceModel,
    losses: Sequence[Loss],
    teacher: DeviceModel | OnnxTeacher | None,
    peers: Sequence[Learner],
    arrays: Arrays,
    train: Dataset,
) -> None:
    """One step of a model's objective on the first samples, backwards too, and of its peers'."""
    batch = to_tensors(arrays, slice(None), torch.device("cpu"))
    answers = None if teacher is None else _answers(teacher, losses, batch)
    labels = load_labels(train)
    known = None if labels is None else Labels(torch.from_numpy(numpy.array(labels[:SAMPLES])))
    learner = Learner(model.train(), losses, peers=peers)
    attended = attended_tokens(arrays, batch)
    given = partial(LossInputs, teacher=answers, labels=known, attended=attended)
    learner.adapt(batch, given)
    for member, seen in zip(learner.learners, learner.batches(batch, given), strict=True):
        _require_gradient(seen.student.logits)
        for loss in member.own_terms:
            _try_loss(loss, seen)
    learner.taps.close()
    model.zero_grad()


def _answers(
    teacher: DeviceModel | OnnxTeacher, losses: Sequence[Loss], batch: list[torch.Tensor]
) -> Outputs | None:
    """What the teacher says of the first samples; None where no loss asks."""
    if not any(loss.needs_teacher for loss in losses):
        return None
    layers = teacher_layers(losses)
    rows = numpy.arange(len(batch[0]))
    if isinstance(teacher, OnnxTeacher):
        return teacher.answer(batch, rows, 0)
    asked = LiveTeacher(teacher, layers)
    answers = asked.answer(batch, rows, 0)
    asked.taps.close()
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
