"""A learner reads each layer once, adapts once, and lets nothing of the teacher learn."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from edgestill.artifact import TensorSpec
from edgestill.errors import ModelError
from edgestill.models.wrapper import DeviceModel
from edgestill.train.learner import Learner
from edgestill.train.losses import make_losses
from edgestill.train.losses.base import Labels, Loss, LossInputs, Outputs
from edgestill.train.losses.config import (
    AdversarialLoss,
    CeLoss,
    HintLoss,
    KdLoss,
    Reads,
    SimilarityLoss,
    Tap,
)
from edgestill.train.optimizers import make_average
from edgestill.train.teachers.live import AverageTeacher, LiveTeacher


def model(width: int) -> DeviceModel:
    torch.manual_seed(width)
    net = nn.Sequential(
        nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)
    )
    net(torch.zeros(2, 1, 6, 6))
    return DeviceModel(net, None, (TensorSpec("image", "float32", (None, 1, 6, 6)),))


@pytest.fixture
def images() -> Tensor:
    return torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def test_terms_are_those_of_student_and_teacher(images: Tensor) -> None:
    losses = make_losses(
        [CeLoss(), KdLoss(), HintLoss("0", "0"), SimilarityLoss("0", "2")], "classification"
    )
    student, other = model(2), model(4)
    learner = Learner(student, losses)
    taps = dict.fromkeys(tap for loss in losses for tap in loss.reads.teacher)
    teacher = LiveTeacher(other, taps)
    answer = teacher.answer([images], torch.arange(4).numpy(), 0)
    labels = Labels(torch.tensor([0, 1, 2, 0]))

    def given(own: Outputs) -> LossInputs:
        return LossInputs(own, answer, labels)

    student.train()
    statistics = student.module[1].running_mean.clone()
    words = learner.adapt([images], given)
    assert words == [
        "hint 0: [4, 4, 2] and the teacher's [4, 4, 4] meet at 16 positions, a linear map takes 2 "
        "channels to 4"
    ]
    assert student.training
    assert torch.equal(statistics, student.module[1].running_mean), "a dry run leaves no trace"
    assert len(student.module[0]._forward_hooks) == 1, "two losses, one tap"
    terms, (seen,) = learner([images], given, [0, 1, 2, 3])
    assert torch.allclose(answer.features[Tap("0")], other.module[0](images))
    by_hand = Outputs(student.module(images), {Tap("0"): student.module[0](images)})
    for loss, term in zip(losses, terms, strict=True):
        torch.testing.assert_close(term, loss(given(by_hand)))
    sum(terms).backward()
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert all(parameter.grad is None for parameter in other.parameters())
    assert not seen.student.logits.requires_grad
    assert not any(feature.requires_grad for feature in seen.student.features.values())
    alone, _ = learner([images], given, [2])
    assert len(alone) == 1


def test_with_peers_each_learns_from_the_mean_of_what_the_others_say(images: Tensor) -> None:
    models = [model(2), model(3), model(4)]
    configs = [CeLoss(), KdLoss(temperature=2.0)]
    own, *others = [
        Learner(each.train(), make_losses(configs, "classification")) for each in models
    ]
    learner = Learner(models[0], own.own_terms, peers=others)
    given = partial(LossInputs, labels=Labels(torch.tensor([0, 1, 2, 0])))
    terms, seen = learner([images], given, range(6))
    said = [each.module(images) for each in models]
    ce, kd = make_losses(configs, "classification")
    for index in range(3):
        first, second = (said[other].detach() for other in range(3) if other != index)
        batch = given(Outputs(said[index]), Outputs((first + second) / 2))
        torch.testing.assert_close(terms[2 * index], ce(batch))
        torch.testing.assert_close(terms[2 * index + 1], kd(batch))
        assert torch.equal(seen[index].student.logits, said[index])
        assert not seen[index].student.logits.requires_grad
    # What a peer is taught does not move those who teach it.
    terms[3].backward()
    touched = [any(p.grad is not None for p in each.parameters()) for each in models]
    assert touched == [False, True, False]


def test_a_learner_has_its_peers_in_it_and_parameters_of_its_own() -> None:
    models = [model(2), model(3)]
    losses = [make_losses([KdLoss(temperature="adaptive")], "classification") for _ in models]
    peer = Learner(models[1], losses[1])
    learner = Learner(models[0], losses[0], peers=[peer])
    assert learner.learners == [learner, peer]
    assert learner.terms == [*losses[0], *losses[1]]
    both = [*learner.own_parameters(), *peer.own_parameters()]
    assert {id(p) for p in both} == {id(p) for p in learner.parameters()}
    assert len(both) == len(list(learner.parameters())) == 2 * (6 + 1)


def test_a_dry_run_leaves_no_trace_in_peers(images: Tensor) -> None:
    models = [model(2).train(), model(3).train()]
    learners = [
        Learner(each, make_losses([AdversarialLoss()], "classification")) for each in models
    ]
    before = models[1].module[1].running_mean.clone()
    words = Learner(models[0], learners[0].own_terms, peers=learners[1:]).adapt(
        [images], LossInputs
    )
    assert words == ["adversarial: a discriminator of 3 values"] * 2
    assert models[1].training
    assert torch.equal(before, models[1].module[1].running_mean)


def test_a_wrong_layer_is_known_before_the_first_step() -> None:
    losses = make_losses([HintLoss("module.0", "0")], "classification")
    with pytest.raises(ModelError, match=r"^layer module\.0 of the student: there is no"):
        Learner(model(2), losses)


def test_bf16_gives_float32_to_the_losses(images: Tensor) -> None:
    losses = make_losses([HintLoss("0", "0")], "classification")
    outputs = Learner(model(2), losses, bf16=True).outputs([images])
    assert outputs.logits.dtype == torch.float32
    assert outputs.features[Tap("0")].dtype == torch.float32
    exact = Learner(model(2), losses).outputs([images])
    assert not torch.equal(outputs.features[Tap("0")], exact.features[Tap("0")])


def test_losses_of_one_name_are_told_apart() -> None:
    configs = [KdLoss(), KdLoss(temperature=1.0), AdversarialLoss(), KdLoss()]
    names = [loss.name for loss in make_losses(configs, "classification")]
    assert names == ["kd", "kd #2", "adversarial", "kd #3"]


def test_a_loss_is_asked_for_its_formula() -> None:
    with pytest.raises(NotImplementedError):
        Loss("mine", 1.0, Reads())(LossInputs(Outputs(torch.zeros(1))))


# Teachers


def test_a_teacher_answers_in_eval_mode_without_gradients(images: Tensor) -> None:
    other = model(4).train()
    teacher = LiveTeacher(other, [Tap("0")])
    answer = teacher.answer([images], torch.arange(4).numpy(), 0)
    assert not other.training
    assert not answer.logits.requires_grad
    torch.testing.assert_close(answer.logits, other.module(images))
    teacher.require_unchanged()


def test_an_average_answers_as_it_is_and_may_change(images: Tensor) -> None:
    student = model(4).train()
    average = make_average(student, 0.9)
    asked = average.module
    assert isinstance(asked, DeviceModel)
    teacher = AverageTeacher(asked, [Tap("0")])
    start = teacher.answer([images], torch.arange(4).numpy(), 0)
    assert torch.equal(start.logits, deepcopy(student).eval().module(images)), "a copy at first"
    assert student.training
    for _ in range(3):
        with torch.no_grad():
            student.module[4].weight.add_(1.0)
        average.update_parameters(student)
    teacher.require_unchanged()
    later = teacher.answer([images], torch.arange(4).numpy(), 0)
    assert not torch.equal(later.logits, start.logits)
    torch.testing.assert_close(later.logits, asked.module(images))
    torch.testing.assert_close(later.features[Tap("0")], asked.module[0](images))
    assert not later.logits.requires_grad
    asked.train()
    with pytest.raises(ModelError, match=r"^teacher: the teacher is in train mode\. Look for"):
        teacher.require_unchanged()


def test_a_teacher_in_train_mode_is_refused(images: Tensor) -> None:
    other = model(4)
    teacher = LiveTeacher(other, [])
    other.module[1].train()
    with pytest.raises(ModelError) as error:
        teacher.require_unchanged()
    assert str(error.value) == (
        "teacher: the teacher is in train mode. Look for .train() in its forward: a teacher "
        "answers in eval mode"
    )


@pytest.mark.parametrize("what", ["weight", "running_mean"])
def test_a_teacher_that_changes_is_refused(what: str) -> None:
    other = model(4)
    teacher = LiveTeacher(other, [])
    with torch.no_grad():
        getattr(other.module[1], what)[0] += 1e-6
    with pytest.raises(ModelError) as error:
        teacher.require_unchanged()
    assert str(error.value) == (
        "teacher: the teacher's weights changed during the training. Look for weights that it "
        "shares with the student, and for buffers that its forward writes"
    )
