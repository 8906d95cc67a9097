"""Losses on layers against formulas of their papers, and what costs them nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgestill.errors import ModelError
from edgestill.train.losses import make_losses
from edgestill.train.losses.base import LossInputs, Outputs
from edgestill.train.losses.config import (
    AttentionLoss,
    HiddenLoss,
    HintLoss,
    LossConfig,
    MinilmLoss,
)

Array = NDArray[np.float64]
Evaluate = Callable[..., float]


def inputs_of(student: Array, teacher: Array, loss: torch.nn.Module) -> LossInputs:
    own, other = torch.from_numpy(student), torch.from_numpy(teacher)
    return LossInputs(
        Outputs(own, dict.fromkeys(loss.reads.student, own)),
        Outputs(other, dict.fromkeys(loss.reads.teacher, other)),
    )


# hint


@pytest.mark.parametrize("shape", [(3, 4, 2, 5), (3, 6, 4), (3, 4)])
def test_hint_is_the_squared_error_in_units_of_the_teachers_feature(
    rng: np.random.Generator, evaluate: Evaluate, shape: tuple[int, ...]
) -> None:
    student, teacher = rng.normal(size=(2, *shape))
    ratios = [((s - t) ** 2).sum() / (t**2).sum() for s, t in zip(student, teacher, strict=True)]
    found = evaluate(HintLoss("a", "b"), student, teacher)
    assert found == pytest.approx(np.mean(ratios), rel=1e-9)
    assert evaluate(HintLoss("a", "b"), 0 * student, 100 * teacher) == pytest.approx(1)
    assert evaluate(HintLoss("a", "b"), 100 * student, 100 * teacher) == pytest.approx(found)


def test_cosine_hint_is_the_mean_angle_of_the_channels(
    rng: np.random.Generator, evaluate: Evaluate
) -> None:
    student, teacher = rng.normal(size=(2, 3, 4, 2, 5))
    expected = np.mean(
        [
            1 - s @ t / (np.linalg.norm(s) * np.linalg.norm(t))
            for i in range(3)
            for s, t in zip(student[i].reshape(4, -1).T, teacher[i].reshape(4, -1).T, strict=True)
        ]
    )
    config = HintLoss("a", "b", distance="cosine")
    assert evaluate(config, student, teacher) == pytest.approx(expected, rel=1e-9)
    scale = rng.uniform(0.1, 9, (3, 1, 2, 5))
    assert evaluate(config, scale * student, teacher) == pytest.approx(expected, rel=1e-7)


def test_cosine_hint_of_silent_positions_is_no_danger() -> None:
    (loss,) = make_losses([HintLoss("a", "b", distance="cosine")], "classification")
    inputs = inputs_of(np.zeros((2, 4, 3)), np.ones((2, 4, 3)), loss)
    loss.adapt(inputs)
    (feature,) = inputs.student.features.values()
    feature.requires_grad_()
    value = loss(inputs)
    value.backward()
    assert value.item() == 1
    assert feature.grad is not None and 0 < feature.grad.abs().max() < 1


def test_hint_reads_channels_where_it_is_told(rng: np.random.Generator, evaluate: Evaluate) -> None:
    student, teacher = rng.normal(size=(2, 3, 4, 5))
    last = HintLoss("a", "b", distance="cosine", channels="last")
    first = HintLoss("a", "b", distance="cosine", channels="first")
    swapped = evaluate(last, np.swapaxes(student, 1, 2), np.swapaxes(teacher, 1, 2))
    assert evaluate(first, student, teacher) == pytest.approx(swapped, rel=1e-9)
    assert evaluate(last, student, teacher) != pytest.approx(swapped, rel=1e-3)


@pytest.mark.parametrize("distance", ["mse", "cosine"])
def test_hint_does_not_see_padding(
    rng: np.random.Generator, evaluate: Evaluate, distance: str
) -> None:
    student, teacher = rng.normal(size=(2, 2, 5, 4))
    attended = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    config = HintLoss("a", "b", distance=distance)  # type: ignore[arg-type]
    alone = [evaluate(config, student[:1, :3], teacher[:1, :3])]
    alone.append(evaluate(config, student[1:], teacher[1:]))
    found = evaluate(config, student, teacher, attended=attended)
    assert found == pytest.approx(np.mean(alone), rel=1e-9)
    attended[0] = 0
    assert math.isfinite(evaluate(config, student, teacher, attended=attended))


def test_a_teacher_whose_layer_is_silent_for_a_sample_does_not_blow_hint_up(
    rng: np.random.Generator, evaluate: Evaluate
) -> None:
    student, teacher = rng.normal(size=(2, 3, 4, 2, 2))
    teacher[1] = 0
    ratios = [
        ((s - t) ** 2).sum() / (t**2).sum()
        for s, t in zip(student, teacher, strict=True)
        if t.any()
    ]
    expected = (sum(ratios) + (student[1] ** 2).mean()) / 3
    assert evaluate(HintLoss("a", "b"), student, teacher) == pytest.approx(expected, rel=1e-9)


def test_an_adapted_hint_is_that_of_the_adapted_feature(rng: np.random.Generator) -> None:
    student, teacher = rng.normal(size=(3, 4, 6, 6)), rng.normal(size=(3, 5, 3, 3))
    (loss,) = make_losses([HintLoss("a", "b")], "classification")
    words = loss.adapt(inputs_of(student, teacher, loss))
    loss.double()
    assert words == (
        "hint a: [6, 6, 4] and the teacher's [3, 3, 5] meet at 9 positions, a linear map takes 4 "
        "channels to 5"
    )
    (weight,) = (parameter.detach().numpy() for parameter in loss.parameters())
    pooled = student.reshape(3, 4, 3, 2, 3, 2).mean((3, 5))
    ratios = [
        ((np.einsum("oc,chw->ohw", weight, s) - t) ** 2).sum() / (t**2).sum()
        for s, t in zip(pooled, teacher, strict=True)
    ]
    found = loss(inputs_of(student, teacher, loss)).item()
    assert found == pytest.approx(np.mean(ratios), rel=1e-6)


def test_the_adapter_of_another_teacher_says_which(rng: np.random.Generator) -> None:
    (loss,) = make_losses([HintLoss("a", "wide:b")], "classification")
    words = loss.adapt(inputs_of(rng.normal(size=(3, 6)), rng.normal(size=(3, 4)), loss))
    assert words == (
        "hint a: [6] and the teacher wide's [4] meet at 1 position, a linear map takes 6 channels "
        "to 4"
    )


def test_an_adapter_learns_to_bring_a_feature_to_the_teachers(rng: np.random.Generator) -> None:
    teacher = rng.normal(size=(16, 5, 3, 3))
    student = np.einsum("oc,bchw->bohw", rng.normal(size=(6, 5)), teacher)
    torch.manual_seed(0)
    (loss,) = make_losses([HintLoss("a", "b")], "classification")
    inputs = inputs_of(student, teacher, loss)
    loss.adapt(inputs)
    optimizer = torch.optim.LBFGS(loss.double().parameters(), max_iter=100)

    def closure() -> float:
        optimizer.zero_grad()
        value = loss(inputs)
        value.backward()
        return value.item()

    optimizer.step(closure)
    assert loss(inputs).item() < 1e-6


# hidden


def test_hidden_is_the_mean_hint_of_its_pairs(rng: np.random.Generator, evaluate: Evaluate) -> None:
    features = rng.normal(size=(4, 2, 5, 3))
    (loss,) = make_losses([HiddenLoss("own", "other", {0: 1, 1: 3})], "classification")
    assert [str(tap) for tap in loss.reads.student] == ["own.0", "own.1"]
    assert [str(tap) for tap in loss.reads.teacher] == ["other.1", "other.3"]
    tensors = [torch.from_numpy(feature) for feature in features]
    inputs = LossInputs(
        Outputs(tensors[0], dict(zip(loss.reads.student, tensors[:2], strict=True))),
        Outputs(tensors[0], dict(zip(loss.reads.teacher, tensors[2:], strict=True))),
    )
    assert loss.adapt(inputs) is None
    alone = [evaluate(HintLoss("a", "b"), features[i], features[i + 2]) for i in range(2)]
    assert loss(inputs).item() == pytest.approx(np.mean(alone), rel=1e-9)


def test_hidden_says_what_each_pair_needed(rng: np.random.Generator) -> None:
    (loss,) = make_losses([HiddenLoss("own", "other", {0: 1})], "classification")
    words = loss.adapt(inputs_of(rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 5, 4)), loss))
    assert words == (
        "hint own.0: [5, 3] and the teacher's [5, 4] meet at 5 positions, a linear map takes 3 "
        "channels to 4"
    )


# attention


def attention(student: Array, teacher: Array) -> float:
    """Zagoruyko and Komodakis 2017, equation 2, of attention maps `[b, h, w]`."""
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        total += ((s / np.linalg.norm(s) - t / np.linalg.norm(t)) ** 2).sum()
    return total / len(student)


def test_attention_is_the_distance_of_maps_of_length_1(
    rng: np.random.Generator, evaluate: Evaluate
) -> None:
    # What the tap gives: maps, already without channels.
    student, teacher = rng.uniform(size=(2, 3, 4, 5))
    found = evaluate(AttentionLoss("a", "b"), student, teacher)
    assert found == pytest.approx(attention(student, teacher), rel=1e-9)
    assert evaluate(AttentionLoss("a", "b"), 7 * student, teacher) == pytest.approx(found)
    assert evaluate(AttentionLoss("a", "b"), 7 * teacher, teacher) == pytest.approx(0, abs=1e-12)


def test_attention_averages_the_finer_map_down(
    rng: np.random.Generator, evaluate: Evaluate
) -> None:
    student, teacher = rng.uniform(size=(3, 8, 4)), rng.uniform(size=(3, 4, 8))
    expected = attention(student.reshape(3, 4, 2, 4).mean(2), teacher.reshape(3, 4, 4, 2).mean(3))
    assert evaluate(AttentionLoss("a", "b"), student, teacher) == pytest.approx(expected, rel=1e-9)


# minilm


def relations(student: Array, teacher: Array, heads: int, attended: Array) -> float:
    """Wang et al. 2021, equations 5 to 7, of `[b, 3, t, c]`, token by token."""
    total = 0.0
    for sample in range(len(student)):
        kept = np.flatnonzero(attended[sample])
        for kind in range(3):
            for head in range(heads):
                rows = []
                for x in (teacher, student):
                    width = x.shape[-1] // heads
                    part = x[sample, kind][kept][:, head * width : (head + 1) * width]
                    scores = part @ part.T / math.sqrt(width)
                    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
                    rows.append(powers / powers.sum(axis=1, keepdims=True))
                divergence = (rows[0] * np.log(rows[0] / rows[1])).sum()
                total += divergence / (heads * len(kept))
    return total / len(student)


def test_minilm_is_the_formula_of_its_paper_for_other_widths(
    rng: np.random.Generator, evaluate: Evaluate
) -> None:
    student, teacher = rng.normal(size=(2, 3, 5, 8)), rng.normal(size=(2, 3, 5, 12))
    expected = relations(student, teacher, 4, np.ones((2, 5)))
    found = evaluate(MinilmLoss("a", "b", heads=4), student, teacher)
    assert found == pytest.approx(expected, rel=1e-9)


def test_padding_neither_relates_nor_counts_in_minilm(
    rng: np.random.Generator, evaluate: Evaluate
) -> None:
    student, teacher = rng.normal(size=(2, 3, 5, 8)), rng.normal(size=(2, 3, 5, 4))
    attended = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    config = MinilmLoss("a", "b", heads=2)
    expected = relations(student, teacher, 2, attended)
    found = evaluate(config, student, teacher, attended=attended)
    assert found == pytest.approx(expected, rel=1e-9)
    student[0, :, 3:], teacher[0, :, 3:] = 99, -99
    assert evaluate(config, student, teacher, attended=attended) == pytest.approx(expected)


@pytest.mark.parametrize(("role", "widths"), [("student", (10, 8)), ("teacher", (8, 10))])
def test_heads_have_to_divide_both_widths(
    evaluate: Evaluate, role: str, widths: tuple[int, int]
) -> None:
    with pytest.raises(ModelError) as error:
        evaluate(MinilmLoss("a", "b", heads=4), *(np.zeros((2, 3, 5, w)) for w in widths))
    layer = "a" if role == "student" else "b"
    assert str(error.value) == (
        f"layer {layer} of the {role}: 4 heads do not divide the width 10. Set heads to a number "
        "that divides 10"
    )


# All


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (HintLoss("a", "b"), (2, 5, 4)),
        (HintLoss("a", "b", distance="cosine"), (2, 5, 4)),
        (HiddenLoss("a", "b", {0: 0}), (2, 5, 4)),
        (AttentionLoss("a", "b"), (2, 5, 4)),
        (MinilmLoss("a", "b", heads=2), (2, 3, 5, 4)),
    ],
)
def test_equal_features_cost_nothing(
    rng: np.random.Generator, evaluate: Evaluate, config: LossConfig, shape: tuple[int, ...]
) -> None:
    feature = rng.normal(size=shape)
    assert evaluate(config, feature, feature) == pytest.approx(0, abs=1e-12)
    assert evaluate(config, feature[::-1], feature) > 0.1


@pytest.mark.parametrize(
    ("config", "student", "teacher"),
    [
        (HintLoss("a", "b"), (2, 3, 4, 4), (2, 4, 2, 2)),
        (HintLoss("a", "b", distance="cosine"), (2, 4, 3), (2, 4, 5)),
        (HiddenLoss("a", "b", {0: 0}), (2, 4, 3), (2, 4, 3)),
        (AttentionLoss("a", "b"), (2, 4, 4), (2, 2, 2)),
        (MinilmLoss("a", "b", heads=2), (2, 3, 4, 4), (2, 3, 4, 2)),
    ],
)
def test_gradients_are_those_of_finite_differences(
    rng: np.random.Generator,
    gradients_agree: Callable[..., bool],
    config: LossConfig,
    student: tuple[int, ...],
    teacher: tuple[int, ...],
) -> None:
    attended = np.array([[1, 1, 1, 0], [1, 1, 1, 1]])
    assert gradients_agree(
        config, rng.normal(size=student), rng.normal(size=teacher), attended=attended
    )
