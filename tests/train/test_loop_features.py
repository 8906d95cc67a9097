"""What a schedule can ask of the training loop beside epochs and a rate."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from edgestill.artifact import TensorSpec
from edgestill.errors import MissingExtra, ModelError
from edgestill.extras import installed
from edgestill.metrics.classification import accuracy
from edgestill.models.wrapper import DeviceModel
from edgestill.train import loop
from edgestill.train.config import AugmentConfig, TrainConfig
from edgestill.train.loop import Trainer
from edgestill.train.losses import make_losses
from edgestill.train.losses.config import AdversarialLoss, CeLoss, HintLoss, KdLoss, LossConfig
from edgestill.train.objective import Objective, Samples, Trained
from edgestill.train.reproducible import reproducible
from edgestill.train.schedule import Schedule
from edgestill.train.state import Progress
from edgestill.train.teachers.live import LiveTeacher

COUNT = 70
CONFIG = TrainConfig(epochs=3, batch_size=16, learning_rate=1e-2)
AUGMENT = AugmentConfig(crop=1, flip=True, mixup=0.3, cutmix=0.5)
# Everything that has parameters, or random choices, of its own.
DISTILLING: tuple[LossConfig, ...] = (
    CeLoss(weight=Schedule(0.0, 0.5)),
    KdLoss(temperature="adaptive"),
    HintLoss("0", "0", weight=0.3),
    AdversarialLoss(weight=0.1),
    AdversarialLoss("0", "0", weight=0.1, form="bce"),
)


class Stopped(Exception):
    """Stands for whatever ends a process."""


def samples(seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, COUNT)
    images = rng.integers(0, 128, (COUNT, 1, 4, 4), dtype=np.uint8)
    images[np.arange(COUNT), 0, labels] += 100
    return Samples({"image": images}, labels, np.arange(COUNT, dtype=np.uint64))


def net(width: int) -> DeviceModel:
    module = nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(width * 16, 3),
    )
    return DeviceModel(module, None, (TensorSpec("image", "uint8", (None, 1, 4, 4)),))


def right(outputs: Sequence[NDArray[Any]], labels: NDArray[Any] | None) -> float:
    assert labels is not None
    return float(accuracy(outputs[0], labels).mean())


def trainer(
    work: Path,
    config: TrainConfig = CONFIG,
    losses: Sequence[LossConfig] = (CeLoss(),),
    say: Callable[[str], None] = lambda line: None,
    student: DeviceModel | None = None,
    teacher: DeviceModel | None = None,
) -> Trainer:
    made = make_losses(losses, "classification")
    asked = None
    if any(loss.needs_teacher for loss in made):
        layers = dict.fromkeys(tap for loss in made for tap in loss.reads.teacher)
        asked = LiveTeacher(teacher or net(6), layers)
    goal = Objective(made, asked, right, True)
    return Trainer(student or net(4), goal, config, 0, work, samples(), say)


def train(work: Path, *args: Any, **named: Any) -> Trained:
    with reproducible(seed=0, threads=2):
        return trainer(work, *args, **named).run(samples(1), lambda share, words: None)


@pytest.mark.parametrize("stop_at", [1, 4, 8, 13])
def test_a_stopped_distillation_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    config = replace(CONFIG, augment=AUGMENT, ema=0.9, accumulate=2, schedule="one_cycle")
    whole = train(tmp_path / "whole", config, DISTILLING)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", 1e9)
    steps = 0
    step = Trainer._step

    def stopping(self: Trainer, *args: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == stop_at:
            raise Stopped
        step(self, *args)

    monkeypatch.setattr(Trainer, "_step", stopping)
    with pytest.raises(Stopped):
        train(tmp_path / "stopped", config, DISTILLING)
    resumed = train(tmp_path / "stopped", config, DISTILLING)
    for name, tensor in whole.weights.items():
        assert torch.equal(tensor, resumed.weights[name]), name
    assert [r.losses for r in resumed.history] == [r.losses for r in whole.history]
    assert [r.readings for r in resumed.history] == [r.readings for r in whole.history]
    assert {"adversarial accuracy", "adversarial 0 accuracy"} == set(whole.history[0].readings)


def test_only_a_part_learns_and_the_rest_keeps_its_statistics_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a convolution, BatchNorm, dropout and the layer that is to learn."""
    student = net(4)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    modes: set[tuple[bool, ...]] = set()
    step = Trainer._step

    def watched(self: Trainer, *args: Any) -> None:
        modes.add(tuple(layer.training for layer in self.model.module))  # type: ignore[union-attr]
        step(self, *args)

    monkeypatch.setattr(Trainer, "_step", watched)
    config = replace(CONFIG, only=("5",), weight_decay=0.5, ema=0.9)
    trained = train(tmp_path, config, DISTILLING, student=student)
    changed = {name for name, value in before.items() if not value.equal(trained.weights[name])}
    assert changed == {"module.5.weight", "module.5.bias"}
    assert modes == {(False, False, False, False, False, True)}


def test_what_helps_a_training_is_no_part_of_the_student(tmp_path: Path) -> None:
    student = net(4)
    trained = train(tmp_path, CONFIG, DISTILLING, student=student)
    assert trained.weights.keys() == net(4).state_dict().keys()
    assert len(list(student.parameters())) == len(list(net(4).parameters()))


def test_adapters_and_discriminators_are_told(tmp_path: Path) -> None:
    said: list[str] = []
    train(tmp_path, replace(CONFIG, epochs=1), DISTILLING, said.append)
    assert said == [
        "hint 0: [4, 4, 4] and the teacher's [4, 4, 6] meet at 16 positions, a linear map takes 4 "
        "channels to 6",
        "adversarial: a discriminator of 3 values",
        "adversarial 0: a discriminator of 6 values; [4, 4, 4] and the teacher's [4, 4, 6] meet at "
        "16 positions, a linear map takes 4 channels to 6",
    ]


def test_parts_of_a_batch_add_up_to_it(tmp_path: Path) -> None:
    def plain() -> DeviceModel:
        torch.manual_seed(3)
        module = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        return DeviceModel(module, None, (TensorSpec("image", "uint8", (None, 1, 4, 4)),))

    config = replace(CONFIG, optimizer="sgd", learning_rate=1e-5)
    whole = train(tmp_path / "whole", config, student=plain())
    parts = train(tmp_path / "parts", replace(config, accumulate=3), student=plain())
    for name, tensor in whole.weights.items():
        torch.testing.assert_close(parts.weights[name], tensor, rtol=1e-5, atol=1e-6)


def test_the_moving_average_is_what_is_validated_and_kept(tmp_path: Path) -> None:
    config = replace(CONFIG, ema=0.99)
    with reproducible(0, 2):
        training = trainer(tmp_path, config)
        trained = training.run(samples(1), lambda share, words: None)
    last, kept = training.model.state_dict(), training.kept.state_dict()
    weight = "module.0.weight"
    assert not torch.equal(last[weight], kept[weight])
    if trained.best_epoch == config.epochs:
        assert torch.equal(trained.weights[weight], kept[weight].cpu())


def test_a_training_that_no_longer_helps_is_stopped(tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=50, learning_rate=1e-12, early_stop=4)
    trained = train(tmp_path, config)
    assert len(trained.history) < 50
    scores = [record.validation for record in trained.history]
    assert max(scores[-4:]) <= max(scores[:-4])


def test_epochs_that_are_as_good_as_the_best_do_not_put_off_the_stop(tmp_path: Path) -> None:
    with reproducible(0, 2):
        training = trainer(tmp_path, replace(CONFIG, epochs=20, early_stop=4))
        training.objective = replace(training.objective, score=lambda outputs, labels: 0.5)
        trained = training.run(samples(1), lambda share, words: None)
    assert len(trained.history) == 5
    assert trained.best_epoch == 5, "of equals the one that was annealed for longest"


@pytest.mark.filterwarnings("ignore")  # of the compiler
@pytest.mark.parametrize(
    "change",
    [
        {"precision": "bf16"},
        {"channels_last": True},
        pytest.param(
            {"compile": True},
            marks=pytest.mark.skipif(
                not shutil.which("g++"), reason="torch.compile needs a C++ compiler: install g++"
            ),
        ),
    ],
)
def test_computed_otherwise_it_learns_the_same(tmp_path: Path, change: dict[str, Any]) -> None:
    config = replace(CONFIG, epochs=2)
    losses = (CeLoss(), KdLoss(), HintLoss("0", "0"))
    plain = train(tmp_path / "plain", config, losses)
    other = train(tmp_path / "other", replace(config, **change), losses)
    for first, second in zip(plain.history, other.history, strict=True):
        assert second.losses == pytest.approx(first.losses, rel=0.05)
    assert all(tensor.dtype != torch.bfloat16 for tensor in other.weights.values())


def test_weights_and_features_have_their_channels_innermost(tmp_path: Path) -> None:
    laid_out = []
    student = net(4)
    student.module[0].register_forward_hook(lambda module, given, output: laid_out.append(output))
    training = trainer(tmp_path, replace(CONFIG, epochs=1, channels_last=True), student=student)
    training.run(samples(1), lambda share, words: None)
    for tensor in (*laid_out, student.module[0].weight):
        assert tensor.is_contiguous(memory_format=torch.channels_last)


def test_a_model_that_cannot_have_its_channels_innermost_says_where(tmp_path: Path) -> None:
    class Viewing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(1, 4, 3, padding=1)
            self.head = nn.Linear(64, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.convolution(x).view(len(x), -1))

    student = DeviceModel(Viewing(), None, (TensorSpec("image", "uint8", (None, 1, 4, 4)),))
    with pytest.raises(ModelError) as raised:
        train(tmp_path, replace(CONFIG, channels_last=True), student=student)
    assert re.match(r"tests/train/test_loop_features\.py:\d+: forward raised", str(raised.value))
    assert str(raised.value).endswith(
        "Use reshape there in place of view; or leave out channels_last, if it is set"
    )


def test_a_term_teaches_nothing_and_is_not_computed_before_its_weight_rises(tmp_path: Path) -> None:
    late = (KdLoss(Schedule(0.0, 1.0, begin=0.5)), CeLoss(Schedule(0.0, 1.0, begin=1.0)))
    with reproducible(0, 2):
        training = trainer(tmp_path, replace(CONFIG, epochs=4, weight_decay=0.0), late)
        before = {k: v.clone() for k, v in training.model.named_parameters()}
        training._step(np.arange(16), Progress(), 5)
        after = dict(training.model.named_parameters())
        assert all(torch.equal(before[name], after[name]) for name in before)
        trained = training.run(samples(1), lambda share, words: None)
    assert sorted(trained.history[-1].losses) == ["kd"]


def test_gradients_are_clipped_by_what_the_student_learns_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = (CeLoss(), AdversarialLoss(weight=0.1))
    with reproducible(0, 2):
        training = trainer(tmp_path, replace(CONFIG, clip_norm=1e-9), losses)
        clip = training.accelerator.clip_grad_norm_
        norms: list[float] = []

        def watched(parameters: Any, norm: float) -> Any:
            norms.append(float(clip(parameters, norm)))

        monkeypatch.setattr(training.accelerator, "clip_grad_norm_", watched)
        before: list[float] = []
        backward = Trainer._backward

        def noted(self: Trainer, *args: Any) -> Any:
            seen = backward(self, *args)
            own = [p.grad for p in self.model.parameters() if p.grad is not None]
            before.append(float(torch.stack([gradient.norm() for gradient in own]).norm()))
            return seen

        monkeypatch.setattr(Trainer, "_backward", noted)
        for step in range(4):
            training._step(np.arange(16), Progress(step=step), 5)
    assert norms == pytest.approx(before)


def test_epochs_that_are_shorter_than_the_time_between_checkpoints_are_kept_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.05  # an epoch asks about ten times
        return now

    monkeypatch.setattr(loop.time, "monotonic", clock)
    saved: list[int] = []
    save = loop.state.save

    def noted(folder: Path, tracked: Any, best: Any, at: Progress) -> None:
        saved.append(at.epoch)
        save(folder, tracked, best, at)

    monkeypatch.setattr(loop.state, "save", noted)
    train(tmp_path, replace(CONFIG, epochs=12, batch_size=70))
    assert len(saved) >= 1


def test_one_step_an_epoch_is_no_idle_term(tmp_path: Path) -> None:
    said: list[str] = []
    train(tmp_path, replace(CONFIG, batch_size=COUNT), (CeLoss(),), said.append)
    assert said == []


def test_a_variable_of_accelerate_does_not_divide_the_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train(tmp_path / "plain")
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    other = train(tmp_path / "other")
    for name, tensor in plain.weights.items():
        assert torch.equal(tensor, other.weights[name]), name


class Constant(nn.Module):
    """Says the same of every sample."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor([1.0, 2.0, 4.0]))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.bias.expand(len(image), 3) * 1.0


def test_a_term_that_teaches_nothing_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    same, other = (DeviceModel(Constant(), None, net(4).inputs) for _ in range(2))
    config = replace(CONFIG, epochs=1, learning_rate=1e-30, weight_decay=0.0)
    train(tmp_path, config, (CeLoss(), KdLoss()), said.append, same, other)
    assert said == [
        "the loss kd was zero at every step of epoch 1: it teaches nothing. Look at its layers and "
        "its teacher"
    ]


class Restless(nn.Module):
    """A teacher that does not stay as it is."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.linear = nn.Linear(16, 3)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self.how == "counts":
            self.seen += 1
        if self.how == "trains":
            self.train()
        result: torch.Tensor = self.linear(image.flatten(1))
        return result


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            "counts",
            "teacher: the teacher's weights changed during the training. Look for weights that it "
            "shares with the student, and for buffers that its forward writes",
        ),
        (
            "trains",
            "teacher: the teacher is in train mode. Look for .train() in its forward: a teacher "
            "answers in eval mode",
        ),
    ],
)
def test_a_teacher_that_does_not_stay_as_it_is_ends_the_training(
    tmp_path: Path, how: str, message: str
) -> None:
    teacher = DeviceModel(Restless(how), None, net(4).inputs)
    with pytest.raises(ModelError) as error:
        train(tmp_path, CONFIG, (KdLoss(),), teacher=teacher)
    assert str(error.value) == message


def test_trackers_that_are_not_installed_are_named_with_how_to_get_them(tmp_path: Path) -> None:
    if installed("wandb"):
        pytest.skip("wandb is installed")
    with pytest.raises(MissingExtra, match="wandb is not installed"):
        train(tmp_path, replace(CONFIG, trackers=("wandb",)))


def test_the_history_has_every_term_of_every_epoch(tmp_path: Path) -> None:
    trained = train(tmp_path, CONFIG, DISTILLING)
    rows = [json.loads(record.to_json()) for record in trained.history]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    names = {"ce", "kd", "hint 0", "adversarial", "adversarial 0"}
    assert all(set(row["losses"]) == names for row in rows)
