"""Losses against independent NumPy formulas in float64, and their limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgestill.train.config import CeLoss, KdLoss, LossConfig, MseLoss
from edgestill.train.losses import default_losses, make_losses
from edgestill.train.losses.base import Labels, LossInputs, Outputs

Array = NDArray[np.float64]


def value(
    config: LossConfig, task: str, student: Array, teacher: Array | None, labels: Array | None
) -> float:
    (loss,) = make_losses([config], task)
    inputs = LossInputs(
        Outputs(torch.from_numpy(student)),
        None if teacher is None else Outputs(torch.from_numpy(teacher)),
        None if labels is None else Labels(torch.from_numpy(labels)),
    )
    return float(loss(inputs))


def log_softmax(x: Array) -> Array:
    shifted = x - x.max(axis=1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kd_is_the_mean_divergence_times_the_squared_temperature(
    rng: np.random.Generator, temperature: float
) -> None:
    student, teacher = rng.normal(size=(2, 6, 5)) * 3
    p, q = log_softmax(teacher / temperature), log_softmax(student / temperature)
    expected = (np.exp(p) * (p - q)).sum(axis=1).mean() * temperature**2
    found = value(KdLoss(temperature=temperature), "classification", student, teacher, None)
    assert found == pytest.approx(expected, rel=1e-9)


def test_kd_of_positions_is_the_mean_over_every_position(rng: np.random.Generator) -> None:
    student, teacher = rng.normal(size=(2, 3, 5, 4, 2))
    flat = [np.moveaxis(logits, 1, -1).reshape(-1, 5) for logits in (student, teacher)]
    whole = value(KdLoss(), "classification", student, teacher, None)
    assert whole == pytest.approx(value(KdLoss(), "classification", *flat, None), rel=1e-9)


def test_kd_of_labels_sums_yes_and_no_over_the_labels(rng: np.random.Generator) -> None:
    student, teacher = rng.normal(size=(2, 6, 3)) * 2
    p, q = sigmoid(teacher / 2), sigmoid(student / 2)
    divergence = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    expected = divergence.sum(axis=1).mean() * 4
    found = value(KdLoss(temperature=2.0), "multilabel", student, teacher, None)
    assert found == pytest.approx(expected, rel=1e-9)


def test_kd_of_equal_logits_is_zero_and_shifts_do_not_matter(rng: np.random.Generator) -> None:
    logits = rng.normal(size=(4, 5))
    assert value(KdLoss(), "classification", logits, logits + 3.0, None) == pytest.approx(
        0.0, abs=1e-12
    )


def test_kd_at_a_high_temperature_is_the_squared_error_of_centred_logits(
    rng: np.random.Generator,
) -> None:
    # Hinton et al. 2015, section 2.1: the limit is ||centred difference||^2 / (2 classes).
    student, teacher = rng.normal(size=(2, 6, 5))
    difference = student - teacher
    centred = difference - difference.mean(axis=1, keepdims=True)
    expected = (centred**2).sum(axis=1).mean() / (2 * 5)
    found = value(KdLoss(temperature=1e4), "classification", student, teacher, None)
    assert found == pytest.approx(expected, rel=1e-3)


def test_ce_smooths_labels_and_leaves_out_the_ignored(rng: np.random.Generator) -> None:
    logits = rng.normal(size=(6, 5))
    labels = np.array([0, 4, -100, 2, 1, -100])
    kept = labels >= 0
    log_p = log_softmax(logits)[kept]
    plain = -log_p[np.arange(4), labels[kept]]
    expected = (0.9 * plain + 0.1 * -log_p.mean(axis=1)).mean()
    found = value(CeLoss(label_smoothing=0.1), "classification", logits, None, labels)
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("task", "shape"),
    [("multilabel", (6, 3)), ("classification", (6, 1)), ("classification", (6,))],
)
def test_ce_is_binary_where_each_logit_is_a_yes_or_no(
    rng: np.random.Generator, task: str, shape: tuple[int, ...]
) -> None:
    logits = rng.normal(size=shape)
    labels = rng.integers(0, 2, shape if task == "multilabel" else 6).astype(np.float64)
    y, p = labels.reshape(shape), sigmoid(logits)
    expected = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert value(CeLoss(), task, logits, None, labels) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("to", ["labels", "teacher"])
def test_mse_goes_to_labels_or_to_the_teacher(rng: np.random.Generator, to: str) -> None:
    student, teacher = rng.normal(size=(2, 6, 1))
    labels = rng.normal(size=6)
    target = teacher if to == "teacher" else labels[:, None]
    found = value(MseLoss(to=to), "regression", student, teacher, labels)  # type: ignore[arg-type]
    assert found == pytest.approx(((student - target) ** 2).mean(), rel=1e-9)


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_gradients_are_those_of_finite_differences(rng: np.random.Generator, task: str) -> None:
    student = torch.from_numpy(rng.normal(size=(4, 3))).requires_grad_()
    teacher = torch.from_numpy(rng.normal(size=(4, 3)))
    if task == "classification":
        labels = torch.from_numpy(rng.integers(0, 3, 4))
    else:
        labels = torch.from_numpy(rng.integers(0, 2, (4, 3)).astype(np.float64))
    for loss in make_losses(default_losses(task, teacher=True), task):
        assert torch.autograd.gradcheck(
            lambda logits, loss=loss: loss(
                LossInputs(Outputs(logits), Outputs(teacher), Labels(labels))
            ),
            (student,),
        )
