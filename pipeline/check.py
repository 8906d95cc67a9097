"""What needs the models, found out before any training: shapes, classes, losses, the exporter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from edgestill.artifact import Dataset
from edgestill.data.arrays import load_ids, load_inputs, load_labels
from edgestill.distill.stage import live_teacher, require_same_prediction
from edgestill.errors import DataError, EdgestillError, ModelError
from edgestill.export.config import CheckStep
from edgestill.export.stage import write_onnx
from edgestill.models.interface import require_classes
from edgestill.models.wrapper import DeviceModel
from edgestill.step import StepContext
from edgestill.train.learner import Learner
from edgestill.train.losses import default_losses, make_losses
from edgestill.train.losses.base import Labels, Loss, LossInputs
from edgestill.train.predict import to_tensors
from edgestill.train.reproducible import reproducible
from edgestill.train.stage import wrap
from edgestill.train.views import Views, require_whole_labels

SAMPLES = 8

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class CheckInputs:
    """The split that everything is tried on."""

    train: Dataset


def check(config: CheckStep, inputs: CheckInputs, out: Path, context: StepContext) -> None:
    """One batch through teacher, student, losses and exporter.

    Raises:
        ModelError: a model cannot be built or fed, or does not fit the data or its teacher.
        ExportError: a model cannot be exported.
    """
    arrays = {name: array[:SAMPLES] for name, array in load_inputs(inputs.train).items()}
    labels = load_labels(inputs.train)
    if labels is None:
        raise DataError(
            "the data has no labels, which every metric needs", fix="Name them with data.labels"
        )
    for augment in config.augment:
        require_whole_labels(augment, labels)
        Views(augment, arrays, load_ids(inputs.train)[:SAMPLES])
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
                with _about(role):
                    models[role] = wrap(
                        model_config, inputs.train, config.task, context.base, say=told
                    )
                    require_classes(models[role].prediction_shape, inputs.train.description)
        if len(models) == 2 and config.distilled:
            require_same_prediction(*(model.prediction_shape for model in models.values()))
        for role in config.trained:
            if role in models:
                with _about(role):
                    _try_losses(role, config, models, arrays, labels)
        for role, model in models.items():
            context.progress(0.75, f"export {role}")
            folder = context.work / role
            folder.mkdir(parents=True, exist_ok=True)
            with _about(role):
                write_onnx(model.eval(), arrays, config.export, folder)
    summary += [f"{role}: predicts {m.prediction_shape}" for role, m in models.items()]
    (out / "check.txt").write_text("\n".join(summary) + "\n", encoding="utf-8")


@contextmanager
def _about(role: str) -> Iterator[None]:
    """Errors say which model they are about."""
    try:
        yield
    except EdgestillError as error:
        error.where = f"{role}: {error.where}" if error.where else role
        raise


def _try_losses(
    role: str,
    config: CheckStep,
    models: Mapping[str, DeviceModel],
    arrays: Arrays,
    labels: NDArray[Any],
) -> None:
    """One step of a role's objective on the first samples, backwards too."""
    model, teacher = models[role], models.get("teacher")
    learns = role == "student" and config.distilled and teacher is not None
    chosen = (config.losses if learns else ()) or default_losses(config.task, teacher=learns)
    losses = make_losses(chosen, config.task)
    batch = to_tensors(arrays, slice(None), torch.device("cpu"))
    answers = None
    if learns and teacher is not None:
        asked = live_teacher(teacher, losses)
        answers = asked.answer(batch, numpy.arange(SAMPLES), 0) if asked else None
    known = torch.from_numpy(numpy.array(labels[:SAMPLES]))
    learner = Learner(model.train(), losses)
    given = partial(LossInputs, teacher=answers, labels=Labels(known))
    learner.adapt(batch, given)
    seen = given(learner.outputs(batch))
    _require_gradient(seen.student.logits)
    for loss in losses:
        _try_loss(loss, seen)
    learner.taps.close()
    model.zero_grad()


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
        assert terms.labels is not None
        raise ModelError(
            f"the loss {loss.name} cannot be computed from predictions "
            f"{list(logits.shape)} and labels {list(terms.labels.own.shape)} ({error})",
            fix="Look at the model's output, the task, the labels and the losses",
        ) from error
    if not torch.isfinite(value):
        raise ModelError(
            f"the loss {loss.name} is {float(value.detach())} on the first {len(logits)} samples",
            fix="Look at normalize: and at the model's initial weights",
        )
