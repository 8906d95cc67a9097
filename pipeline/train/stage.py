"""The steps that give a checkpoint without a teacher, and those that ask a checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy
import torch

from edgestill.artifact import (
    Checkpoint,
    CheckpointDescription,
    Dataset,
    Predictions,
    PredictionsDescription,
)
from edgestill.data.arrays import load_ids, load_inputs, load_labels
from edgestill.errors import ModelError
from edgestill.extras import require
from edgestill.metric_config import MetricConfig
from edgestill.models.config import ModelConfig
from edgestill.models.derive import derive
from edgestill.models.resolve import build, load_callable, load_weights, number_of_parameters
from edgestill.models.wrapper import DeviceModel, probe_samples, single_output
from edgestill.scoring import resolve_metric, score_outputs
from edgestill.step import StepContext
from edgestill.train.accelerator import TRACKERS
from edgestill.train.config import AskStep, LoadStep, TrainStep
from edgestill.train.loop import Trainer
from edgestill.train.losses import default_losses, make_losses
from edgestill.train.losses.base import Loss
from edgestill.train.objective import Objective, Samples, Trained
from edgestill.train.predict import predict
from edgestill.train.reproducible import reproducible
from edgestill.train.teachers.base import Teacher
from edgestill.train.teachers.function import FunctionTeacher


@dataclass(frozen=True)
class TrainInputs:
    """The splits that a training sees: one to learn from, one to choose the best epoch by; and
    the teacher that the model is derived from, if it is."""

    train: Dataset
    validation: Dataset
    teacher: Checkpoint | None = None


def train(config: TrainStep, inputs: TrainInputs, out: Path, context: StepContext) -> Checkpoint:
    """A model trained on labels alone."""
    with reproducible(config.seed, config.threads):
        trainer = lone_trainer(config, inputs, context)
        trained = trainer.run(samples(inputs.validation), context.progress)
    return write_trained(trainer, trained, config.model, "trained", out)


def lone_trainer(config: TrainStep, inputs: TrainInputs, context: StepContext) -> Trainer:
    """The training of a model without a teacher, before its first step."""
    model = wrap(config.model, inputs.train, config.task, context.base, teacher=inputs.teacher)
    losses = lone_losses(config.task, inputs.train)
    return Trainer(
        model,
        make_objective(losses, None, model, config.metric, context.base),
        config.train,
        config.seed,
        context.work,
        samples(inputs.train),
        context.say,
    )


@dataclass(frozen=True)
class LoadInputs:
    """A split that shows what the model is fed."""

    train: Dataset


def load(config: LoadStep, inputs: LoadInputs, out: Path, context: StepContext) -> Checkpoint:
    """A model with the weights that a file or its callable brings."""
    with reproducible(config.seed, torch.get_num_threads()):
        final = config.model.weights is None
        model = wrap(config.model, inputs.train, config.task, context.base, final=final)
    origin = "loaded" if config.model.weights else "built"
    return _write(model, config.model, origin, out)


@dataclass(frozen=True)
class AskInputs:
    """The samples, and the checkpoint that is asked about them; None for a function."""

    dataset: Dataset
    checkpoint: Checkpoint | None = None


def ask(config: AskStep, inputs: AskInputs, out: Path, context: StepContext) -> Predictions:
    """What a checkpoint answers in PyTorch, or a function, the first hop of every comparison."""
    arrays = load_inputs(inputs.dataset)
    with reproducible(0, config.threads):
        names: tuple[str, ...]
        if inputs.checkpoint is None:
            assert config.model.function is not None
            function = FunctionTeacher(
                config.model.function,
                context.base,
                arrays,
                None,
                classes_last=config.model.classes == "last",
            )
            prediction, runtime = single_output(config.task), "function"
            outputs, names = [function.predict(arrays)], (prediction,)
        else:
            model = restore(
                config.model, inputs.checkpoint, inputs.dataset, config.task, context.base
            )
            prediction, runtime = model.output_names[model.prediction_index], "torch"
            outputs, names = predict(model, arrays, torch.device("cpu")), model.output_names
    (out / "outputs").mkdir()
    for index, output in enumerate(outputs):
        numpy.save(out / "outputs" / f"{index}.npy", output, allow_pickle=False)
    description = PredictionsDescription(runtime, len(outputs[0]), names, prediction)
    return Predictions.seal(out, description)


def wrap(
    model: ModelConfig,
    dataset: Dataset,
    task: str,
    base: Path,
    *,
    teacher: Checkpoint | None = None,
    say: Callable[[str], None] | None = None,
    final: bool = False,
) -> DeviceModel:
    """The model of a recipe, with its weights, around which the device input is normalised.

    Args:
        teacher: whose weights a model that is derived from it starts from.
        say: told what was derived.
        final: whether the weights that it comes with are what ships.
    """
    module = build(model, base, final=final)
    if model.weights:
        load_weights(module, model, base)
    inputs, arrays = dataset.description.inputs, load_inputs(dataset)
    wrapped = DeviceModel.around(module, model, inputs, task, arrays)
    if model.from_ is not None:
        if teacher is not None:
            load_checkpoint(wrapped, teacher)
        told = derive(wrapped, probe_samples(inputs, arrays), model.depth, model.width)
        if say is not None:
            say(told)
    return wrapped


def restore(
    model: ModelConfig, checkpoint: Checkpoint, dataset: Dataset, task: str, base: Path
) -> DeviceModel:
    """The model of a recipe with the weights of a checkpoint of ours, in eval mode."""
    wrapped = wrap(replace(model, weights=None), dataset, task, base)
    load_checkpoint(wrapped, checkpoint)
    return wrapped.eval()


def load_checkpoint(model: DeviceModel, checkpoint: Checkpoint) -> None:
    """Put the weights of a checkpoint of ours into the model that they are of."""
    safetensors = require("safetensors.torch", extra="build")
    model.module.load_state_dict(safetensors.load_file(checkpoint.weights_path))


def samples(dataset: Dataset) -> Samples:
    """A split as the training loop takes it."""
    return Samples(load_inputs(dataset), load_labels(dataset), load_ids(dataset))


def lone_losses(task: str, train: Dataset) -> tuple[Loss, ...]:
    """What trains a model without a teacher.

    Raises:
        ModelError: the train split has no labels.
    """
    losses = make_losses(default_losses(task, teacher=False), task)
    require_labels(losses, train)
    return losses


def require_labels(losses: Sequence[Loss], train: Dataset) -> None:
    """Refuse losses that read labels where there are none.

    Raises:
        ModelError: the train split has no labels.
    """
    reading = [loss.name for loss in losses if loss.reads.labels]
    if reading and not train.labels_path.is_file():
        raise ModelError(
            f"the loss {reading[0]} reads labels, and the train split has none",
            fix="Give train labels, or learn from a teacher alone, such as by kd, dist or mse",
        )


def make_objective(
    losses: Sequence[Loss],
    teacher: Teacher | None,
    model: DeviceModel,
    metric: MetricConfig,
    base: Path,
) -> Objective:
    """The losses, and the metric that chooses the best epoch."""
    resolved = resolve_metric(metric, lambda reference: load_callable(reference, base))
    names, prediction = model.output_names, model.output_names[model.prediction_index]
    return Objective(
        losses=losses,
        teacher=teacher,
        score=lambda outputs, labels: score_outputs(
            resolved, dict(zip(names, outputs, strict=True)), prediction, labels
        ),
        bigger_is_better=resolved.bigger_is_better,
    )


def write_trained(
    trainer: Trainer, trained: Trained, config: ModelConfig, origin: str, out: Path
) -> Checkpoint:
    """The best epoch as a checkpoint; the history beside it, where it does not count."""
    model = trainer.model
    model.load_state_dict(dict(trained.weights))
    (out / "log").mkdir()
    if (trainer.work / TRACKERS).is_dir():
        shutil.copytree(trainer.work / TRACKERS, out / "log" / TRACKERS)
    with (out / "log" / "history.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(record.to_json() + "\n" for record in trained.history)
    validation = tuple(record.validation for record in trained.history)
    together = trainer.accelerator.num_processes
    return _write(model, config, origin, out, validation, trained.best_epoch, together)


def _write(
    model: DeviceModel,
    config: ModelConfig,
    origin: str,
    out: Path,
    validation: tuple[float, ...] = (),
    best_epoch: int | None = None,
    processes: int | None = None,
) -> Checkpoint:
    safetensors = require("safetensors.torch", extra="build")
    module = model.module
    tensors = {
        name: t.detach().cpu().contiguous().clone() for name, t in module.state_dict().items()
    }
    safetensors.save_file(tensors, out / "weights.safetensors")
    return Checkpoint.seal(
        out,
        CheckpointDescription(
            model=_told(config),
            origin=origin,
            parameters=number_of_parameters(module),
            validation=validation,
            best_epoch=best_epoch,
            processes=processes,
        ),
    )


def _told(config: ModelConfig) -> str:
    """Which model it is, for the report."""
    if config.from_ is None:
        return str(config.model)
    return f"{config.model}, depth {config.depth:g}, width {config.width:g}"
