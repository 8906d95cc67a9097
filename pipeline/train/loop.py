"""The training loop: one for teachers, lone students and distilled students."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import cast

import numpy
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from edgestill.errors import ModelError
from edgestill.models.wrapper import DeviceModel, device_advice
from edgestill.reference import describe
from edgestill.train import state
from edgestill.train.accelerator import start_accelerator
from edgestill.train.batches import Part, epoch_batches, parts_of
from edgestill.train.config import Keep, TrainConfig
from edgestill.train.learner import Given, Learner, attended_tokens
from edgestill.train.losses.base import Labels, LossInputs
from edgestill.train.objective import Objective, Samples, Trained
from edgestill.train.optimizers import learning_rate, make_average, make_optimizer
from edgestill.train.peers import peer_scores
from edgestill.train.predict import placed, predict
from edgestill.train.ranks import from_first, gatherer, mean_terms
from edgestill.train.reproducible import derived_seed, seed_everything
from edgestill.train.unread import Unread, Value
from edgestill.train.views import Rows, View, Views, require_whole_labels

# A checkpoint is written when it would cost less than this share of the time since the last one.
CHECKPOINT_SHARE = 0.02
CHECKPOINT_SECONDS = 2.0

_EXAMPLES = 2


class Trainer:
    """Trains one model, and its peers beside it.

    A call of `run` goes on where a killed one stopped, bit for bit.

    Every random choice is a function of seed and position (epoch, step, process), so that position
    and tensors are the whole state.

    Args:
        work: a folder that survives a kill.
        say: called with a line that the user should read.
        average: of the model's weights, where the objective's teacher is that; by default
            `config.ema` says whether one is made.

    Raises:
        ModelError: losses and models that do not fit each other.
    """

    def __init__(
        self,
        model: DeviceModel,
        objective: Objective,
        config: TrainConfig,
        seed: int,
        work: Path,
        train: Samples,
        say: Callable[[str], None],
        average: AveragedModel | None = None,
    ) -> None:
        self.accelerator = start_accelerator(config, work)
        self.device: torch.device = self.accelerator.device
        self.objective = objective
        self.config = config
        self.seed = seed
        self.work = work
        self.train = train
        self.say = say
        require_whole_labels(config.augment, train.labels)
        self.views = Views(config.augment, train.inputs, train.ids)
        self.model = self._placed(model)
        # Copied before taps are set, which would read the copy too.
        if average is None and config.ema:
            average = make_average(self.model, config.ema)
        self.average = average
        self.kept = cast(DeviceModel, average.module).to(self.device) if average else self.model
        bf16 = config.precision == "bf16"
        peers = [Learner(self._placed(p.model), p.losses, bf16=bf16) for p in objective.peers]
        self.learner = Learner(
            self.model, objective.losses, bf16=bf16, only=config.only, peers=peers
        )
        self.losses = self.learner.terms
        self._adapt()
        if config.compile:
            for learner in self.learner.learners:
                learner.student.module.compile()
        # What losses learn is placed before the optimizer has it: not every device keeps parameters
        # the same objects.
        self.optimizer = make_optimizer(self.learner.to(self.device), config)
        self.wrapped = self.accelerator.prepare(self.learner)
        modules = {"learner": self.learner} | ({"average": average} if average else {})
        own = {f"loss {i}": loss.optimizer for i, loss in enumerate(self.losses)}
        optimizers = {name: optimizer for name, optimizer in own.items() if optimizer}
        self.tracked = state.Tracked(modules, {"optimizer": self.optimizer, **optimizers})
        self.unread = Unread()
        self._saved, self._save_seconds = time.monotonic(), 0.0

    def run(
        self,
        validation: Samples,
        progress: Callable[[float, str], None],
        *,
        keep: Keep = "best",
    ) -> Trained:
        """Train for all epochs, or until they no longer help.

        Args:
            keep: the epoch whose weights are given.

        Raises:
            ModelError: a loss or the validation's outputs are not finite, or the teacher changed.
        """
        resumed = state.load(self.work, self.tracked)
        at, best = resumed or (state.Progress(), {})
        steps = math.ceil(len(self.train) / self.config.batch_size)
        patience = self.config.early_stop or math.inf
        while at.epoch < self.config.epochs and at.epochs_without_gain < patience:
            started = time.monotonic()
            self._epoch(at, best, steps)
            self._read_terms(at)
            record = self._validate(validation, at, time.monotonic() - started, steps)
            self._warn_of_idle_terms(at, steps)
            if keep == "last" or self.objective.at_least_as_good(record, at.best):
                at.best_epoch = record.epoch
                best = {k: v.detach().cpu().clone() for k, v in self.kept.state_dict().items()}
            at = state.Progress(record.epoch, 0, {}, at.best_epoch, (*at.history, record))
            self._save_if_due(at, best)
            self.accelerator.log(
                {**record.losses, **record.readings, "validation": record.validation},
                step=record.epoch,
            )
            progress(at.epoch / self.config.epochs, f"epoch {at.epoch}/{self.config.epochs}")
        for tracker in self.accelerator.trackers:
            tracker.finish()
        return Trained(best, at.best_epoch, at.history)

    def _placed(self, model: DeviceModel) -> DeviceModel:
        model = model.to(self.device)
        if self.config.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model

    def _adapt(self) -> None:
        """The dry run that makes adapters and discriminators."""
        seed_everything(derived_seed(self.seed, "adapt"))
        rows = numpy.arange(_EXAMPLES) % len(self.train)
        view = self.views.of(rows, 0, self.device)
        for words in self.learner.adapt(
            view.inputs, self._given(view, Part(rows, (2,), 2), 0, 0.0)
        ):
            self.say(words)

    def _epoch(self, at: state.Progress, best: dict[str, Tensor], steps: int) -> None:
        batches = epoch_batches(len(self.train), self.config.batch_size, self.seed, at.epoch)
        self.wrapped.train()
        for step in range(at.step, steps):
            with _told_in_words():
                self._step(batches[step], at, steps)
            at.step = step + 1
            self._save_if_due(at, best)

    def _save_if_due(self, at: state.Progress, best: dict[str, Tensor]) -> None:
        now = time.monotonic()
        wait = max(CHECKPOINT_SECONDS, self._save_seconds / CHECKPOINT_SHARE)
        if now - self._saved > wait and self.accelerator.is_main_process:
            self._read_terms(at)
            state.save(self.work, self.tracked, best, at)
            self._saved = time.monotonic()
            self._save_seconds = self._saved - now

    def _step(self, batch: Rows, at: state.Progress, steps: int) -> None:
        position = at.epoch * steps + at.step
        index = self.accelerator.process_index
        seed_everything(derived_seed(self.seed, "step", position, *([index] if index else [])))
        progress = position / (steps * self.config.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, position, steps * self.config.epochs)
        self.optimizer.zero_grad()
        parts = parts_of(batch, self.config.accumulate, index, self.accelerator.num_processes)
        for part in parts:
            alone = part is not parts[-1] and self.accelerator.num_processes > 1
            with self.accelerator.no_sync(self.wrapped) if alone else nullcontext():
                seen = self._backward(part, at, progress)
        if self.config.clip_norm is not None:
            for learner in self.learner.learners:
                norm = self.config.clip_norm
                self.accelerator.clip_grad_norm_(learner.own_parameters(), norm)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        for learner, inputs in zip(self.learner.learners, seen, strict=True):
            for loss in learner.own_terms:
                loss.after_step(inputs)
        self._read_terms(at, but=at.step)

    def _backward(self, part: Part, at: state.Progress, progress: float) -> list[LossInputs]:
        """Add the gradients of one part; what each learner's losses read, detached."""
        teacher = self.objective.teacher
        number = teacher.view_of(at.epoch) if teacher else at.epoch
        view = self.views.of(part.rows, number, self.device)
        losses = self.losses
        weights = [loss.weight_at(progress) for loss in losses]
        # Before any schedule has risen, all are computed for a gradient of zero.
        due = [index for index, weight in enumerate(weights) if weight > 0] or range(len(losses))
        given = self._given(view, part, number, progress)
        terms: list[Tensor]
        seen: list[LossInputs]
        terms, seen = self.wrapped(view.inputs, given, due)
        self.unread.put(at.step, len(part.rows), [losses[index].name for index in due], terms)
        total = torch.zeros((), device=self.device)
        for index, term in zip(due, terms, strict=True):
            # Processes average their gradients: rows weigh alike, whoever has them.
            together = losses[index].relates_samples
            rows = sum(part.sizes) if together else len(part.rows) * len(part.sizes)
            total = total + weights[index] * (rows / part.whole) * term
        # Not through Accelerate: a variable of its own would divide the loss.
        torch.autograd.backward(total)
        return seen

    def _read_terms(self, at: state.Progress, *, but: int | None = None) -> None:
        """Take the terms of all steps but one from the device."""
        with _told_in_words():
            for term in self.unread.take(but=but):
                self._require_finite(term, at)
                at.terms.setdefault(term.name, state.Term()).add(term.value, term.rows)

    def _given(self, view: View, part: Part, number: int, progress: float) -> Given:
        """Everything that the losses read but the student's outputs."""
        teacher, labels = self.objective.teacher, self._labels(view, part.rows)
        return partial(
            LossInputs,
            teacher=teacher.answer(view.inputs, part.rows, number, labels) if teacher else None,
            labels=labels,
            progress=progress,
            attended=attended_tokens(self.train.inputs, view.inputs),
            gather=gatherer(part.sizes),
        )

    def _labels(self, view: View, rows: Rows) -> Labels | None:
        labels = self.train.labels
        if labels is None:
            return None
        own = placed(labels[rows], self.device)
        if view.partners is None:
            return Labels(own)
        partner = placed(labels[view.partners], self.device)
        return Labels(own, partner, view.share)

    def _validate(
        self, validation: Samples, at: state.Progress, seconds: float, steps: int
    ) -> state.EpochRecord:
        if self.objective.teacher is not None:
            self.objective.teacher.require_unchanged()
        with _told_in_words():
            outputs = predict(self.kept, validation.inputs, self.device)
        if not all(numpy.isfinite(output).all() for output in outputs):
            raise ModelError(
                f"the model's outputs are not finite after epoch {at.epoch + 1}",
                where="validation",
                fix=_ADVICE,
            )
        readings = {k: float(v) for loss in self.losses for k, v in loss.readings().items()}
        readings |= peer_scores(
            self.objective.peers, validation.inputs, validation.labels, self.device
        )
        record = state.EpochRecord(
            epoch=at.epoch + 1,
            losses=mean_terms({name: (t.total, t.count) for name, t in at.terms.items()}),
            learning_rate=learning_rate(
                self.config, (at.epoch + 1) * steps - 1, steps * self.config.epochs
            ),
            validation=float(self.objective.score(outputs, validation.labels)),
            seconds=seconds,
            readings=readings,
        )
        # Statistics of a batch are of each process's own: one of them says which epoch is best.
        shared: state.EpochRecord = from_first(record)
        return shared

    def _warn_of_idle_terms(self, at: state.Progress, steps: int) -> None:
        for name, term in at.terms.items():
            # One step, or a weight that has just risen, says nothing.
            if term.least == term.greatest and 1 < term.steps > steps / 2:
                same = "zero" if term.least == 0 else f"{term.least:.6g}"
                self.say(
                    f"the loss {name} was {same} at every step of epoch {at.epoch + 1}: it teaches "
                    "nothing. Look at its layers and its teacher"
                )

    def _require_finite(self, term: Value, at: state.Progress) -> None:
        if not math.isfinite(term.value):
            kept = (self.work / state.FILE).is_file()
            raise ModelError(
                f"the loss {term.name} is {term.value} at step {term.step + 1} of epoch "
                f"{at.epoch + 1}",
                where="training",
                fix=_ADVICE + (f"; the last checkpoint is in {self.work}" if kept else ""),
            )


@contextmanager
def _told_in_words() -> Iterator[None]:
    """Errors of the device that are not raised within the forward of a model."""
    try:
        yield
    except RuntimeError as error:
        fix = device_advice(error)
        if fix is None:
            raise
        what = f"a step of the training raised {describe(error)}"
        raise ModelError(what, where="training", fix=fix) from error


_ADVICE = "Lower learning_rate, set clip_norm, or look for extreme values in the data"
