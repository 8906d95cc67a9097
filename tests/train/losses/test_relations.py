"""Losses that relate samples, against formulas of their papers written as loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import permutations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgestill.train.losses import make_losses
from edgestill.train.losses.base import LossInputs, Outputs
from edgestill.train.losses.config import DistLoss, LossConfig, RelationLoss, SimilarityLoss

Array = NDArray[np.float64]
Evaluate = Callable[..., float]
IGNORED = -100


def softmax(x: Array) -> Array:
    powers: Array = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def dist(student: Array, teacher: Array, beta: float = 1.0, gamma: float = 1.0) -> float:
    """Huang et al. 2022, equations 8 to 10, of probabilities `[n, c]`."""
    over_classes = [np.corrcoef(s, t)[0, 1] for s, t in zip(student, teacher, strict=True)]
    over_samples = [np.corrcoef(s, t)[0, 1] for s, t in zip(student.T, teacher.T, strict=True)]
    return float(beta * (1 - np.mean(over_classes)) + gamma * (1 - np.mean(over_samples)))


def huber(x: float) -> float:
    return 0.5 * x * x if abs(x) <= 1 else abs(x) - 0.5


def relation(student: Array, teacher: Array, distance: float, angle: float) -> float:
    """Park et al. 2019, equations 5 to 9, pair by pair and triple by triple."""
    count = len(student)
    means = []
    for x in (student, teacher):
        pairs = [np.linalg.norm(x[i] - x[j]) for i, j in permutations(range(count), 2)]
        means.append(np.mean(pairs))

    def cosine(x: Array, i: int, j: int, k: int) -> float:
        first, second = x[i] - x[j], x[k] - x[j]
        return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))

    distances = sum(
        huber(
            np.linalg.norm(student[i] - student[j]) / means[0]
            - np.linalg.norm(teacher[i] - teacher[j]) / means[1]
        )
        for i, j in permutations(range(count), 2)
    )
    angles = 0.0
    for j in range(count):
        for i in range(count):
            for k in range(count):
                if j not in (i, k):
                    angles += huber(cosine(student, i, j, k) - cosine(teacher, i, j, k))
    # The means are over all of the batch, pairs and triples of one sample with itself included.
    return float(distance * distances / count**2 + angle * angles / count**3)


def similarity(student: Array, teacher: Array) -> float:
    """Tung and Mori 2019, equations 2 to 4."""
    count = len(student)
    total = 0.0
    for i in range(count):
        rows = []
        for x in (student, teacher):
            flat = x.reshape(count, -1)
            row = np.array([flat[i] @ flat[j] for j in range(count)])
            rows.append(row / np.sqrt((row**2).sum()))
        total += ((rows[0] - rows[1]) ** 2).sum()
    return total / count**2


def rotation(rng: np.random.Generator, width: int) -> Array:
    return np.linalg.qr(rng.normal(size=(width, width)))[0]


# dist


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_dist_is_the_formula_of_its_paper(
    rng: np.random.Generator, evaluate: Evaluate, temperature: float
) -> None:
    student, teacher = rng.normal(size=(2, 6, 5)) * 3
    expected = temperature**2 * dist(
        softmax(student / temperature), softmax(teacher / temperature), 2.0, 0.5
    )
    found = evaluate(DistLoss(1.0, temperature, 2.0, 0.5), student, teacher)
    assert found == pytest.approx(expected, rel=1e-8)


def test_dist_of_labels_correlates_their_probabilities(
    rng: np.random.Generator, evaluate: Evaluate
) -> None:
    student, teacher = rng.normal(size=(2, 6, 4)) * 2
    expected = dist(1 / (1 + np.exp(-student)), 1 / (1 + np.exp(-teacher)))
    found = evaluate(DistLoss(), student, teacher, task="multilabel")
    assert found == pytest.approx(expected, rel=1e-8)


def test_dist_does_not_see_scale_and_shift_of_probabilities(
    rng: np.random.Generator, evaluate: Evaluate
) -> None:
    """Huang et al. 2022, equation 3: r(m1 u + n1, m2 v + n2) = r(u, v)."""
    teacher = softmax(rng.normal(size=(6, 5)))
    # One m and n for all keep every row a distribution, and every column a shift of the teacher's.
    student = 0.5 * teacher + 0.5 / 5
    found = evaluate(DistLoss(), np.log(student), np.log(teacher))
    assert found == pytest.approx(0, abs=1e-9)
    # An m of each sample leaves the correlation over classes, and not that over samples.
    share = rng.uniform(0.1, 1, (6, 1))
    student = share * teacher + (1 - share) / 5
    between = DistLoss(within_classes=0.0)
    assert evaluate(between, np.log(student), np.log(teacher)) == pytest.approx(0, abs=1e-9)
    assert evaluate(DistLoss(), np.log(student), np.log(teacher)) > 0.01


def test_dist_of_positions_is_that_of_as_many_samples(
    rng: np.random.Generator, evaluate: Evaluate
) -> None:
    student, teacher = rng.normal(size=(2, 3, 5, 4, 2))
    labels = rng.integers(0, 5, (3, 4, 2))
    labels[0], labels[2, 1] = IGNORED, IGNORED
    known = labels.reshape(-1) >= 0
    kept = [np.moveaxis(x, 1, -1).reshape(-1, 5)[known] for x in (student, teacher)]
    expected = evaluate(DistLoss(), *kept)
    assert evaluate(DistLoss(), student, teacher, labels) == pytest.approx(expected, rel=1e-9)
    assert evaluate(DistLoss(), student, teacher, np.full((3, 4, 2), IGNORED)) == 0


def test_dist_of_two_classes_is_taught_by_the_correlation_over_samples(
    rng: np.random.Generator, evaluate: Evaluate
) -> None:
    student, teacher = rng.normal(size=(2, 8, 1))
    p, q = (1 / (1 + np.exp(-x[:, 0])) for x in (student, teacher))
    found = evaluate(DistLoss(between_classes=0.0), student, teacher)
    assert found == pytest.approx(1 - np.corrcoef(p, q)[0, 1], rel=1e-8)


# similarity


def test_similarity_is_the_formula_of_its_paper(
    rng: np.random.Generator, evaluate: Evaluate
) -> None:
    student, teacher = rng.normal(size=(5, 4, 3, 3)), rng.normal(size=(5, 7, 2))
    found = evaluate(SimilarityLoss("a", "b"), student, teacher)
    assert found == pytest.approx(similarity(student, teacher), rel=1e-9)


# relation


@pytest.mark.parametrize(("distance", "angle"), [(3.0, 0.0), (0.0, 2.0), (1.0, 2.0)])
def test_relation_is_the_formula_of_its_paper(
    rng: np.random.Generator, evaluate: Evaluate, distance: float, angle: float
) -> None:
    student, teacher = rng.normal(size=(6, 4)) + 5, rng.normal(size=(6, 9))
    student[0] *= 4  # so that a distance leaves the square part of Huber's function
    config = RelationLoss(distance=distance, angle=angle)
    expected = relation(student, teacher, distance, angle)
    assert evaluate(config, student, teacher) == pytest.approx(expected, rel=1e-8)


def test_relation_of_layers_flattens_them(rng: np.random.Generator, evaluate: Evaluate) -> None:
    student, teacher = rng.normal(size=(5, 4, 2, 2)), rng.normal(size=(5, 3, 3))
    expected = evaluate(RelationLoss(), student.reshape(5, -1), teacher.reshape(5, -1))
    found = evaluate(RelationLoss("a", "b"), student, teacher)
    assert found == pytest.approx(expected, rel=1e-9)


def test_relation_in_float32_of_wide_features_far_from_zero_agrees_with_float64(
    rng: np.random.Generator,
) -> None:
    student, teacher = rng.normal(size=(2, 16, 4096)) * [[[1.0]], [[0.1]]] + 10
    (loss,) = make_losses([RelationLoss()], "classification")
    single, double = (
        loss(LossInputs(*(Outputs(torch.from_numpy(x.astype(dtype))) for x in (student, teacher))))
        for dtype in (np.float32, np.float64)
    )
    assert float(single) == pytest.approx(float(double), rel=1e-3)


@pytest.mark.parametrize("config", [RelationLoss(), RelationLoss("a", "b"), DistLoss()])
def test_equal_samples_are_no_danger(config: LossConfig) -> None:
    (loss,) = make_losses([config], "classification")
    student = torch.ones(4, 8) * torch.tensor([[1.0], [1.0], [1.0], [3.0]]) / 3
    student.requires_grad_()
    own = Outputs(student, dict.fromkeys(loss.reads.student, student))
    teacher = torch.randn(4, 8)
    value = loss(LossInputs(own, Outputs(teacher, dict.fromkeys(loss.reads.teacher, teacher))))
    value.backward()
    assert torch.isfinite(value)
    assert student.grad is not None
    assert student.grad.abs().max() < 10


def test_samples_that_rounding_alone_tells_apart_are_one(rng: np.random.Generator) -> None:
    """Angles at such a sample would be noise, here other noise after a rotation."""
    (loss,) = make_losses([RelationLoss()], "classification")
    teacher = np.tile(rng.normal(size=(8, 64)), (2, 1)) * (1 + 1e-7 * rng.normal(size=(16, 64)))
    student = teacher @ rotation(rng, 64)
    outputs = (Outputs(torch.from_numpy(x.astype(np.float32))) for x in (student, teacher))
    assert loss(LossInputs(*outputs)).item() < 1e-6


# Both


@pytest.mark.parametrize("config", [RelationLoss("a", "b"), SimilarityLoss("a", "b")])
def test_rotations_and_scales_of_a_feature_cost_nothing(
    rng: np.random.Generator, evaluate: Evaluate, config: LossConfig
) -> None:
    teacher = rng.normal(size=(6, 4))
    assert evaluate(config, 3 * teacher @ rotation(rng, 4), teacher) == pytest.approx(0, abs=1e-12)
    shifted = evaluate(config, teacher + 1, teacher)
    if isinstance(config, RelationLoss):
        assert shifted == pytest.approx(0, abs=1e-12)
    else:
        assert shifted > 1e-3  # inner products have an origin


@pytest.mark.parametrize(
    "config", [DistLoss(), SimilarityLoss("a", "b"), RelationLoss("a", "b"), RelationLoss()]
)
def test_gradients_are_those_of_finite_differences(
    rng: np.random.Generator, gradients_agree: Callable[..., bool], config: LossConfig
) -> None:
    assert gradients_agree(config, *rng.normal(size=(2, 5, 4)))


@pytest.mark.parametrize(
    "config", [DistLoss(), SimilarityLoss("a", "b"), RelationLoss("a", "b"), RelationLoss()]
)
def test_samples_of_all_processes_are_related(
    rng: np.random.Generator, evaluate: Evaluate, config: LossConfig
) -> None:
    """What `gather` gives is what is compared: here it adds the rows of another process."""
    (loss,) = make_losses([config], "classification")
    student, teacher = (torch.from_numpy(x) for x in rng.normal(size=(2, 6, 5, 3)))

    def part(rows: slice) -> Sequence[Outputs]:
        return [
            Outputs(x[rows], dict.fromkeys(taps, x[rows]))
            for x, taps in ((student, loss.reads.student), (teacher, loss.reads.teacher))
        ]

    wholes = iter([student, teacher])
    found = loss(LossInputs(*part(slice(2)), gather=lambda rows: next(wholes)))
    assert float(found) == pytest.approx(float(loss(LossInputs(*part(slice(6))))), rel=1e-12)
    assert loss.relates_samples
    assert not math.isclose(float(found), float(loss(LossInputs(*part(slice(2))))), rel_tol=1e-3)
