"""The training loop: learns, stops on NaN, and resumes bit for bit wherever it was stopped."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgestill.artifact import TensorSpec
from edgestill.errors import ModelError
from edgestill.metrics import METRICS, score
from edgestill.models.wrapper import DeviceModel
from edgestill.train import loop
from edgestill.train.config import AugmentConfig, Keep, TrainConfig
from edgestill.train.loop import Trainer
from edgestill.train.losses import default_losses, make_losses
from edgestill.train.losses.base import Loss, LossInputs
from edgestill.train.losses.config import HeadsLoss, Reads
from edgestill.train.objective import Objective, Samples, Trained
from edgestill.train.reproducible import reproducible
from edgestill.train.state import Progress

CONFIG = TrainConfig(epochs=3, batch_size=16, learning_rate=1e-2)


class Stopped(Exception):
    """Stands for whatever ends a process."""


def samples(seed: int = 0, count: int = 70) -> Samples:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    inputs = rng.normal(size=(count, 6)).astype(np.float32)
    inputs[np.arange(count), labels] += 2.0
    return Samples({"features": inputs}, labels, np.arange(count, dtype=np.uint64))


def model() -> DeviceModel:
    # Dropout, batch statistics and momentum: each has state that a resume could lose.
    net = nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3)
    )
    return DeviceModel(net, None, (TensorSpec("features", "float32", (None, 6)),))


def objective() -> Objective:
    return Objective(
        losses=make_losses(default_losses("classification", teacher=False), "classification"),
        teacher=None,
        score=lambda outputs, labels: score(METRICS["accuracy"], outputs[0], labels),
        bigger_is_better=True,
    )


said: list[str] = []


def train(work: Path, config: TrainConfig = CONFIG) -> Trained:
    with reproducible(seed=0, threads=2):
        trainer = Trainer(model(), objective(), config, 0, work, samples(), said.append)
        return trainer.run(samples(1), lambda share, words: None)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_training_learns_and_keeps_the_best_epoch(tmp_path: Path, optimizer: str) -> None:
    config = TrainConfig(epochs=15, batch_size=16, learning_rate=3e-2, optimizer=optimizer)  # type: ignore[arg-type]
    trained = train(tmp_path, config)
    scores = [record.validation for record in trained.history]
    assert len(scores) == 15
    assert max(scores) > 0.75 > 1.5 / 3
    assert scores[trained.best_epoch - 1] == max(scores)
    assert trained.history[-1].losses["ce"] < trained.history[0].losses["ce"]


@pytest.mark.parametrize("stop_at", range(1, 15, 2))
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_stopped_training_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int, optimizer: str
) -> None:
    config = TrainConfig(epochs=3, batch_size=16, learning_rate=1e-2, optimizer=optimizer)  # type: ignore[arg-type]
    whole = train(tmp_path / "whole", config)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", 1e9)
    steps = 0
    step = Trainer._step

    def stopping(self: Trainer, *args: object) -> None:
        nonlocal steps
        steps += 1
        if steps == stop_at:
            raise Stopped
        step(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "_step", stopping)
    with pytest.raises(Stopped):
        train(tmp_path / "stopped", config)
    stopped_at = steps
    resumed = train(tmp_path / "stopped", config)
    assert steps - stopped_at < 15 or stop_at == 1, "it began again from the start"
    assert resumed.best_epoch == whole.best_epoch
    for name, tensor in whole.weights.items():
        assert torch.equal(tensor, resumed.weights[name]), name
    assert [r.validation for r in resumed.history] == [r.validation for r in whole.history]
    assert [r.losses for r in resumed.history] == [r.losses for r in whole.history]


def test_a_damaged_checkpoint_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "training.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0not a checkpoint")
    assert len(train(tmp_path).history) == 3


@pytest.mark.parametrize("kept", [False, True])
def test_a_loss_that_is_not_finite_stops_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    if kept:
        monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
        monkeypatch.setattr(loop, "CHECKPOINT_SHARE", 1e9)

    class Exploding(Loss):
        calls = 0

        def forward(self, inputs: LossInputs) -> torch.Tensor:
            self.calls += 1
            return inputs.student.logits.mean() * (float("nan") if self.calls == 7 else 1.0)

    wrong = Objective([Exploding("boom", 1.0, Reads(labels=True))], None, objective().score, True)
    with reproducible(0, 2):
        trainer = Trainer(model(), wrong, CONFIG, 0, tmp_path, samples(), said.append)
        with pytest.raises(ModelError) as error:
            trainer.run(samples(1), lambda share, words: None)
    assert str(error.value) == (
        "training: the loss boom is nan at step 2 of epoch 2. Lower learning_rate, set clip_norm, "
        "or look for extreme values in the data"
        + (f"; the last checkpoint is in {tmp_path}" if kept else "")
    )
    assert (tmp_path / "training.safetensors").is_file() == kept


class Greedy(Loss):
    """Asks for more memory than there is: a tensor's own, or its gradient's."""

    def __init__(self, backward: bool) -> None:
        super().__init__("greedy", 1.0, Reads(labels=True))
        self.backward = backward

    def forward(self, inputs: LossInputs) -> torch.Tensor:
        logits = inputs.student.logits
        if not self.backward:
            return logits.new_empty(2**50).sum()
        logits.register_hook(lambda slope: slope.new_empty(2**50))
        return logits.sum()


@pytest.mark.parametrize("backward", [False, True])
def test_memory_that_does_not_suffice(tmp_path: Path, backward: bool) -> None:
    goal = Objective([Greedy(backward)], None, objective().score, True)
    with reproducible(0, 2):
        trainer = Trainer(model(), goal, CONFIG, 0, tmp_path, samples(), said.append)
        with pytest.raises(ModelError) as error:
            trainer.run(samples(1), lambda share, words: None)
    assert re.fullmatch(
        r"training: a step of the training raised (RuntimeError|OutOfMemoryError): .*memory.* It "
        "is memory that is short: lower batch_size, or raise accumulate",
        str(error.value),
    )


class Asserting(Loss):
    """As a GPU, it tells of a wrong index when something later is asked for."""

    def forward(self, inputs: LossInputs) -> torch.Tensor:
        raise RuntimeError("CUDA error: device-side assert triggered\nSearch for it in ...")


def test_a_gpu_that_met_a_wrong_index_says_what_it_may_be(tmp_path: Path) -> None:
    wrong = Asserting("wrong", 1.0, Reads(labels=True))
    goal = Objective([wrong], None, objective().score, True)
    with reproducible(0, 2):
        trainer = Trainer(model(), goal, CONFIG, 0, tmp_path, samples(), said.append)
        with pytest.raises(ModelError) as error:
            trainer.run(samples(1), lambda share, words: None)
    assert str(error.value) == (
        "training: a step of the training raised RuntimeError: CUDA error: device-side assert "
        "triggered. Most often an index is beyond its table, such as a token beyond the "
        "vocabulary: with ACCELERATE_USE_CPU=true in the environment it is said where"
    )


@pytest.mark.parametrize(("keep", "epoch"), [("best", 1), ("last", 4)])
def test_which_epoch_is_kept(tmp_path: Path, keep: Keep, epoch: int) -> None:
    """Validated by how little has been learnt, the first epoch is the best."""
    forgetful = replace(objective(), bigger_is_better=False)
    config = TrainConfig(epochs=4, batch_size=16, learning_rate=1e-2)
    with reproducible(seed=0, threads=2):
        trainer = Trainer(model(), forgetful, config, 0, tmp_path, samples(), said.append)
        trained = trainer.run(samples(1), lambda share, words: None, keep=keep)
    scores = [record.validation for record in trained.history]
    assert scores[0] < min(scores[1:])
    assert trained.best_epoch == epoch
    last = trainer.model.state_dict()
    same = [torch.equal(tensor, last[name].cpu()) for name, tensor in trained.weights.items()]
    assert all(same) == (keep == "last")


def test_the_best_epoch_before_a_stop_is_what_a_resumed_training_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above, stopped after the second epoch, which is no better than the first."""
    forgetful = replace(objective(), bigger_is_better=False)

    def run(work: Path, progress: Callable[[float, str], None]) -> Trained:
        with reproducible(seed=0, threads=2):
            trainer = Trainer(model(), forgetful, CONFIG, 0, work, samples(), said.append)
            return trainer.run(samples(1), progress)

    def stop(share: float, words: str) -> None:
        if words == "epoch 2/3":
            raise Stopped

    whole = run(tmp_path / "whole", lambda share, words: None)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", 1e9)
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", stop)
    resumed = run(tmp_path / "stopped", lambda share, words: None)
    assert (whole.best_epoch, resumed.best_epoch) == (1, 1)
    for name, tensor in whole.weights.items():
        assert torch.equal(tensor, resumed.weights[name]), name


class Watching(Loss):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__("watching", 1.0, Reads(labels=True))
        self.given: list[LossInputs] = []

    def forward(self, inputs: LossInputs) -> torch.Tensor:
        self.given.append(inputs)
        return inputs.student.logits.mean()


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, 3)

    def forward(self, image: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(image.flatten(1)) + attention_mask.sum(1, keepdim=True)
        return logits


def test_of_mixed_samples_a_loss_is_given_both_labels_and_which_tokens_are_no_padding(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (70, 1, 4, 4), dtype=np.uint8)
    mask, ids = rng.integers(0, 2, (70, 5)), np.arange(70, dtype=np.uint64)
    data = Samples({"image": images, "attention_mask": mask}, np.arange(70) % 3, ids)
    specs = (
        TensorSpec("image", "uint8", (None, 1, 4, 4)),
        TensorSpec("attention_mask", "int64", (None, 5)),
    )
    watching = Watching()
    goal = Objective([watching], None, objective().score, True)
    config = replace(CONFIG, augment=AugmentConfig(mixup=0.5))
    with reproducible(0, 2):
        net = DeviceModel(Masked(), None, specs)
        trainer = Trainer(net, goal, config, 0, tmp_path, data, said.append)
        rows = np.array([5, 2, 68, 40])
        trainer._step(rows, Progress(epoch=2), 18)
        view = trainer.views.of(rows, 2, torch.device("cpu"))
    (given,) = watching.given
    assert given.labels is not None
    assert view.partners is not None
    assert (view.partners % 3 != rows % 3).any()
    expected = {
        given.labels.own: rows % 3,
        given.labels.partner: view.partners % 3,
        given.labels.share: view.share,
        given.attended: mask[rows],
    }
    for found, array in expected.items():
        assert found is not None
        np.testing.assert_array_equal(found.cpu(), array)


def test_adapters_begin_alike_whatever_was_drawn_before(tmp_path: Path) -> None:
    begun = []
    for draws in (0, 7):
        (loss,) = make_losses([HeadsLoss(("0",))], "classification")
        torch.rand(draws)
        Trainer(
            model(),
            Objective([loss], None, objective().score, True),
            CONFIG,
            0,
            tmp_path,
            samples(),
            said.append,
        )
        begun.append(list(loss.parameters()))
    assert all(map(torch.equal, *begun))
