"""The training loop: one for teachers, lone students and distilled students."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgestill.errors import ModelError
from edgestill.extras import require
from edgestill.models.wrapper import DeviceModel
from edgestill.train import state
from edgestill.train.config import TrainConfig
from edgestill.train.losses.base import Loss, LossInputs
from edgestill.train.predict import Arrays, predict, to_tensors
from edgestill.train.reproducible import derived_seed, seed_everything

# A checkpoint is written when it would cost less than this share of the time since the last one.
CHECKPOINT_SHARE = 0.02
CHECKPOINT_SECONDS = 2.0


@dataclass(frozen=True)
class Samples:
    """Inputs by name and labels, all `[n, ...]`."""

    inputs: Arrays
    labels: NDArray[numpy.generic] | None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


@dataclass(frozen=True)
class Objective:
    """What a training works towards.

    Attributes:
        losses: the terms, whose weighted sum is minimised.
        teacher: a frozen model in eval mode, where a term needs one.
        score: the task's metric on outputs and labels, for choosing the best epoch.
        bigger_is_better: which way the metric points.
    """

    losses: Sequence[Loss]
    teacher: DeviceModel | None
    score: Callable[[Sequence[NDArray[numpy.float32]], NDArray[numpy.generic] | None], float]
    bigger_is_better: bool


@dataclass(frozen=True)
class Trained:
    """The weights of the best epoch, and how the training went."""

    weights: Mapping[str, Tensor]
    best_epoch: int
    history: tuple[state.EpochRecord, ...]


class Trainer:
    """Trains one model; a call of `run` goes on where a killed one stopped, bit for bit.

    Every random choice is a function of seed and position (epoch, step), so that position and
    tensors are the whole state.
    """

    def __init__(
        self, model: DeviceModel, objective: Objective, config: TrainConfig, seed: int, work: Path
    ) -> None:
        accelerate = require("accelerate", extra="build")
        self.accelerator = accelerate.Accelerator(mixed_precision="no")
        self.device: torch.device = self.accelerator.device
        self.objective = objective
        self.config = config
        self.seed = seed
        self.work = work
        self.model = model.to(self.device)
        self.optimizer = make_optimizer(self.model, config)
        self.wrapped, self.wrapped_optimizer = self.accelerator.prepare(self.model, self.optimizer)
        if objective.teacher is not None:
            freeze(objective.teacher.to(self.device))

    def run(
        self, train: Samples, validation: Samples, progress: Callable[[float, str], None]
    ) -> Trained:
        """Train for all epochs.

        Raises:
            ModelError: a loss or the validation's outputs are not finite.
        """
        resumed = state.load(self.work, self.model, self.optimizer)
        at, best = resumed or (state.Progress(), {})
        steps = math.ceil(len(train) / self.config.batch_size)
        saved, save_seconds = time.monotonic(), 0.0
        while at.epoch < self.config.epochs:
            started = time.monotonic()
            batches = self._batches(len(train), at.epoch, steps)
            self.wrapped.train()
            for step in range(at.step, steps):
                try:
                    self._step(train, batches[step], at, steps)
                except ModelError as error:
                    # The step before this one left weights that are still good.
                    state.save(self.work, self.model, self.optimizer, best, at)
                    error.fix = f"{error.fix}; the last good weights are in {self.work}"
                    raise
                at.step = step + 1
                now = time.monotonic()
                if now - saved > max(CHECKPOINT_SECONDS, save_seconds / CHECKPOINT_SHARE):
                    state.save(self.work, self.model, self.optimizer, best, at)
                    saved = time.monotonic()
                    save_seconds = saved - now
            record = self._validate(validation, at, len(train), time.monotonic() - started, steps)
            if at.best_epoch == 0 or self._at_least_as_good(record, at.history[at.best_epoch - 1]):
                at.best_epoch = record.epoch
                best = {k: v.detach().cpu().clone() for k, v in self.model.state_dict().items()}
            at = state.Progress(record.epoch, 0, None, at.best_epoch, (*at.history, record))
            progress(at.epoch / self.config.epochs, f"epoch {at.epoch}/{self.config.epochs}")
        return Trained(best, at.best_epoch, at.history)

    def _batches(self, count: int, epoch: int, steps: int) -> tuple[Tensor, ...]:
        """The samples of each step: every sample once, sizes that differ by one at most.

        Even sizes, because a last batch of one sample has no batch statistics.
        """
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "epoch", epoch))
        return torch.tensor_split(torch.randperm(count, generator=generator), steps)

    def _step(self, train: Samples, batch: Tensor, at: state.Progress, steps: int) -> None:
        position = at.epoch * steps + at.step
        seed_everything(derived_seed(self.seed, "step", position))
        rows = batch.numpy()
        inputs = to_tensors(train.inputs, rows, self.device)
        labels = None
        if train.labels is not None:
            labels = torch.from_numpy(numpy.array(train.labels[rows])).to(self.device)
        teacher_logits = None
        if self.objective.teacher is not None:
            with torch.no_grad():
                teacher_logits = self.objective.teacher.prediction(*inputs)
        student_logits = self.wrapped(*inputs)[self.model.prediction_index]
        terms = LossInputs(student_logits, teacher_logits, labels)
        total = torch.zeros((), device=self.device)
        at.sums = at.sums or {}
        for loss in self.objective.losses:
            term = loss(terms)
            self._require_finite(term, loss.name, at)
            total = total + loss.weight * term
            at.sums[loss.name] = at.sums.get(loss.name, 0.0) + float(term.detach()) * len(rows)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, position, steps * self.config.epochs)
        self.wrapped_optimizer.zero_grad()
        self.accelerator.backward(total)
        if self.config.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.wrapped.parameters(), self.config.clip_norm)
        self.wrapped_optimizer.step()

    def _validate(
        self, validation: Samples, at: state.Progress, count: int, seconds: float, steps: int
    ) -> state.EpochRecord:
        outputs = predict(self.model, validation.inputs, self.device)
        if not all(numpy.isfinite(output).all() for output in outputs):
            raise ModelError(
                f"the model's outputs are not finite after epoch {at.epoch + 1}",
                where="validation",
                fix=_ADVICE,
            )
        return state.EpochRecord(
            epoch=at.epoch + 1,
            losses={name: total / count for name, total in (at.sums or {}).items()},
            learning_rate=learning_rate(
                self.config, (at.epoch + 1) * steps - 1, steps * self.config.epochs
            ),
            validation=float(self.objective.score(outputs, validation.labels)),
            seconds=seconds,
        )

    def _at_least_as_good(self, new: state.EpochRecord, best: state.EpochRecord) -> bool:
        # Of equal epochs the later one has been annealed for longer.
        if self.objective.bigger_is_better:
            return new.validation >= best.validation
        return new.validation <= best.validation

    def _require_finite(self, term: Tensor, name: str, at: state.Progress) -> None:
        if not torch.isfinite(term):
            raise ModelError(
                f"the loss {name} is {float(term.detach())} "
                f"at step {at.step + 1} of epoch {at.epoch + 1}",
                where="training",
                fix=_ADVICE,
            )


_ADVICE = "Lower learning_rate, set clip_norm, or look for extreme values in the data"


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """The rate at `step` of `steps`: a linear rise over the warm-up, then half a cosine to zero.

    (Loshchilov and Hutter, "SGDR", 2017, equation 5, without restarts.)
    """
    warmup = round(config.warmup * steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW or SGD; biases and normalisation parameters are not decayed."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise ModelError(
            "the model has no trainable parameters", fix="Give it weights, or leave out train"
        )
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate)
    return torch.optim.SGD(
        groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0
    )


def freeze(model: nn.Module) -> None:
    """Make `model` a teacher: eval mode, no gradients."""
    model.eval()
    model.requires_grad_(False)
