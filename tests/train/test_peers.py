"""Models that learn with the student: together, each by itself, and none of it in the student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from edgestill.artifact import TensorSpec
from edgestill.metrics.classification import accuracy
from edgestill.models.wrapper import DeviceModel
from edgestill.train import loop
from edgestill.train.config import AugmentConfig, TrainConfig
from edgestill.train.loop import Trainer
from edgestill.train.losses import make_losses
from edgestill.train.losses.base import Loss
from edgestill.train.losses.config import AdversarialLoss, CeLoss, HeadsLoss, KdLoss, LossConfig
from edgestill.train.objective import Objective, Samples, Trained
from edgestill.train.optimizers import make_average
from edgestill.train.peers import Peer
from edgestill.train.reproducible import derived_seed, reproducible, seed_everything
from edgestill.train.state import Progress
from edgestill.train.teachers.live import AverageTeacher

COUNT = 70
CONFIG = TrainConfig(epochs=3, batch_size=16, learning_rate=1e-2)
AUGMENT = AugmentConfig(crop=1, flip=True, mixup=0.3, cutmix=0.5)
# Everything that has parameters, or random choices, of its own.
LOSSES: tuple[LossConfig, ...] = (
    CeLoss(),
    KdLoss(temperature="adaptive"),
    AdversarialLoss(weight=0.1),
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


def named(number: int, losses: Sequence[LossConfig]) -> tuple[Loss, ...]:
    made = make_losses(losses, "classification")
    for loss in made:
        loss.name = f"peer {number} {loss.name}"
    return made


def with_peers(
    work: Path,
    config: TrainConfig = CONFIG,
    losses: Sequence[LossConfig] = LOSSES,
    peers: Sequence[int] = (6, 3),
) -> Trainer:
    """A student of width 4; one more head of its own, so that it has a layer to read."""
    student = net(4)
    own = make_losses([*losses, HeadsLoss(("0",))], "classification")
    beside = [Peer(net(width), named(n, losses), right) for n, width in enumerate(peers, 1)]
    goal = Objective(own, None, right, True, beside)
    return Trainer(student, goal, config, 0, work, samples(), lambda line: None)


def from_average(work: Path, config: TrainConfig = CONFIG) -> Trainer:
    student = net(4)
    losses = make_losses([*LOSSES, HeadsLoss(("0",))], "classification")
    average = make_average(student, 0.9)
    assert isinstance(average.module, DeviceModel)
    goal = Objective(losses, AverageTeacher(average.module, ()), right, True)
    return Trainer(student, goal, config, 0, work, samples(), lambda line: None, average)


def train(trainer: Any, work: Path, *args: Any) -> Trained:
    with reproducible(seed=0, threads=2):
        trained: Trained = trainer(work, *args).run(samples(1), lambda share, words: None)
    return trained


@pytest.mark.parametrize("stop_at", [4, 13])
@pytest.mark.parametrize("trainer", [with_peers, from_average])
def test_a_stopped_training_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int, trainer: Any
) -> None:
    config = replace(CONFIG, augment=AUGMENT, accumulate=2, clip_norm=1.0)
    whole = train(trainer, tmp_path / "whole", config)
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
        train(trainer, tmp_path / "stopped", config)
    resumed = train(trainer, tmp_path / "stopped", config)
    assert steps < stop_at + 15, "it began again from the start"
    for name, tensor in whole.weights.items():
        assert torch.equal(tensor, resumed.weights[name]), name
    assert [r.losses for r in resumed.history] == [r.losses for r in whole.history]
    assert [r.readings for r in resumed.history] == [r.readings for r in whole.history]


def test_student_and_peers_learn_and_are_told(tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=12)
    with reproducible(0, 2):
        training = with_peers(tmp_path, config)
        trained = training.run(samples(1), lambda share, words: None)
    last = trained.history[-1]
    terms = ("ce", "kd", "adversarial")
    assert set(last.losses) == {
        *terms,
        "heads",
        *(f"peer {number} {term}" for number in (1, 2) for term in terms),
    }
    peers = [f"peer {number} validation" for number in (1, 2)]
    assert {*peers, "peer 1 adversarial accuracy"} <= set(last.readings)
    for name, score in [("student", last.validation), *((n, last.readings[n]) for n in peers)]:
        assert score > 0.75, name
    (first, _) = training.objective.peers
    images = torch.from_numpy(np.array(samples(1).inputs["image"]))
    found = first.model.cpu().eval().prediction(images).argmax(1).numpy()
    assert (found == samples(1).labels).mean() == last.readings["peer 1 validation"]


def test_peers_are_no_part_of_the_student(tmp_path: Path) -> None:
    trained = train(with_peers, tmp_path)
    assert trained.weights.keys() == net(4).state_dict().keys()


def test_peers_change_what_the_student_learns_and_not_its_chances(tmp_path: Path) -> None:
    """Without a loss that reads them they are strangers: dropout and order stay as they are."""
    strangers = train(with_peers, tmp_path / "strangers", CONFIG, (CeLoss(),))
    alone = train(with_peers, tmp_path / "alone", CONFIG, (CeLoss(),), ())
    taught = train(with_peers, tmp_path / "taught", CONFIG, (CeLoss(), KdLoss()))
    assert [r.losses["ce"] for r in strangers.history] == [r.losses["ce"] for r in alone.history]
    assert [r.losses["ce"] for r in strangers.history] != [r.losses["ce"] for r in taught.history]


def test_of_each_model_the_gradients_are_clipped_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reproducible(0, 2):
        training = with_peers(tmp_path, replace(CONFIG, clip_norm=1e-3))
        clip = training.accelerator.clip_grad_norm_
        clipped: list[set[int]] = []

        def watched(parameters: Any, norm: float) -> Any:
            clipped.append({id(parameter) for parameter in parameters})
            return clip(parameters, norm)

        monkeypatch.setattr(training.accelerator, "clip_grad_norm_", watched)
        training._step(np.arange(16), Progress(), 5)
    models = [training.model, *(peer.model for peer in training.objective.peers)]
    assert len(clipped) == len(models)
    for model, parameters in zip(models, clipped, strict=True):
        assert {id(parameter) for parameter in model.parameters()} <= parameters
        own = [p.grad for p in model.parameters() if p.grad is not None]
        assert float(torch.stack([gradient.norm() for gradient in own]).norm()) <= 1e-3 + 1e-8
    assert sum(map(len, clipped)) == len(set.union(*clipped))


@pytest.mark.parametrize("count", [2, 3])
def test_a_step_is_the_step_that_each_would_make_alone(tmp_path: Path, count: int) -> None:
    """From the mean of what the others said before it: by hand, one model after the other."""

    def linear(seed: int) -> DeviceModel:
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        return DeviceModel(module, None, (TensorSpec("image", "uint8", (None, 1, 4, 4)),))

    losses = [CeLoss(), KdLoss(temperature=2.0)]
    config = replace(CONFIG, optimizer="sgd", momentum=0.0, weight_decay=0.0, warmup=0.0)
    config = replace(config, learning_rate=1e-4, schedule="constant")
    models = [linear(seed) for seed in range(count)]
    goal = Objective(
        make_losses(losses, "classification"),
        None,
        right,
        True,
        [Peer(model, named(n, losses), right) for n, model in enumerate(models[1:], 1)],
    )
    with reproducible(0, 2):
        training = Trainer(models[0], goal, config, 0, tmp_path, samples(), lambda line: None)
        training._step(np.arange(16), Progress(), 5)
    x = torch.from_numpy(samples().inputs["image"][:16].reshape(16, 16).astype(np.float32))
    labels = torch.from_numpy(samples().labels)[:16]
    before = [linear(seed).module[1] for seed in range(count)]
    said = [layer(x) for layer in before]
    for index, layer in enumerate(before):
        others = torch.stack([logits.detach() for logits in said if logits is not said[index]])
        other = (others.mean(0) / 2).log_softmax(1)
        apart = (other.exp() * (other - (said[index] / 2).log_softmax(1))).sum(1).mean() * 4
        term = nn.functional.cross_entropy(said[index], labels) + apart
        (slope,) = torch.autograd.grad(term, layer.weight, retain_graph=True)
        found = models[index].cpu().module[1].weight
        torch.testing.assert_close(found, layer.weight - 1e-4 * slope, rtol=1e-5, atol=1e-7)


def test_parts_of_a_batch_add_up_to_it_for_peers_too(tmp_path: Path) -> None:
    def plain(seed: int) -> DeviceModel:
        seed_everything(derived_seed(seed))
        module = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        return DeviceModel(module, None, (TensorSpec("image", "uint8", (None, 1, 4, 4)),))

    def trainer(work: Path, config: TrainConfig) -> Trainer:
        losses = [CeLoss(), KdLoss()]
        beside = [Peer(plain(1), named(1, losses), right)]
        goal = Objective(make_losses(losses, "classification"), None, right, True, beside)
        return Trainer(plain(0), goal, config, 0, work, samples(), lambda line: None)

    config = replace(CONFIG, optimizer="sgd", learning_rate=1e-5)
    whole = train(trainer, tmp_path / "whole", config)
    parts = train(trainer, tmp_path / "parts", replace(config, accumulate=3))
    for first, second in zip(whole.history, parts.history, strict=True):
        assert second.losses == pytest.approx(first.losses, rel=1e-3)


def test_bf16_is_for_peers_too(tmp_path: Path) -> None:
    with reproducible(0, 2):
        training = with_peers(tmp_path, replace(CONFIG, precision="bf16"))
        seen: list[torch.dtype] = []
        peer = training.objective.peers[0].model
        peer.module[5].register_forward_hook(lambda _, __, output: seen.append(output.dtype))
        training._step(np.arange(16), Progress(), 5)
    assert seen == [torch.bfloat16]
    assert all(parameter.dtype == torch.float32 for parameter in peer.parameters())


@pytest.mark.filterwarnings("ignore")  # of the compiler
def test_all_are_compiled(tmp_path: Path) -> None:
    with reproducible(0, 2):
        training = with_peers(tmp_path, replace(CONFIG, compile=True))
    models = [training.model, *(peer.model for peer in training.objective.peers)]
    assert all(model.module._compiled_call_impl is not None for model in models)


def test_the_average_teaches_and_is_what_is_kept(tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=12)
    with reproducible(0, 2):
        training = from_average(tmp_path, config)
        trained = training.run(samples(1), lambda share, words: None)
    teacher = training.objective.teacher
    assert isinstance(teacher, AverageTeacher)
    assert training.kept is teacher.model
    assert not torch.equal(training.model.module[0].weight, teacher.model.module[0].weight)
    assert trained.history[-1].validation > 0.75
    assert trained.history[0].losses["kd"] > 0
    assert trained.weights.keys() == net(4).state_dict().keys()
