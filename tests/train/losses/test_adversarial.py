"""The adversarial game: who moves what, by which formula, and that it can be won."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgestill.train.losses import make_losses
from edgestill.train.losses.adversarial import Adversarial, Discriminator
from edgestill.train.losses.base import LossInputs, Outputs
from edgestill.train.losses.config import AdversarialLoss

BATCH = 256


def inputs_of(student: Tensor, teacher: Tensor, loss: Adversarial | None = None) -> LossInputs:
    taps = ((), ()) if loss is None else (loss.reads.student, loss.reads.teacher)
    return LossInputs(
        *(
            Outputs(x, dict.fromkeys(tap, x))
            for x, tap in zip((student, teacher), taps, strict=True)
        )
    )


def adversarial(config: AdversarialLoss, student: Tensor, teacher: Tensor) -> Adversarial:
    torch.manual_seed(0)
    (loss,) = make_losses([config], "classification")
    assert isinstance(loss, Adversarial)
    loss.adapt(inputs_of(student, teacher, loss))
    return loss


def two_modes(scale: float) -> Tensor:
    """The teacher's answers, each one of two at random: no sample has an answer of its own."""
    side = torch.randint(0, 2, (BATCH, 1)) * 2.0 - 1
    return scale * (torch.cat([2 * side, -side], dim=1) + 0.3 * torch.randn(BATCH, 2))


@dataclass
class Played:
    accuracies: list[float]
    answers: Tensor


def play(form: str, scale: float, *, trained: bool = True) -> Played:
    """A discriminator that trains alone at first, and then a student that turns noise into it."""
    torch.manual_seed(1)
    student = nn.Sequential(
        nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2)
    )
    config = AdversarialLoss(form=form, weight=1.0, width=64)  # type: ignore[arg-type]
    loss = adversarial(config, torch.zeros(2, 2), two_modes(scale)[:2])
    optimizer = torch.optim.Adam(student.parameters(), lr=2e-3, betas=(0.5, 0.999))
    accuracies = []
    for step in range(500):
        inputs = inputs_of(scale * student(torch.randn(BATCH, 2)), two_modes(scale))
        if step >= 40 and trained:
            optimizer.zero_grad()
            loss(inputs).backward()
            optimizer.step()
        loss.after_step(replace(inputs, student=inputs.student.detached()))
        accuracies.append(float(loss.readings()["adversarial accuracy"]))
    return Played(accuracies, student(torch.randn(2000, 2)).detach())


@pytest.mark.parametrize(("form", "scale"), [("hinge", 1.0), ("bce", 1.0), ("hinge", 1e-3)])
def test_a_student_learns_the_teachers_distribution_until_it_cannot_be_told_apart(
    form: str, scale: float
) -> None:
    played = play(form, scale)
    assert np.mean(played.accuracies[30:40]) > 0.9
    assert np.mean(played.accuracies[-50:]) < 0.65
    right = played.answers[:, 0] > 0
    assert 0.35 < right.float().mean() < 0.65, "both modes are found"
    for mode, side in ((right, 1.0), (~right, -1.0)):
        centre = played.answers[mode].mean(0)
        torch.testing.assert_close(centre, torch.tensor([2 * side, -side]), rtol=0, atol=0.7)


def test_a_student_that_does_not_learn_stays_told_apart() -> None:
    assert np.mean(play("hinge", 1.0, trained=False).accuracies[-50:]) > 0.9


@pytest.mark.parametrize("form", ["hinge", "bce"])
def test_both_sides_follow_the_formulas_of_their_papers(form: str) -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(6, 3) + 1, torch.randn(6, 3) * 2
    loss = adversarial(AdversarialLoss(form=form), student, teacher)  # type: ignore[arg-type]
    judge = loss.discriminator

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    fake = judge.eval()(student).detach().double().numpy()
    expected = -fake.mean() if form == "hinge" else -np.log(sigmoid(fake)).mean()
    assert loss(inputs_of(student, teacher)).item() == pytest.approx(expected, rel=1e-5)
    # What the discriminator minimises is seen in its first step: Adam moves by its sign alone, so
    # gradients are compared before it.
    seen: list[list[Tensor]] = []
    loss.optimizer = Recorder(judge.parameters(), seen)
    loss.after_step(inputs_of(student, teacher))
    judge.requires_grad_(True).eval()
    fake_score, real_score = judge(student), judge(teacher)
    if form == "hinge":
        objective = (1 - real_score).clamp(min=0).mean() + (1 + fake_score).clamp(min=0).mean()
    else:
        objective = -(real_score.sigmoid().log().mean() + (1 - fake_score.sigmoid()).log().mean())
    expected_gradients = torch.autograd.grad(objective, list(judge.parameters()))
    for found, gradient in zip(seen[0], expected_gradients, strict=True):
        torch.testing.assert_close(found, gradient, rtol=1e-3, atol=1e-4)


class Recorder(torch.optim.Optimizer):
    """Keeps gradients and moves nothing."""

    def __init__(self, parameters: object, seen: list[list[Tensor]]) -> None:
        super().__init__(parameters, {})  # type: ignore[arg-type]
        self.seen = seen

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        parameters = self.param_groups[0]["params"]
        self.seen.append([parameter.grad.clone() for parameter in parameters])


@pytest.mark.parametrize("layer", [None, "a"])
def test_nobody_moves_what_is_the_others(layer: str | None) -> None:
    torch.manual_seed(0)
    shape = (4, 3) if layer is None else (4, 3, 2, 2)
    wide = (4, 3) if layer is None else (4, 5, 2, 2)
    student, teacher = torch.randn(shape, requires_grad=True), torch.randn(wide)
    loss = adversarial(AdversarialLoss(student=layer, teacher=layer), student.detach(), teacher)
    inputs = inputs_of(student, teacher, loss)
    adapter = [] if loss.adapter is None else list(loss.adapter.parameters())
    assert len(adapter) == (layer is not None)

    def state() -> list[Tensor]:
        return [value.clone() for value in loss.discriminator.state_dict().values()]

    before = state()
    loss(inputs).backward()
    assert student.grad is not None and student.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in adapter)
    assert all(parameter.grad is None for parameter in loss.discriminator.parameters())
    assert all(map(torch.equal, before, state())), "looking changes nothing, power iterations too"
    student.grad = None
    for parameter in adapter:
        parameter.grad = None
    loss.after_step(replace(inputs, student=inputs.student.detached()))
    assert student.grad is None
    assert all(parameter.grad is None for parameter in adapter)
    assert not all(map(torch.equal, before, state()))
    trained = [parameter for parameter in loss.parameters() if parameter.requires_grad]
    assert [id(p) for p in trained] == [id(p) for p in adapter], "no optimizer finds the rest"


@pytest.mark.parametrize(("layer", "whose"), [("b", "teacher"), ("wide:b", "teacher wide")])
def test_each_position_of_a_feature_is_judged(layer: str, whose: str) -> None:
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 2, 2)
    torch.manual_seed(0)
    (loss,) = make_losses([AdversarialLoss(student="a", teacher=layer)], "classification")
    words = loss.adapt(inputs_of(student, teacher, loss))  # type: ignore[arg-type]
    assert words == (
        f"adversarial a: a discriminator of 5 values; [4, 4, 3] and the {whose}'s [2, 2, 5] meet "
        "at 4 positions, a linear map takes 3 channels to 5"
    )


def test_of_many_positions_some_are_judged_at_random() -> None:
    many = torch.randn(2, 3, 64, 64, requires_grad=True)
    loss = adversarial(AdversarialLoss(student="a", teacher="a"), many.detach(), many.detach())
    inputs = inputs_of(many, torch.randn(2, 3, 64, 64), loss)
    judged = []
    for _ in range(2):
        many.grad = None
        loss(inputs).backward()
        assert many.grad is not None
        judged.append(many.grad.abs().sum(1) > 0)
        loss.after_step(inputs)
    assert [int(each.sum()) for each in judged] == [4096, 4096]
    assert 0.4 < float((judged[0] & judged[1]).sum()) / 4096 < 0.6


def test_readings_are_the_share_that_was_told_apart() -> None:
    student, teacher = torch.full((8, 2), -1.0), torch.full((8, 2), 1.0)
    loss = adversarial(AdversarialLoss(learning_rate=0.05), student, teacher)
    assert loss.readings() == {}
    inputs = inputs_of(student, teacher)
    for _ in range(50):
        loss.after_step(inputs)
    assert loss.readings() == {"adversarial accuracy": 1.0}
    for _ in range(50):
        loss.after_step(inputs_of(teacher, teacher))
    assert loss.readings() == {"adversarial accuracy": 0.5}


def test_a_discriminator_learns_the_scale_of_the_teacher() -> None:
    torch.manual_seed(0)
    rows = torch.randn(300, 64, 3) * 0.01 + torch.tensor([5.0, -2.0, 0.0])
    judge = Discriminator(rows[0, :2], 8)
    for batch in rows:
        judge.look(batch)
    torch.testing.assert_close(judge.centre, torch.tensor([5.0, -2.0, 0.0]), rtol=0, atol=1e-3)
    assert float(judge.power) == pytest.approx(1e-4, rel=0.05)
    assert judge(rows[0]).abs().max() < 10


def test_the_game_is_in_the_state_that_is_kept() -> None:
    student, teacher = torch.randn(8, 2), torch.randn(8, 2) + 2
    loss = adversarial(AdversarialLoss(), student, teacher)
    for _ in range(5):
        loss.after_step(inputs_of(student, teacher))
    again = adversarial(AdversarialLoss(), student, teacher)
    again.load_state_dict(loss.state_dict())
    assert loss.optimizer is not None and again.optimizer is not None
    again.optimizer.load_state_dict(deepcopy(loss.optimizer.state_dict()))
    for other in (loss, again):
        other.after_step(inputs_of(student, teacher))
    for name, value in loss.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
