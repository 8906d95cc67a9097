"""Classifiers on the student's own layers: their formula, what they see, and who learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgestill.errors import ModelError
from edgestill.train.losses import make_losses
from edgestill.train.losses.base import Labels, Loss, LossInputs, Outputs
from edgestill.train.losses.config import CeLoss, HeadsLoss, KdLoss, Tap

Array = NDArray[np.float64]


def made(
    features: Mapping[str, Array],
    prediction: Array,
    labels: Any = None,
    *,
    task: str = "classification",
    attended: NDArray[np.int64] | None = None,
    **settings: Any,
) -> tuple[Loss, LossInputs]:
    """The loss with heads on all of `features`, and its inputs, whose tensors have gradients."""
    torch.manual_seed(0)
    (loss,) = make_losses([HeadsLoss(tuple(features), **settings)], task)
    read = {Tap(name): torch.from_numpy(value).requires_grad_() for name, value in features.items()}
    inputs = LossInputs(
        Outputs(torch.from_numpy(prediction).requires_grad_(), read),
        labels=Labels(torch.from_numpy(labels)) if isinstance(labels, np.ndarray) else labels,
        attended=None if attended is None else torch.from_numpy(attended),
    )
    loss.double()
    loss.adapt(inputs)
    return loss.double(), inputs


def answers(loss: Loss, *pooled: Array) -> list[Array]:
    """What the heads say of pooled features `[b, c]`."""
    found = []
    for head, feature in zip(loss.heads, pooled, strict=True):
        weight, bias = head.weight.detach().numpy(), head.bias.detach().numpy()
        found.append(feature @ weight.T + bias)
    return found


def log_softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(1, keepdims=True))
    return np.log(powers / powers.sum(1, keepdims=True))


def term(head: Array, prediction: Array, labels: NDArray[Any], alpha: float, t: float) -> float:
    """Zhang et al. 2019: labels and softened prediction, with the factor T^2 of `kd`."""
    of_labels = -log_softmax(head)[np.arange(len(head)), labels].mean()
    target = log_softmax(prediction / t)
    divergence = (np.exp(target) * (target - log_softmax(head / t))).sum(1).mean()
    return float((1 - alpha) * of_labels + alpha * t**2 * divergence)


def test_heads_learn_labels_and_the_last_layer(rng: np.random.Generator) -> None:
    image, flat = rng.normal(size=(6, 4, 3, 2)), rng.normal(size=(6, 7))
    prediction, labels = rng.normal(size=(6, 5)) * 3, rng.integers(0, 5, 6)
    loss, inputs = made(
        {"a": image, "b": flat}, prediction, labels, alpha=0.4, temperature=2.0, weight=0.3
    )
    terms = [
        term(head, prediction, labels, 0.4, 2.0) for head in answers(loss, image.mean((2, 3)), flat)
    ]
    assert loss(inputs).item() == pytest.approx(np.mean(terms), rel=1e-9)
    assert loss.weight_at(0.5) == 0.3
    assert not loss.needs_teacher


def test_without_labels_heads_learn_from_the_last_layer_alone(rng: np.random.Generator) -> None:
    feature, prediction = rng.normal(size=(6, 4)), rng.normal(size=(6, 5))
    loss, inputs = made({"a": feature}, prediction)
    (head,) = answers(loss, feature)
    expected = term(head, prediction, np.zeros(6, int), 1.0, 3.0)
    assert loss(inputs).item() == pytest.approx(expected, rel=1e-9)


def test_a_sample_without_a_label_learns_from_the_last_layer(rng: np.random.Generator) -> None:
    feature, prediction = rng.normal(size=(4, 4)), rng.normal(size=(4, 5))
    labels = np.array([1, -100, -100, 2])
    loss, inputs = made({"a": feature}, prediction, labels, alpha=0.5)
    (head,) = answers(loss, feature)
    known = labels >= 0
    of_labels = term(head[known], prediction[known], labels[known], 0.0, 3.0)
    of_prediction = term(head, prediction, np.where(known, labels, 0), 1.0, 3.0)
    expected = (of_labels + of_prediction) / 2
    assert loss(inputs).item() == pytest.approx(expected, rel=1e-9)


def test_of_mixed_samples_each_label_counts_by_its_share(rng: np.random.Generator) -> None:
    feature, prediction = rng.normal(size=(4, 4)), rng.normal(size=(4, 5))
    first, second = rng.integers(0, 5, (2, 4))
    share = np.array([0.25, 1.0, 0.5, 0.75])
    labels = Labels(*map(torch.from_numpy, (first, second, share)))
    loss, inputs = made({"a": feature}, prediction, labels, alpha=0.0)
    logs = log_softmax(answers(loss, feature)[0])
    rows = np.arange(4)
    expected = -(share * logs[rows, first] + (1 - share) * logs[rows, second]).mean()
    assert loss(inputs).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("task", "shape"), [("multilabel", (6, 3)), ("classification", (6,))])
def test_heads_of_yes_or_no(rng: np.random.Generator, task: str, shape: tuple[int, ...]) -> None:
    """As `ce` and `kd` of what the head says."""
    feature, prediction = rng.normal(size=(6, 4)), rng.normal(size=shape)
    labels = rng.integers(0, 2, shape)
    loss, inputs = made({"a": feature}, prediction, labels, task=task)
    (head,) = answers(loss, feature)
    ce, kd = make_losses([CeLoss(), KdLoss(temperature=3.0)], task)
    said = Outputs(torch.from_numpy(head.reshape(shape)))
    taught = LossInputs(said, Outputs(torch.from_numpy(prediction)), inputs.labels)
    expected = 0.7 * ce(taught).item() + 0.3 * kd(taught).item()
    assert loss(inputs).item() == pytest.approx(expected, rel=1e-9)


def test_heads_do_not_see_padding(rng: np.random.Generator) -> None:
    tokens, prediction = rng.normal(size=(3, 5, 4)), rng.normal(size=(3, 2))
    attended = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]])
    labels = np.array([0, 1, 1])
    loss, inputs = made({"a": tokens}, prediction, labels, attended=attended)
    pooled = np.stack([tokens[0].mean(0), tokens[1, :2].mean(0), np.zeros(4)])
    (head,) = answers(loss, pooled)
    assert loss(inputs).item() == pytest.approx(term(head, prediction, labels, 0.3, 3.0), rel=1e-9)
    # A layer that has pooled its tokens has none to leave out.
    shorter, inputs = made({"a": tokens[:, :2]}, prediction, labels, attended=attended)
    (head,) = answers(shorter, tokens[:, :2].mean(1))
    found = shorter(inputs).item()
    assert found == pytest.approx(term(head, prediction, labels, 0.3, 3.0), rel=1e-9)


@pytest.mark.parametrize(("channels", "axis", "width"), [("first", 2, 4), ("last", 1, 7)])
def test_channels_lie_where_they_are_said_to(
    rng: np.random.Generator, channels: str, axis: int, width: int
) -> None:
    signal, prediction = rng.normal(size=(3, 4, 7)), rng.normal(size=(3, 2))
    labels = np.array([0, 1, 1])
    loss, inputs = made({"a": signal}, prediction, labels, channels=channels)
    assert loss.heads[0].in_features == width
    (head,) = answers(loss, signal.mean(axis))
    assert loss(inputs).item() == pytest.approx(term(head, prediction, labels, 0.3, 3.0), rel=1e-9)


def test_layers_and_heads_learn_and_the_last_layer_does_not(rng: np.random.Generator) -> None:
    feature, prediction = rng.normal(size=(4, 3, 2, 2)), rng.normal(size=(4, 5))
    loss, inputs = made({"a": feature}, prediction, rng.integers(0, 5, 4))
    read = inputs.student.features[Tap("a")]

    def of(values: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = loss(
            LossInputs(Outputs(inputs.student.logits, {Tap("a"): values}), labels=inputs.labels)
        )
        return result

    assert torch.autograd.gradcheck(of, (read,))
    loss(inputs).backward()
    assert read.grad is not None and read.grad.abs().min() > 0
    assert inputs.student.logits.grad is None
    assert len(list(loss.parameters())) == 2
    assert all(parameter.grad is not None for parameter in loss.parameters())


def test_an_order_of_positions_and_a_shift_of_the_prediction_do_not_matter(
    rng: np.random.Generator,
) -> None:
    tokens, prediction = rng.normal(size=(4, 6, 3)), rng.normal(size=(4, 5))
    labels = rng.integers(0, 5, 4)
    loss, inputs = made({"a": tokens}, prediction, labels)
    _, other = made({"a": tokens[:, ::-1].copy()}, prediction + 2.0, labels)
    assert loss(other).item() == pytest.approx(loss(inputs).item(), rel=1e-9)


def test_heads_learn_to_classify(rng: np.random.Generator) -> None:
    feature = rng.normal(size=(64, 6))
    labels = feature[:, :4].argmax(1)
    loss, inputs = made({"a": feature}, feature[:, :4] * 5, labels)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        loss(inputs).backward()
        optimizer.step()
    assert (answers(loss, feature)[0].argmax(1) == labels).mean() > 0.9


def test_heads_are_told(rng: np.random.Generator) -> None:
    (loss,) = make_losses([HeadsLoss(("body.0", "body.1"))], "classification")
    features = {
        Tap("body.0"): torch.zeros(2, 16, 4, 4),
        Tap("body.1"): torch.zeros(2, 32),
    }
    words = loss.adapt(LossInputs(Outputs(torch.zeros(2, 10), features)))
    assert words == "heads: body.0 16 -> 10, body.1 32 -> 10"


def test_heads_of_a_prediction_with_positions_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ModelError) as error:
        made({"a": rng.normal(size=(2, 3, 4, 4))}, rng.normal(size=(2, 5, 4, 4)))
    assert str(error.value) == (
        "the loss heads: a head classifies a whole sample, and the student predicts [5, 4, 4]. "
        "Leave heads out where each token or pixel is classified"
    )
