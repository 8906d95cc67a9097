"""Losses on predictions against formulas of their papers, written apart, and their limits."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgestill.errors import ModelError
from edgestill.train.losses import make_losses
from edgestill.train.losses.base import Labels, LossInputs, Outputs
from edgestill.train.losses.config import CeLoss, DkdLoss, KdLoss, LossConfig, MseLoss

Array = NDArray[np.float64]
Evaluate = Callable[..., float]
IGNORED = -100


def softmax(row: Array) -> Array:
    powers: Array = np.exp(row - row.max())
    return powers / powers.sum()


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def kl(p: Array, q: Array) -> float:
    return float(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0))


def log_softmax(x: Array) -> Array:
    return np.log(np.array([softmax(row) for row in x]))


def dkd_of_a_sample(
    student: Array, teacher: Array, label: int, alpha: float, beta: float, temperature: float
) -> float:
    """Zhao et al. 2022, equations 5 to 7, sample by sample."""
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    target = kl(np.array([p[label], 1 - p[label]]), np.array([q[label], 1 - q[label]]))
    others = [k for k in range(len(p)) if k != label]
    rest = kl(p[others] / p[others].sum(), q[others] / q[others].sum())
    return temperature**2 * (alpha * target + beta * rest)


def rows(logits: Array) -> Array:
    return np.moveaxis(logits, 1, -1).reshape(-1, logits.shape[1])


def z_scores(x: Array) -> Array:
    centred = x - x.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=1, keepdims=True))


# kd


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kd_is_the_mean_divergence_times_the_squared_temperature(
    rng: np.random.Generator, evaluate: Evaluate, temperature: float
) -> None:
    student, teacher = rng.normal(size=(2, 6, 5)) * 3
    divergences = [
        kl(softmax(t / temperature), softmax(s / temperature))
        for s, t in zip(student, teacher, strict=True)
    ]
    found = evaluate(KdLoss(temperature=temperature), student, teacher)
    assert found == pytest.approx(np.mean(divergences) * temperature**2, rel=1e-9)


def test_kd_of_positions_is_the_mean_over_those_that_are_not_ignored(
    rng: np.random.Generator, evaluate: Evaluate
) -> None:
    student, teacher = rng.normal(size=(2, 3, 5, 4, 2))
    flat = [rows(logits) for logits in (student, teacher)]
    assert evaluate(KdLoss(), student, teacher) == pytest.approx(
        evaluate(KdLoss(), *flat), rel=1e-9
    )
    labels = rng.integers(0, 5, (3, 4, 2))
    labels[0], labels[1, 2, 1] = IGNORED, IGNORED
    kept = [logits[labels.reshape(-1) >= 0] for logits in flat]
    assert evaluate(KdLoss(), student, teacher, labels) == pytest.approx(
        evaluate(KdLoss(), *kept), rel=1e-9
    )


def test_kd_leaves_out_padding_where_no_label_does(
    rng: np.random.Generator, evaluate: Evaluate
) -> None:
    student, teacher = rng.normal(size=(2, 3, 5, 4))
    attended = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    kept = [rows(logits)[attended.reshape(-1) > 0] for logits in (student, teacher)]
    assert evaluate(KdLoss(), student, teacher, attended=attended) == pytest.approx(
        evaluate(KdLoss(), *kept), rel=1e-9
    )


def test_kd_learns_from_samples_without_a_label(
    rng: np.random.Generator, evaluate: Evaluate
) -> None:
    student, teacher = rng.normal(size=(2, 4, 5))
    labels = np.array([1, IGNORED, IGNORED, 2])
    assert evaluate(KdLoss(), student, teacher, labels) == evaluate(KdLoss(), student, teacher)


@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 4)])
def test_kd_of_labels_sums_yes_and_no_over_the_labels(
    rng: np.random.Generator, evaluate: Evaluate, shape: tuple[int, ...]
) -> None:
    student, teacher = rng.normal(size=(2, *shape)) * 2
    p, q = sigmoid(teacher / 2), sigmoid(student / 2)
    divergence = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    expected = divergence.sum(axis=1).mean() * 4
    found = evaluate(KdLoss(temperature=2.0), student, teacher, task="multilabel")
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_one_logit_is_taught_as_the_two_classes_that_it_stands_for(
    rng: np.random.Generator, evaluate: Evaluate, shape: tuple[int, ...]
) -> None:
    student, teacher = rng.normal(size=(2, *shape)) * 2
    pairs = [np.stack([np.zeros(6), logits.reshape(-1)], axis=1) for logits in (student, teacher)]
    labels = rng.integers(0, 2, 6)
    for config in (KdLoss(), DkdLoss()):
        found = evaluate(config, student, teacher, labels)
        assert found == pytest.approx(evaluate(config, *pairs, labels), rel=1e-9)


@pytest.mark.parametrize("config", [KdLoss(), KdLoss(standardize=True), DkdLoss()])
def test_equal_logits_cost_nothing_and_shifts_do_not_matter(
    rng: np.random.Generator, evaluate: Evaluate, config: LossConfig
) -> None:
    logits = rng.normal(size=(4, 5))
    found = evaluate(config, logits, logits + 3.0, np.array([0, 1, 2, 3]))
    assert found == pytest.approx(0.0, abs=1e-12)


def test_kd_at_a_high_temperature_is_the_squared_error_of_centred_logits(
    rng: np.random.Generator, evaluate: Evaluate
) -> None:
    # Hinton et al. 2015, section 2.1: the limit is ||centred difference||^2 / (2 classes).
    student, teacher = rng.normal(size=(2, 6, 5))
    difference = student - teacher
    centred = difference - difference.mean(axis=1, keepdims=True)
    expected = (centred**2).sum(axis=1).mean() / (2 * 5)
    found = evaluate(KdLoss(temperature=1e4), student, teacher)
    assert found == pytest.approx(expected, rel=1e-3)


def test_standardize_compares_z_scores_so_scale_and_shift_cost_nothing(
    rng: np.random.Generator, evaluate: Evaluate
) -> None:
    student, teacher = rng.normal(size=(2, 6, 5)) * 3
    config = KdLoss(temperature=2.0, standardize=True)
    plain = evaluate(KdLoss(temperature=2.0), z_scores(student), z_scores(teacher))
    assert evaluate(config, student, teacher) == pytest.approx(plain, rel=1e-9)
    scale, shift = rng.uniform(0.1, 9, (6, 1)), rng.normal(size=(6, 1))
    moved = student * scale + shift
    assert evaluate(config, moved, teacher) == pytest.approx(plain, rel=1e-6)
    assert evaluate(config, student * scale + shift, student) == pytest.approx(0, abs=1e-10)
    dkd = DkdLoss(standardize=True)
    labels = rng.integers(0, 5, 6)
    assert evaluate(dkd, moved, teacher, labels) == pytest.approx(
        evaluate(DkdLoss(), z_scores(student), z_scores(teacher), labels), rel=1e-6
    )


def test_standardize_of_equal_logits_has_a_gradient() -> None:
    (loss,) = make_losses([KdLoss(standardize=True)], "classification")
    student = torch.zeros(2, 4, requires_grad=True)
    loss(LossInputs(Outputs(student), Outputs(torch.randn(2, 4)))).backward()
    assert torch.isfinite(student.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize(("task", "classes"), [("multilabel", 5), ("classification", 2)])
@pytest.mark.parametrize("config", [KdLoss(standardize=True), DkdLoss(standardize=True)])
def test_standardize_is_refused_for_two_classes(
    evaluate: Evaluate, config: LossConfig, task: str, classes: int
) -> None:
    logits = np.zeros((3, classes))
    labels = np.zeros((3, classes) if task == "multilabel" else 3, dtype=np.int64)
    with pytest.raises(ModelError) as error:
        evaluate(config, logits, logits, labels, task=task)
    assert str(error.value) == (
        "standardize: two classes, standardized, are -1 and 1 whatever the model answers. Leave "
        "standardize out; it needs three classes or more"
    )


# dkd


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_dkd_is_the_formula_of_its_paper(
    rng: np.random.Generator, evaluate: Evaluate, temperature: float
) -> None:
    student, teacher = rng.normal(size=(2, 6, 5)) * 3
    labels = rng.integers(0, 5, 6)
    expected = np.mean(
        [
            dkd_of_a_sample(s, t, int(label), 0.7, 6.0, temperature)
            for s, t, label in zip(student, teacher, labels, strict=True)
        ]
    )
    found = evaluate(DkdLoss(1.0, temperature, 0.7, 6.0), student, teacher, labels)
    assert found == pytest.approx(expected, rel=1e-9)


def test_kd_is_dkd_whose_beta_is_how_unsure_the_teacher_is(
    rng: np.random.Generator, evaluate: Evaluate
) -> None:
    # Zhao et al. 2022, equation 6: KD = TCKD + (1 - p_t) NCKD.
    for _ in range(5):
        student, teacher = rng.normal(size=(2, 1, 7)) * 3
        unsure = 1 - softmax(teacher[0] / 4)[2]
        found = evaluate(DkdLoss(beta=float(unsure)), student, teacher, np.array([2]))
        assert found == pytest.approx(evaluate(KdLoss(), student, teacher), rel=1e-9)


def test_dkd_of_a_multi_label_sample_is_its_kd(
    rng: np.random.Generator, evaluate: Evaluate
) -> None:
    # A yes or no has no other classes to rank: only the part about the label is left.
    student, teacher = rng.normal(size=(2, 4, 3))
    labels = rng.integers(0, 2, (4, 3)).astype(np.float32)
    found = evaluate(DkdLoss(), student, teacher, labels, task="multilabel")
    expected = evaluate(KdLoss(), student, teacher, labels, task="multilabel")
    assert found == pytest.approx(expected, rel=1e-9)


def test_dkd_leaves_out_what_has_no_label(rng: np.random.Generator, evaluate: Evaluate) -> None:
    student, teacher = rng.normal(size=(2, 3, 5, 4))
    labels = rng.integers(0, 5, (3, 4))
    labels[0], labels[2, 3] = IGNORED, IGNORED
    known = labels.reshape(-1) >= 0
    kept = [rows(logits)[known] for logits in (student, teacher)]
    expected = evaluate(DkdLoss(), *kept, labels.reshape(-1)[known])
    assert evaluate(DkdLoss(), student, teacher, labels) == pytest.approx(expected, rel=1e-9)
    nothing = np.full((3, 4), IGNORED)
    assert evaluate(DkdLoss(), student, teacher, nothing) == 0


@pytest.mark.parametrize("label", [0, 1])
def test_dkd_stays_finite_where_a_model_is_certain(label: int) -> None:
    (loss,) = make_losses([DkdLoss(temperature=1.0)], "classification")
    student = torch.tensor([[200.0, -200.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[300.0, -100.0, 0.0]])
    value = loss(LossInputs(Outputs(student), Outputs(teacher), Labels(torch.tensor([label]))))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(student.grad).all()  # type: ignore[arg-type]


# Labels of mixed samples


def mixed(own: NDArray[np.int64], partner: NDArray[np.int64], share: Array) -> Labels:
    return Labels(*(torch.from_numpy(array) for array in (own, partner, share)))


@pytest.mark.parametrize("config", [CeLoss(label_smoothing=0.1), DkdLoss()])
@pytest.mark.parametrize("positions", [(), (4,)])
def test_each_label_of_a_mixed_sample_counts_by_its_share(
    rng: np.random.Generator, evaluate: Evaluate, config: LossConfig, positions: tuple[int, ...]
) -> None:
    student, teacher = rng.normal(size=(2, 3, 5, *positions))
    own, partner = rng.integers(0, 5, (2, 3, *positions))
    share = np.array([1.0, 0.3, 0.0])
    expected = 0.0
    for i in range(3):
        for labels, part in ((own, share[i]), (partner, 1 - share[i])):
            of_one = evaluate(config, *(x[i : i + 1] for x in (student, teacher, labels)))
            expected += part * of_one / 3
    found = evaluate(config, student, teacher, mixed(own, partner, share))
    assert found == pytest.approx(expected, rel=1e-6)


def test_ce_counts_the_known_part_of_a_mixed_sample(
    rng: np.random.Generator, evaluate: Evaluate
) -> None:
    logits = rng.normal(size=(2, 3))
    labels = mixed(np.array([0, IGNORED]), np.array([IGNORED, 2]), np.array([0.25, 0.5]))
    log_p = log_softmax(logits)
    # 0.25 + 0.5 of a label are known, less than the one that a mean is over at least.
    expected = -(0.25 * log_p[0, 0] + 0.5 * log_p[1, 2])
    assert evaluate(CeLoss(), logits, None, labels) == pytest.approx(expected, rel=1e-6)


def test_mse_goes_to_mixed_labels(rng: np.random.Generator, evaluate: Evaluate) -> None:
    prediction, own, partner = rng.normal(size=(3, 4, 2))
    share = rng.uniform(size=4)
    labels = Labels(*(torch.from_numpy(array) for array in (own, partner, share)))
    target = share[:, None] * own + (1 - share)[:, None] * partner
    found = evaluate(MseLoss(to="labels"), prediction, None, labels, task="regression")
    assert found == pytest.approx(((prediction - target) ** 2).mean(), rel=1e-9)


# ce and mse


def test_ce_smooths_labels_and_leaves_out_the_ignored(
    rng: np.random.Generator, evaluate: Evaluate
) -> None:
    logits = rng.normal(size=(6, 5))
    labels = np.array([0, 4, IGNORED, 2, 1, IGNORED])
    kept = labels >= 0
    log_p = log_softmax(logits)[kept]
    plain = -log_p[np.arange(4), labels[kept]]
    expected = (0.9 * plain + 0.1 * -log_p.mean(axis=1)).mean()
    found = evaluate(CeLoss(label_smoothing=0.1), logits, None, labels)
    assert found == pytest.approx(expected, rel=1e-9)
    assert evaluate(CeLoss(), logits, None, np.full(6, IGNORED)) == 0


def test_ce_of_positions_is_that_of_as_many_samples(
    rng: np.random.Generator, evaluate: Evaluate
) -> None:
    logits, labels = rng.normal(size=(3, 5, 4, 2)), rng.integers(0, 5, (3, 4, 2))
    labels[1, :, 0] = IGNORED
    expected = evaluate(CeLoss(), rows(logits), None, labels.reshape(-1))
    assert evaluate(CeLoss(), logits, None, labels) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("task", "shape"),
    [
        ("multilabel", (6, 3)),
        ("classification", (6, 1)),
        ("classification", (6,)),
        ("classification", (6, 1, 4, 2)),
    ],
)
def test_ce_is_binary_where_each_logit_is_a_yes_or_no(
    rng: np.random.Generator, evaluate: Evaluate, task: str, shape: tuple[int, ...]
) -> None:
    logits = rng.normal(size=shape)
    of_one = shape[1:] if task == "multilabel" else shape[2:]
    labels = rng.integers(0, 2, (6, *of_one)).astype(np.float64)
    y, p = labels.reshape(shape), sigmoid(logits)
    expected = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert evaluate(CeLoss(), logits, None, labels, task=task) == pytest.approx(expected, rel=1e-9)
    smooth = 0.8 * y + 0.1
    expected = -(smooth * np.log(p) + (1 - smooth) * np.log(1 - p)).mean()
    found = evaluate(CeLoss(label_smoothing=0.2), logits, None, labels, task=task)
    assert found == pytest.approx(expected, rel=1e-9)


def test_kd_of_a_mask_is_that_of_as_many_samples(
    rng: np.random.Generator, evaluate: Evaluate
) -> None:
    student, teacher = rng.normal(size=(2, 3, 1, 4, 2))
    labels = rng.integers(0, 2, (3, 4, 2))
    labels[0, 1] = IGNORED
    known = labels.reshape(-1) != IGNORED
    expected = evaluate(KdLoss(), rows(student)[known], rows(teacher)[known])
    assert evaluate(KdLoss(), student, teacher, labels) == pytest.approx(expected, rel=1e-9)
    assert expected > 0


def test_ce_of_a_multi_label_sample_leaves_out_its_unknown_labels(
    rng: np.random.Generator, evaluate: Evaluate
) -> None:
    logits = rng.normal(size=(2, 3))
    labels = np.array([[1.0, IGNORED, 0.0], [IGNORED, IGNORED, 1.0]])
    p = sigmoid(logits)
    expected = -(np.log(p[0, 0]) + np.log(1 - p[0, 2]) + np.log(p[1, 2])) / 3
    found = evaluate(CeLoss(), logits, None, labels, task="multilabel")
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("to", ["labels", "teacher"])
def test_mse_goes_to_labels_or_to_the_teacher(
    rng: np.random.Generator, evaluate: Evaluate, to: str
) -> None:
    student, teacher = rng.normal(size=(2, 6, 1))
    labels = rng.normal(size=6)
    target = teacher if to == "teacher" else labels[:, None]
    found = evaluate(MseLoss(to=to), student, teacher, labels, task="regression")  # type: ignore[arg-type]
    assert found == pytest.approx(((student - target) ** 2).mean(), rel=1e-9)


@pytest.mark.parametrize(
    "config",
    [CeLoss(label_smoothing=0.1), KdLoss(), KdLoss(standardize=True), DkdLoss(), MseLoss()],
)
@pytest.mark.parametrize("positions", [(), (3,)])
def test_gradients_are_those_of_finite_differences(
    rng: np.random.Generator,
    gradients_agree: Callable[..., bool],
    config: LossConfig,
    positions: tuple[int, ...],
) -> None:
    student, teacher = rng.normal(size=(2, 4, 3, *positions))
    labels = rng.integers(0, 3, (4, *positions))
    labels[0] = IGNORED
    assert gradients_agree(config, student, teacher, labels)


@pytest.mark.parametrize("config", [CeLoss(label_smoothing=0.1), KdLoss(), DkdLoss()])
def test_gradients_of_labels_are_those_of_finite_differences(
    rng: np.random.Generator, gradients_agree: Callable[..., bool], config: LossConfig
) -> None:
    student, teacher = rng.normal(size=(2, 4, 3))
    labels = rng.integers(0, 2, (4, 3)).astype(np.float64)
    assert gradients_agree(config, student, teacher, labels, task="multilabel")
