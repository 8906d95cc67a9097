"""Several teachers that answer as one: by independent formulas in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import expit, softmax
from torch import Tensor

from edgestill.errors import ModelError
from edgestill.train.losses import make_losses
from edgestill.train.losses.base import Labels, LossInputs, Outputs
from edgestill.train.losses.config import (
    AdversarialLoss,
    AttentionLoss,
    HiddenLoss,
    HintLoss,
    KdLoss,
    LossConfig,
    MinilmLoss,
    Tap,
    reads_of,
)
from edgestill.train.teachers.base import Teacher
from edgestill.train.teachers.ensemble import WEIGHINGS, Ensemble

RNG = np.random.default_rng(3)
ROWS = np.arange(5)
CLASSES = 4
LABELS = np.array([0, 3, -100, 1, 2])

Array = NDArray[Any]


@dataclass
class Said:
    """A teacher whose answers are known, to `views` views."""

    logits: Array
    features: Mapping[Tap, Tensor] = field(default_factory=dict)
    views: int = 1000
    unchanged: int = 0

    def view_of(self, epoch: int) -> int:
        return epoch % self.views

    def answer(
        self, inputs: list[Tensor], rows: Array, view: int, labels: Labels | None = None
    ) -> Outputs:
        return Outputs(torch.from_numpy(self.logits), self.features)

    def require_unchanged(self) -> None:
        self.unchanged += 1


def members(*shape: int, count: int = 3) -> dict[str, Teacher]:
    names = ("teacher", "wide", "deep")[:count]
    return {name: Said(RNG.normal(size=shape) * (1 + i)) for i, name in enumerate(names)}


def logits_of(teachers: Mapping[str, Teacher]) -> Array:
    found = [teacher.answer([], ROWS, 0).logits.numpy() for teacher in teachers.values()]
    return np.stack(found)


def combined(ensemble: Ensemble, labels: Labels | None = None) -> Array:
    answer: Array = ensemble.answer([torch.zeros(5)], ROWS, 0, labels).logits.numpy()
    return answer


def equal(teachers: Mapping[str, Teacher]) -> dict[str, float]:
    return dict.fromkeys(teachers, 1.0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("shape", [(5, CLASSES), (5, CLASSES, 2, 3)])
def test_of_classes_it_is_the_geometric_mean_at_every_temperature(
    shape: tuple[int, ...], temperature: float
) -> None:
    teachers = members(*shape)
    weights = {"teacher": 1.4, "wide": 0.6, "deep": 2.0}
    found = combined(Ensemble(teachers, weights, "classification"))
    np.testing.assert_allclose(found.mean(1), 0, atol=1e-12)
    softened = softmax(logits_of(teachers) / temperature, axis=2)
    shares = np.array([0.35, 0.15, 0.5]).reshape(-1, *[1] * len(shape))
    product = (softened**shares).prod(0)
    expected = product / product.sum(1, keepdims=True)
    np.testing.assert_allclose(softmax(found / temperature, axis=1), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("task", "shape"),
    [
        ("multilabel", (5, CLASSES)),
        ("classification", (5, 1)),
        ("classification", (5,)),
        ("regression", (5, 2)),
        ("custom", (5, 2, 3)),
    ],
)
def test_yes_or_no_and_values_are_averaged_as_they_are(task: str, shape: tuple[int, ...]) -> None:
    teachers = members(*shape, count=2)
    found = combined(Ensemble(teachers, {"teacher": 3.0, "wide": 1.0}, task))
    one, other = logits_of(teachers)
    np.testing.assert_allclose(found, 0.75 * one + 0.25 * other, rtol=1e-12)


def test_a_lone_voice_is_passed_on_bit_for_bit() -> None:
    teachers = members(5, CLASSES, count=2)
    for weighing in (None, *WEIGHINGS):
        found = combined(Ensemble(teachers, {"wide": 0.3}, "classification", weighing))
        assert (found == logits_of(teachers)[1]).all()


def probabilities(logits: Array, task: str) -> Array:
    """Of each answer, `[k, b, c, ...]`; of yes or no `[k, b, labels, 2]`."""
    if task == "multilabel" or logits.ndim == 2 or logits.shape[2] == 1:
        flat = logits.reshape(len(logits), 5, -1)
        return np.stack([expit(-flat), expit(flat)], axis=3)
    return softmax(logits, axis=2)


def entropies(logits: Array, task: str) -> Array:
    """`[k, b]`, or `[k, b, ...]` of positions."""
    likely = probabilities(logits, task)
    surprise = -likely * np.log(likely)
    return surprise.sum((2, 3)) if likely.shape[-1] == 2 else surprise.sum(2)


def spread(weights: Array, logits: Array) -> Array:
    """Weights `[k, b, ...]` so that they multiply logits `[k, b, c, ...]`."""
    if logits.ndim == 2:
        return weights
    return np.expand_dims(weights, 2)


SHAPES = [
    ("classification", (5, CLASSES)),
    ("classification", (5, CLASSES, 3)),
    ("classification", (5, 1)),
    ("classification", (5,)),
    ("multilabel", (5, CLASSES)),
]


def centred(logits: Array, task: str) -> Array:
    if task == "multilabel" or logits.ndim == 2 or logits.shape[2] == 1:
        return logits
    return logits - logits.mean(2, keepdims=True)


@pytest.mark.parametrize(("task", "shape"), SHAPES)
def test_who_is_sure_counts_more(task: str, shape: tuple[int, ...]) -> None:
    teachers = members(*shape)
    logits = logits_of(teachers)
    inverse = 1 / entropies(logits, task)
    weights = spread(inverse / inverse.sum(0), logits)
    found = combined(Ensemble(teachers, equal(teachers), task, "confidence"))
    np.testing.assert_allclose(found, (weights * centred(logits, task)).sum(0), rtol=1e-9)


def test_teachers_that_are_certain_beyond_measure_count_alike() -> None:
    """Their entropy is 0, of which there is no inverse."""
    certain = [np.eye(CLASSES)[[0, 1, 2, 3, 0]] * 1e4 * scale for scale in (1, 2)]
    teachers = {"teacher": Said(certain[0]), "wide": Said(certain[1])}
    found = combined(Ensemble(teachers, equal(teachers), "classification", "confidence"))
    mean = (certain[0] + certain[1]) / 2
    np.testing.assert_allclose(found, mean - mean.mean(1, keepdims=True))


def cross_entropies(logits: Array, labels: Array, task: str) -> Array:
    """Of each teacher with each sample's label or labels, 0 for one that is not known."""
    likely = probabilities(logits, task)
    if likely.shape[-1] == 2:
        known = labels.reshape(5, -1)
        chosen = np.where(known == 1, likely[..., 1], likely[..., 0])
        return (-np.log(chosen) * (known != -100)).sum(2)
    index = np.where(labels == -100, 0, labels)[None, :, None]
    chosen = np.take_along_axis(likely, index, axis=2).squeeze(2)
    return -np.log(chosen) * (labels != -100)


def labels_of(task: str, shape: tuple[int, ...], seed: int) -> Array:
    """Of each shape; one sample (position, label) is not known."""
    rng = np.random.default_rng(seed)
    if task == "multilabel":
        labels = rng.integers(0, 2, shape).astype(np.float64)
    elif len(shape) == 1 or shape[1] == 1:
        labels = rng.integers(0, 2, 5)
    else:
        labels = rng.integers(0, CLASSES, (5, *shape[2:]))
    labels[2] = -100
    return labels


@pytest.mark.parametrize("mixed", [False, True], ids=["whole", "mixed"])
@pytest.mark.parametrize(("task", "shape"), SHAPES)
def test_who_is_wrong_counts_less(task: str, shape: tuple[int, ...], mixed: bool) -> None:
    teachers = members(*shape)
    logits, own = logits_of(teachers), labels_of(task, shape, 0)
    losses, labels = cross_entropies(logits, own, task), Labels(torch.from_numpy(own))
    if mixed:
        partner, share = labels_of(task, shape, 1), np.array([0.9, 0.2, 0.4, 1.0, 0.5])
        spread_share = share.reshape(1, 5, *[1] * (losses.ndim - 2))
        others = cross_entropies(logits, partner, task)
        losses = spread_share * losses + (1 - spread_share) * others
        labels = Labels(labels.own, torch.from_numpy(partner), torch.from_numpy(share))
    weights = (1 - softmax(losses, axis=0)) / 2
    np.testing.assert_allclose(weights.sum(0), 1)
    np.testing.assert_allclose(weights[:, 2], 1 / 3)  # of a sample without a label
    found = combined(Ensemble(teachers, equal(teachers), task, "loss"), labels)
    expected = (spread(weights, logits) * centred(logits, task)).sum(0)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_without_any_label_all_count_alike() -> None:
    teachers = members(5, CLASSES)
    by_loss = combined(Ensemble(teachers, equal(teachers), "classification", "loss"))
    alike = combined(Ensemble(teachers, equal(teachers), "classification"))
    np.testing.assert_allclose(by_loss, alike, rtol=1e-12)


def test_labels_that_cannot_weigh_the_predictions() -> None:
    teachers = members(5, CLASSES, 3, count=2)
    ensemble = Ensemble(teachers, equal(teachers), "classification", "loss")
    message = (
        r"^distill.teachers: loss cannot weigh the teachers' predictions \[5, 4, 3\] with labels "
        r"\[5\] \(.*\). Look at the models' outputs, the task and the labels$"
    )
    with pytest.raises(ModelError, match=message):
        combined(ensemble, Labels(torch.from_numpy(LABELS)))


def test_predictions_of_different_shapes_are_refused() -> None:
    teachers = {**members(5, CLASSES, count=1), "wide": Said(np.zeros((5, 7)))}
    with pytest.raises(ModelError) as error:
        combined(Ensemble(teachers, equal(teachers), "classification"))
    assert str(error.value) == (
        "teacher wide: the teacher predicts [4] values per sample, the teacher wide [7]. Give all "
        "teachers a prediction of one shape, or name the outputs that match with output:"
    )


def test_a_loss_reads_the_layers_of_the_teacher_that_it_names() -> None:
    """Both have a layer `body`; one of them predicts something else and has no voice."""
    ours, others = torch.ones(5, 3), torch.arange(15.0).reshape(5, 3)
    teachers: dict[str, Teacher] = {
        "teacher": Said(np.zeros((5, CLASSES)), {Tap("body"): ours}),
        "wide": Said(np.zeros((5, 9)), {Tap("body"): others}),
    }
    answer = Ensemble(teachers, {"teacher": 1.0}, "classification").answer([ours], ROWS, 0)
    losses = make_losses([HintLoss("a", "body"), HintLoss("a", "wide:body")], "classification")
    for loss, feature in zip(losses, (ours, others), strict=True):
        own = Outputs(torch.zeros(5, CLASSES), {Tap("a"): torch.zeros(5, 3)})
        _, found = loss.pair(LossInputs(own, answer))
        assert torch.equal(found, feature)
    assert answer.logits.shape == (5, CLASSES)
    silent = Ensemble(teachers, {}, "classification").answer([ours], ROWS, 0)
    assert silent.logits.shape == (5, 0) and len(silent.features) == 2


@pytest.mark.parametrize(
    ("config", "taps"),
    [
        (HiddenLoss("a", "wide:b.c", {0: 1, 1: 3}), [Tap("b.c.1"), Tap("b.c.3")]),
        (MinilmLoss("a", "wide:b"), [Tap("b", "queries keys values")]),
        (AttentionLoss("a", "wide:b"), [Tap("b", "attention map")]),
        (AdversarialLoss("a", "wide:b"), [Tap("b")]),
    ],
)
def test_every_loss_that_reads_layers_may_name_the_teacher(
    config: LossConfig, taps: Sequence[Tap]
) -> None:
    assert reads_of(config).teacher == tuple(replace(tap, teacher="wide") for tap in taps)


def test_a_message_about_a_layer_names_the_teacher() -> None:
    (loss,) = make_losses([MinilmLoss("a", "wide:b", heads=3)], "classification")
    layers = [loss.reads.student[0], loss.reads.teacher[0]]
    own, other = (
        Outputs(torch.zeros(5, 2), {tap: torch.zeros(5, 3, 4, width)})
        for tap, width in zip(layers, (6, 8), strict=True)
    )
    with pytest.raises(ModelError) as error:
        loss.adapt(LossInputs(own, other))
    assert str(error.value) == (
        "layer b of the teacher wide: 3 heads do not divide the width 8. Set heads to a number "
        "that divides 8"
    )


def test_its_view_is_one_that_every_member_has() -> None:
    teachers = {name: Said(np.zeros((5, 2)), views=v) for name, v in (("a", 3), ("b", 1000))}
    ensemble = Ensemble(teachers, equal(teachers), "classification")
    assert [ensemble.view_of(epoch) for epoch in range(5)] == [0, 1, 2, 0, 1]


def test_every_member_is_looked_at_after_an_epoch() -> None:
    teachers = {name: Said(np.zeros((5, 2))) for name in ("teacher", "wide")}
    Ensemble(teachers, {"teacher": 1.0}, "classification").require_unchanged()
    assert [teacher.unchanged for teacher in teachers.values()] == [1, 1]


def test_a_student_with_its_mean_has_nothing_to_learn() -> None:
    """Whatever is added to all logits of a sample."""
    teachers = members(5, CLASSES)
    ensemble = Ensemble(teachers, equal(teachers), "classification")
    answer = ensemble.answer([torch.zeros(5)], ROWS, 0)
    (loss,) = make_losses([KdLoss(temperature=2.0)], "classification")
    logits = (answer.logits + 7).requires_grad_()
    value = loss(LossInputs(Outputs(logits), answer))
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.item() == pytest.approx(0, abs=1e-12)
    assert gradient.abs().max() < 1e-12
