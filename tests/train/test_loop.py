"""The training loop: learns, stops on NaN, and resumes bit for bit wherever it was stopped."""

from __future__ import annotations

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
from edgestill.train.config import Keep, TrainConfig
from edgestill.train.loop import Objective, Samples, Trained, Trainer
from edgestill.train.losses import default_losses, make_losses
from edgestill.train.losses.base import Loss, LossInputs
from edgestill.train.losses.config import Reads
from edgestill.train.reproducible import reproducible

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
    same = [torch.equal(tensor, last[name]) for name, tensor in trained.weights.items()]
    assert all(same) == (keep == "last")
