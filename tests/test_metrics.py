"""Metrics against scikit-learn, and what they say to shapes that do not fit."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as reference

from edgestill.errors import DataError, ModelError
from edgestill.metrics import (
    AGREEMENTS,
    METRICS,
    UserMetric,
    largest_difference,
    sample_scores,
    score,
)
from edgestill.metrics.agreement import concordance

Array = NDArray[Any]


def logits_and_labels(seed: int, n: int = 200, classes: int = 7) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    return rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels], labels


@given(st.integers(0, 10_000))
def test_classification_is_what_sklearn_says(seed: int) -> None:
    logits, labels = logits_and_labels(seed)
    predicted = logits.argmax(axis=1)
    assert score(METRICS["accuracy"], logits, labels) == reference.accuracy_score(labels, predicted)
    assert score(METRICS["top5"], logits, labels) == pytest.approx(
        reference.top_k_accuracy_score(labels, logits, k=5, labels=range(7))
    )
    assert score(METRICS["f1_macro"], logits, labels) == pytest.approx(
        reference.f1_score(labels, predicted, average="macro")
    )
    assert score(METRICS["balanced_accuracy"], logits, labels) == pytest.approx(
        reference.balanced_accuracy_score(labels, predicted)
    )
    assert score(METRICS["mean_iou"], logits, labels) == pytest.approx(
        reference.jaccard_score(labels, predicted, average="macro")
    )


@pytest.mark.parametrize("classes", [3, 5000])
def test_metrics_over_pixels_are_what_sklearn_says_of_all_that_count(classes: int) -> None:
    """Few classes are counted in a table of samples and classes, many by what occurs."""
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(6, classes, 5, 7)).astype(np.float32)
    labels = np.where(rng.random((6, 5, 7)) < 0.6, logits.argmax(axis=1), rng.integers(0, 3))
    labels[:, 0] = -100
    labels[3] = -100  # of a sample without labels nothing is counted
    counted = labels != -100
    truth, predicted = labels[counted], logits.argmax(axis=1)[counted]
    assert score(METRICS["mean_iou"], logits, labels) == pytest.approx(
        reference.jaccard_score(truth, predicted, average="macro")
    )
    assert score(METRICS["f1_macro"], logits, labels) == pytest.approx(
        reference.f1_score(truth, predicted, average="macro")
    )


@given(st.integers(0, 10_000))
def test_multilabel_is_what_sklearn_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(50, 4)), rng.integers(0, 2, (50, 4))
    predicted = logits > 0
    assert score(METRICS["exact_match"], logits, labels) == reference.accuracy_score(
        labels, predicted
    )
    assert score(METRICS["label_accuracy"], logits, labels) == pytest.approx(
        1 - reference.hamming_loss(labels, predicted)
    )
    assert score(METRICS["f1_micro"], logits, labels) == pytest.approx(
        reference.f1_score(labels, predicted, average="micro")
    )


@given(st.integers(0, 10_000))
def test_regression_is_what_sklearn_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, labels = rng.normal(size=(40, 3)), rng.normal(size=(40, 3))
    labels[:, 2] = 1.0
    assert score(METRICS["mae"], values, labels) == pytest.approx(
        reference.mean_absolute_error(labels, values)
    )
    assert score(METRICS["rmse"], values, labels) == pytest.approx(
        reference.mean_squared_error(labels, values) ** 0.5
    )
    assert score(METRICS["r2"], values, labels) == pytest.approx(reference.r2_score(labels, values))


def test_positions_are_scored_along_axis_1_and_ignored_ones_left_out() -> None:
    logits = np.zeros((2, 3, 2, 2))
    logits[:, 1] = 1.0  # class 1 everywhere
    labels = np.array([[[1, 1], [1, 0]], [[1, -100], [-100, 0]]])
    np.testing.assert_allclose(sample_scores(METRICS["accuracy"], logits, labels), [0.75, 0.5])
    assert score(METRICS["balanced_accuracy"], logits, labels) == 0.5
    labels[1] = -100
    with pytest.raises(DataError, match="sample 1 has no label but -100"):
        score(METRICS["accuracy"], logits, labels)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_one_logit_is_a_binary_classifier(shape: tuple[int, ...]) -> None:
    logits = np.array([-1.0, 2.0, 0.5, 0.0]).reshape(shape)
    labels = np.array([0, 1, 0, 0])
    assert sample_scores(METRICS["accuracy"], logits, labels).tolist() == [1, 1, 0, 1]
    assert sample_scores(METRICS["accuracy"], logits, labels[:, None]).tolist() == [1, 1, 0, 1]
    assert AGREEMENTS["classification"].function(logits, -logits).tolist() == [0, 0, 0, 1]


def test_top5_takes_the_first_of_equal_logits() -> None:
    # All equal: an optimist would find every label among the five largest.
    np.testing.assert_array_equal(
        sample_scores(METRICS["top5"], np.zeros((8, 8)), np.arange(8)), [1, 1, 1, 1, 1, 0, 0, 0]
    )
    with pytest.raises(DataError, match="top5 of 5 classes is always 1"):
        score(METRICS["top5"], np.zeros((2, 5)), np.zeros(2, int))


def test_one_value_per_sample_may_have_an_axis_of_its_own() -> None:
    assert score(METRICS["mae"], np.zeros((3, 1)), np.array([1.0, 2.0, 3.0])) == 2.0
    assert sample_scores(METRICS["mae"], np.zeros(3), np.array([1.0, 2.0, 3.0])).tolist() == [
        1,
        2,
        3,
    ]


@pytest.mark.parametrize(
    ("metric", "predictions", "labels", "text"),
    [
        ("accuracy", (50, 7), (40,), "predictions [50, 7] do not fit labels [40]"),
        ("accuracy", (4, 3, 2), (4, 3), "predictions [4, 3, 2] do not fit labels [4, 3]"),
        ("accuracy", (0, 3), (0,), "at least one sample"),
        ("label_accuracy", (5, 4), (5,), "predictions [5, 4] do not fit labels [5]"),
        ("rmse", (5, 4), (4, 5), "predictions [5, 4] do not fit labels [4, 5]"),
    ],
)
def test_shapes_that_do_not_fit_are_both_named(
    metric: str, predictions: tuple[int, ...], labels: tuple[int, ...], text: str
) -> None:
    with pytest.raises(DataError, match=re.escape(text)):
        score(METRICS[metric], np.zeros(predictions), np.zeros(labels, int))


def test_labels_out_of_range() -> None:
    text = "label 3 is out of range for predictions [2, 3] and labels [2]. Labels run from 0 to 2"
    with pytest.raises(DataError, match=re.escape(text)):
        score(METRICS["accuracy"], np.zeros((2, 3)), np.array([0, 3]))
    with pytest.raises(DataError, match="label -1 is out of range"):
        score(METRICS["accuracy"], np.zeros((2, 3)), np.array([0, -1]))
    with pytest.raises(DataError, match="labels of type float64 are not class numbers"):
        score(METRICS["accuracy"], np.zeros((2, 3)), np.array([0.5, 1]))
    with pytest.raises(DataError, match="Each is 0 or 1"):
        score(METRICS["f1_micro"], np.zeros((1, 2)), np.array([[0, 2]]))


@pytest.mark.parametrize("metric", ["accuracy", "label_accuracy", "rmse"])
def test_nan_is_no_answer(metric: str) -> None:
    predictions = np.zeros((3, 2))
    predictions[1, 0] = np.nan
    labels = np.zeros(3, int) if metric == "accuracy" else np.zeros((3, 2), int)
    with pytest.raises(ModelError, match="predictions of 1 of 3 samples have NaN"):
        score(METRICS[metric], predictions, labels)


def test_scores_of_samples_average_to_the_score() -> None:
    logits, labels = logits_and_labels(3)
    assert sample_scores(METRICS["accuracy"], logits, labels).mean() == score(
        METRICS["accuracy"], logits, labels
    )
    with pytest.raises(DataError, match="f1_macro is a metric of the whole set"):
        sample_scores(METRICS["f1_macro"], logits, labels)


@given(st.integers(0, 10_000))
def test_scores_do_not_depend_on_the_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = logits_and_labels(seed, 30)
    order = rng.permutation(30)
    for name in ("accuracy", "top5", "f1_macro", "balanced_accuracy", "mean_iou"):
        assert score(METRICS[name], logits[order], labels[order]) == pytest.approx(
            score(METRICS[name], logits, labels)
        )


def test_agreement_of_classes_and_labels() -> None:
    first = np.array([[2.0, 1.0], [0.0, 1.0]])
    second = np.array([[9.0, 1.0], [1.0, 0.0]])
    assert AGREEMENTS["classification"].function(first, second).tolist() == [1, 0]
    assert AGREEMENTS["multilabel"].function(first - 0.5, second - 0.5).tolist() == [1, 0]


def test_agreement_of_values_is_of_the_whole_set() -> None:
    for task, spec in AGREEMENTS.items():
        assert spec.per_sample == (task in ("classification", "multilabel"))


@given(st.integers(0, 10_000), st.floats(0.1, 100), st.floats(-50, 50))
def test_concordance_has_no_unit_and_sees_shift_and_scale(
    seed: int, scale: float, shift: float
) -> None:
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(60, 2))
    second = first + 0.1 * rng.normal(size=(60, 2))
    found = concordance(first, second)
    assert 0.9 < found < 1.0 == concordance(first, first)
    assert found == concordance(second, first)
    both = concordance(scale * first + shift, scale * second + shift)
    assert both == pytest.approx(found, abs=1e-6)
    assert concordance(first, first + 3) < 0.5
    assert concordance(first, 3 * first) < 0.8


def test_concordance_of_columns_that_do_not_vary() -> None:
    ones = np.ones((5, 1))
    assert concordance(ones, ones) == 1.0
    assert concordance(ones, ones + 1) == 0.0


def test_largest_difference() -> None:
    first = np.array([1.0, np.inf, -2.0], np.float32)
    assert largest_difference(first, first) == 0.0
    assert largest_difference(first, np.array([1.5, np.inf, -1.0])) == 1.0
    assert np.isnan(largest_difference(first, np.array([np.nan, np.inf, -2.0])))
    with pytest.raises(DataError, match=re.escape("outputs [3] and [2] cannot be compared")):
        largest_difference(first, first[:2])


def test_a_users_metric_is_a_metric() -> None:
    asked: list[str] = []

    def loader(reference: str) -> Any:
        asked.append(reference)
        return lambda outputs, labels: np.float32(np.abs(outputs["boxes"] - labels).max())

    metric = UserMetric("score.py:worst", "smaller").load(loader)
    assert asked == ["score.py:worst"]
    assert (metric.name, metric.bigger_is_better, metric.per_sample) == ("worst()", False, False)
    assert score(metric, {"boxes": np.zeros(3)}, np.array([1.0, 2.0, 3.0])) == 3.0


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        (None, "the metric returned None, a NoneType"),
        ("0.9", "the metric returned '0.9', a str"),
        (True, "the metric returned True, a bool"),
        (np.zeros(3), r"the metric returned an array of shape \[3\]"),
        (float("nan"), "the metric returned nan"),
        (np.array(np.inf), "the metric returned inf"),
    ],
)
def test_a_users_metric_that_returns_no_number_is_named(returned: object, text: str) -> None:
    metric = UserMetric("score.py:mine", "bigger").load(lambda _: lambda *_: returned)
    with pytest.raises(DataError, match=f"score.py:mine: {text}"):
        score(metric, np.zeros(3), np.zeros(3))


def test_a_users_metric_that_raises_is_named() -> None:
    def mine(outputs: Array, labels: Array) -> float:
        raise KeyError("boxes")

    metric = UserMetric("score.py:mine", "bigger").load(lambda _: mine)
    text = "score.py:mine: the metric raised KeyError: 'boxes'. --debug shows the traceback"
    with pytest.raises(DataError, match=re.escape(text)):
        score(metric, np.zeros(3), np.zeros(3))


def test_a_users_metric_is_never_taken_for_a_built_in_one() -> None:
    metric = UserMetric("score.py:accuracy", "bigger").load(lambda _: lambda *_: 93.1)
    assert metric.name not in METRICS
