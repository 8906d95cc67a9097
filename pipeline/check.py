"""What needs the models, found out before any training: shapes, classes, losses, the exporter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from edgestill.artifact import Dataset
from edgestill.data.arrays import load_inputs, load_labels
from edgestill.distill.stage import require_same_prediction
from edgestill.errors import ModelError
from edgestill.export.config import CheckStep
from edgestill.export.stage import to_onnx
from edgestill.models.wrapper import DeviceModel
from edgestill.step import StepContext
from edgestill.train.loop import freeze
from edgestill.train.losses import default_losses, make_losses
from edgestill.train.losses.base import LossInputs
from edgestill.train.predict import to_tensors
from edgestill.train.reproducible import reproducible
from edgestill.train.stage import wrap

SAMPLES = 8


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
    configs = {"teacher": config.teacher, "student": config.student}
    models: dict[str, DeviceModel] = {}
    with reproducible(config.seed, torch.get_num_threads()):
        for role, model_config in configs.items():
            if model_config is not None:
                context.progress(len(models) / 4, f"build {role}")
                models[role] = wrap(model_config, inputs.train, config.task, context.base)
                _require_classes(role, models[role], inputs.train, config.task)
        if len(models) == 2:
            shapes = [model.prediction_shape for model in models.values()]
            require_same_prediction(*shapes)
        if "student" in models and labels is not None:
            _try_losses(config, models, arrays, labels[:SAMPLES])
        for role, model in models.items():
            context.progress(0.75, f"export {role}")
            model.eval()
            to_onnx(model, arrays, config.export)
    summary = "\n".join(f"{role}: predicts {m.prediction_shape}" for role, m in models.items())
    (out / "check.txt").write_text(summary + "\n", encoding="utf-8")


def _require_classes(role: str, model: DeviceModel, dataset: Dataset, task: str) -> None:
    classes = len(dataset.description.class_names)
    shape = model.prediction_shape
    outputs = shape[0] if shape else 1
    binary = task == "classification" and outputs == 1
    if task in ("classification", "multilabel") and classes > (2 if binary else outputs):
        raise ModelError(
            f"the {role} predicts {outputs} classes, the labels have {classes}",
            where=role,
            fix="Give the model as many outputs as the data has classes, or correct the labels",
        )


def _try_losses(
    config: CheckStep,
    models: Mapping[str, DeviceModel],
    arrays: Mapping[str, NDArray[Any]],
    labels: NDArray[Any],
) -> None:
    """One step of the objective on the first samples, backwards too."""
    student, teacher = models["student"], models.get("teacher")
    losses = config.losses or default_losses(config.task, teacher=teacher is not None)
    batch = to_tensors(arrays, slice(None), torch.device("cpu"))
    teacher_logits = None
    if teacher is not None:
        freeze(teacher)
        with torch.no_grad():
            teacher_logits = teacher.prediction(*batch)
    student.train()
    terms = LossInputs(
        student.prediction(*batch), teacher_logits, torch.from_numpy(numpy.array(labels))
    )
    for loss in make_losses(losses, config.task):
        try:
            value = loss(terms)
            torch.autograd.backward(value, retain_graph=True)
        except (RuntimeError, IndexError, ValueError) as error:
            raise ModelError(
                f"the loss {loss.name} cannot be computed from predictions "
                f"{list(terms.student_logits.shape)} and labels {list(labels.shape)} ({error})",
                where="distill.losses",
                fix="Look at the model's output, the task and the labels",
            ) from error
        if not torch.isfinite(value):
            raise ModelError(
                f"the loss {loss.name} is {float(value.detach())} on the first "
                f"{len(labels)} samples",
                where="distill.losses",
                fix="Look at normalize: and at the model's initial weights",
            )
    student.zero_grad()
