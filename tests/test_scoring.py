"""A recipe's metric on predictions: built in or of one's own, on one output or several."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from numpy.typing import NDArray

from edgestill.artifact import Predictions, PredictionsDescription
from edgestill.errors import DataError, ModelError
from edgestill.metric_config import FunctionMetric
from edgestill.metrics import METRICS, MetricSpec, Task
from edgestill.scoring import Scorer, resolve_metric, score_outputs
from edgestill.stats import Estimate, Interval

Array = NDArray[Any]
LABELS = numpy.array([0, 1, 2, 3] * 25)
RIGHT = numpy.eye(4, dtype=numpy.float32)[LABELS]


@pytest.fixture
def predictions(tmp_path: Path) -> Callable[..., Predictions]:
    """The predictions that are these arrays, by output."""

    def make(*, prediction: str = "logits", **outputs: Array) -> Predictions:
        folder = tmp_path / f"predictions{len(list(tmp_path.iterdir()))}"
        (folder / "outputs").mkdir(parents=True)
        for index, array in enumerate(outputs.values()):
            numpy.save(folder / "outputs" / f"{index}.npy", array)
        count = len(outputs[prediction])
        return Predictions.seal(
            folder, PredictionsDescription("numpy", count, tuple(outputs), prediction)
        )

    return make


def wrong(count: int, at: int = 0) -> Array:
    answered = LABELS.copy()
    answered[at : at + count] = (answered[at : at + count] + 1) % 4
    return numpy.eye(4, dtype=numpy.float32)[answered]


def scorer(metric: str | MetricSpec = "accuracy", task: Task = "classification") -> Scorer:
    spec = METRICS[metric] if isinstance(metric, str) else metric
    return Scorer(task, spec, LABELS)


def own(function: Callable[..., Any], better: str = "bigger") -> MetricSpec:
    config = FunctionMetric("score.py:mine", better)  # type: ignore[arg-type]
    return resolve_metric(config, lambda reference: function)


def test_a_metric_is_found_by_its_name_or_loaded() -> None:
    assert resolve_metric("f1_macro", pytest.fail) is METRICS["f1_macro"]
    asked: list[str] = []

    def load(reference: str) -> Callable[..., float]:
        asked.append(reference)
        return lambda outputs, labels: 0.5

    found = resolve_metric(FunctionMetric("score.py:mine", "smaller"), load)
    assert asked == ["score.py:mine"]
    assert (found.bigger_is_better, found.unit) == (False, "plain")


def test_a_built_in_metric_reads_the_prediction_alone(
    predictions: Callable[..., Predictions],
) -> None:
    noise = numpy.zeros((100, 7), numpy.float32)
    answers = predictions(features=noise, logits=wrong(5))
    assert scorer().score_of(answers) == 0.95
    assert score_outputs(METRICS["accuracy"], {"f": noise, "y": wrong(5)}, "y", LABELS) == 0.95


def test_ones_own_metric_sees_every_output_of_several_and_the_one_of_one(
    predictions: Callable[..., Predictions],
) -> None:
    seen: list[Any] = []

    def mine(outputs: Any, labels: Array) -> float:
        seen.append(outputs)
        return float(len(labels))

    several = predictions(logits=RIGHT, boxes=RIGHT[:, :2])
    assert scorer(own(mine)).score_of(several) == 100.0
    assert {name: array.shape for name, array in seen[-1].items()} == {
        "logits": (100, 4),
        "boxes": (100, 2),
    }
    assert scorer(own(mine)).score_of(predictions(logits=RIGHT)) == 100.0
    assert seen[-1].shape == (100, 4)
    # Training has the outputs in memory, and gives them in the same way.
    score_outputs(own(mine), {"logits": RIGHT}, "logits", LABELS)
    assert seen[-1] is RIGHT


def test_ones_own_metric_may_have_the_name_of_a_built_in_one() -> None:
    config = FunctionMetric("score.py:accuracy", "bigger")
    found = resolve_metric(config, lambda _: lambda outputs, labels: float(len(outputs)))
    assert score_outputs(found, {"a": RIGHT, "b": RIGHT}, "a", LABELS) == 2.0


def test_ones_own_metric_of_several_outputs_has_an_interval_and_a_drop(
    predictions: Callable[..., Predictions],
) -> None:
    def mine(outputs: dict[str, Array], labels: Array) -> float:
        return float((outputs["logits"].argmax(1) == labels).mean() - outputs["cost"].mean())

    cost = numpy.full((100, 1), 0.125, numpy.float32)
    first, second = (predictions(logits=wrong(n), cost=cost) for n in (0, 10))
    ours, built_in = scorer(own(mine)), scorer()
    estimate = ours.estimate(second, 0.95)
    assert estimate.value == pytest.approx(0.775) and estimate.count == 100
    assert estimate.interval is not None
    drop, exact = ours.drop(first, second, 0.95), built_in.drop(first, second, 0.95)
    assert drop.value == pytest.approx(exact.value) == pytest.approx(0.1)
    assert drop.interval is not None and exact.interval is not None
    assert drop.interval.low == pytest.approx(exact.interval.low, abs=0.03)
    assert drop.interval.high == pytest.approx(exact.interval.high, abs=0.03)
    assert ours.samples_to_decide(first, second, 0.2, 0.95) is None


@pytest.mark.parametrize("metric", ["accuracy", "f1_macro"])
def test_a_score_is_the_same_with_and_without_its_interval(
    predictions: Callable[..., Predictions], metric: str
) -> None:
    answers = predictions(logits=wrong(20))
    estimate = scorer(metric).estimate(answers, 0.9)
    assert estimate.value == pytest.approx(scorer(metric).score_of(answers))
    assert estimate.interval is not None and estimate.interval.level == 0.9
    assert estimate.interval.low < estimate.value < estimate.interval.high


def test_a_drop_is_paired_on_the_same_samples(predictions: Callable[..., Predictions]) -> None:
    reference = predictions(logits=wrong(10))
    alike, other = predictions(logits=wrong(10)), predictions(logits=wrong(10, at=50))
    same, swapped = (scorer().drop(reference, found, 0.95) for found in (alike, other))
    # Both have the same score; only the second differs on samples.
    assert same.value == swapped.value == 0.0
    assert same.interval is not None and swapped.interval is not None
    assert swapped.interval.high > 2 * same.interval.high
    assert scorer().agreement(reference, alike, 0.95).value == 1.0
    assert scorer().agreement(reference, other, 0.95).value == 0.8


def test_a_better_candidate_has_a_negative_drop(predictions: Callable[..., Predictions]) -> None:
    worse, better = predictions(logits=wrong(10)), predictions(logits=wrong(0))
    assert scorer().drop(worse, better, 0.95).value == pytest.approx(-0.1)
    errors = scorer(own(lambda outputs, labels: float(len(outputs)), "smaller"))
    assert errors.drop(worse, better, 0.95).value == 0.0
    values, exact = predictions(logits=RIGHT[:, 0] + 0.5), predictions(logits=RIGHT[:, 0])
    mae = Scorer("regression", METRICS["mae"], RIGHT[:, 0])
    assert mae.drop(values, exact, 0.95).value == -0.5
    counted = own(lambda o, labels: float((o.argmax(1) != labels).sum()), "smaller")
    assert scorer(counted).drop(worse, better, 0.95).value == -10.0


def test_more_samples_are_asked_for_where_the_gap_is_small(
    predictions: Callable[..., Predictions],
) -> None:
    reference, candidate = predictions(logits=RIGHT), predictions(logits=wrong(2))
    near = scorer().samples_to_decide(reference, candidate, 0.025, 0.95)
    far = scorer().samples_to_decide(reference, candidate, 0.05, 0.95)
    assert near is not None and far is not None and near > 4 * far > 400
    assert scorer().samples_to_decide(reference, candidate, 0.02, 0.95) is None


def test_predictions_of_one_shape_can_be_compared(
    predictions: Callable[..., Predictions],
) -> None:
    first, second = predictions(logits=RIGHT), predictions(logits=RIGHT + 0.5)
    assert scorer().comparable(first, second)
    assert scorer().largest_difference(first, second) == 0.5
    wider, fewer = predictions(logits=numpy.zeros((100, 5))), predictions(logits=RIGHT[:50])
    for other in (wider, fewer):
        assert not scorer().comparable(first, other)
        with pytest.raises(DataError, match="cannot be compared"):
            scorer().agreement(first, other, 0.95)
    # Only what metrics read counts.
    assert scorer().comparable(first, predictions(logits=RIGHT, boxes=RIGHT[:, :2]))


@pytest.mark.parametrize("metric", ["mae", "rmse"])
@pytest.mark.parametrize("task", ["regression", "custom"])
def test_values_that_are_the_same_to_the_bit_leave_nothing_open(
    predictions: Callable[..., Predictions], task: Task, metric: str
) -> None:
    rng = numpy.random.default_rng(0)
    values = rng.normal(size=(100, 1)) + LABELS[:, None]
    first, same = predictions(logits=values), predictions(logits=values)
    judge = Scorer(task, METRICS[metric], LABELS[:, None].astype(numpy.float32))
    assert judge.drop(first, same, 0.95) == Estimate(0.0, Interval(0.0, 0.0, 0.95), 100)
    assert judge.agreement(first, same, 0.95) == Estimate(1.0, Interval(1.0, 1.0, 0.95), 100)
    almost = predictions(logits=values + 1e-6 * rng.normal(size=(100, 1)))
    interval = judge.drop(first, almost, 0.95).interval
    assert interval is not None and interval.high - interval.low > 0.0


def test_logits_that_are_the_same_to_the_bit_leave_nothing_open(
    predictions: Callable[..., Predictions],
) -> None:
    logits = RIGHT + numpy.random.default_rng(0).normal(size=RIGHT.shape)
    first, same = predictions(logits=logits), predictions(logits=logits.copy())
    for metric in ("accuracy", "f1_macro"):
        drop = scorer(metric).drop(first, same, 0.95)
        assert drop == Estimate(0.0, Interval(0.0, 0.0, 0.95), 100)
    assert scorer().agreement(first, same, 0.95) == Estimate(1.0, Interval(1.0, 1.0, 0.95), 100)
    logits[7, 0] += 1e-9
    almost = predictions(logits=logits)
    for found in (scorer().drop(first, almost, 0.95), scorer().agreement(first, almost, 0.95)):
        assert found.interval is not None and found.interval.low < found.interval.high


def test_what_was_found_of_answers_is_not_computed_again(
    predictions: Callable[..., Predictions],
) -> None:
    calls = 0

    def counting(outputs: Array, labels: Array) -> float:
        nonlocal calls
        calls += 1
        return float((outputs.argmax(axis=1) == labels).mean())

    judge, first, second = scorer(own(counting)), predictions(logits=RIGHT), wrong(3)
    found = judge.drop(first, predictions(logits=second), 0.95)
    before = calls
    # Another folder with the same answers, as the next run of a pipeline has it.
    assert judge.drop(first, predictions(logits=second), 0.95) == found and calls == before
    assert judge.drop(first, predictions(logits=wrong(4)), 0.95) != found and calls > before
    before = calls
    judge.drop(first, predictions(logits=second), 0.9)
    assert calls > before


def test_the_same_classes_leave_open_those_of_samples_that_were_not_seen(
    predictions: Callable[..., Predictions],
) -> None:
    first, same = predictions(logits=RIGHT), predictions(logits=RIGHT)
    interval = scorer().drop(first, same, 0.95).interval
    assert interval is not None and interval.low < 0.0 < interval.high


@pytest.mark.parametrize("task", ["regression", "custom"])
def test_agreement_of_values_has_an_interval(
    predictions: Callable[..., Predictions], task: Task
) -> None:
    rng = numpy.random.default_rng(0)
    values = rng.normal(size=(100, 1))
    first = predictions(logits=values)
    second = predictions(logits=values + 0.1 * rng.normal(size=(100, 1)))
    agreement = scorer("mae", task).agreement(first, second, 0.95)
    assert 0.98 < agreement.value < 1.0 and agreement.count == 100
    assert agreement.interval is not None


def test_labels_that_are_missing_are_asked_for(predictions: Callable[..., Predictions]) -> None:
    answers = predictions(logits=RIGHT)
    text = "the data has no labels, which accuracy needs. Name them with data.labels"
    unlabelled = Scorer("classification", METRICS["accuracy"], None)
    for call in (
        lambda: unlabelled.score_of(answers),
        lambda: unlabelled.estimate(answers, 0.95),
        lambda: unlabelled.drop(answers, answers, 0.95),
        lambda: score_outputs(METRICS["accuracy"], {"y": RIGHT}, "y", None),
    ):
        with pytest.raises(DataError, match=re.escape(text)):
            call()
    # What needs no labels goes on.
    assert unlabelled.agreement(answers, answers, 0.95).value == 1.0


def test_a_user_metric_gets_no_outputs_that_are_not_of_the_labels_samples(
    predictions: Callable[..., Predictions],
) -> None:
    always = scorer(own(lambda outputs, labels: 1.0))
    short = predictions(logits=RIGHT, boxes=RIGHT[:50])
    text = f"{short.path}: the output boxes is of 50 samples, and there are 100 labels"
    for call in (
        lambda: always.score_of(short),
        lambda: always.estimate(short, 0.95),
        lambda: always.drop(predictions(logits=RIGHT), short, 0.95),
    ):
        with pytest.raises(DataError, match=re.escape(text)):
            call()


def test_answers_that_are_no_numbers_are_no_answers(
    predictions: Callable[..., Predictions],
) -> None:
    broken = RIGHT.copy()
    broken[3, 1] = numpy.nan
    answers, good = predictions(logits=broken), predictions(logits=RIGHT)
    for call in (
        lambda: scorer().score_of(answers),
        lambda: scorer().drop(good, answers, 0.95),
        lambda: scorer().agreement(good, answers, 0.95),
    ):
        with pytest.raises(ModelError, match="predictions of 1 of 100 samples have NaN"):
            call()


@pytest.mark.parametrize("returned", [float("nan"), float("inf"), None])
def test_a_user_metric_that_gives_no_number_gives_no_verdict(
    predictions: Callable[..., Predictions], returned: Any
) -> None:
    answers = predictions(logits=RIGHT)
    broken = scorer(own(lambda outputs, labels: returned))
    with pytest.raises(DataError, match=r"score\.py:mine: the metric returned"):
        broken.estimate(answers, 0.95)


def test_a_resample_that_a_user_metric_cannot_take_is_left_out(
    predictions: Callable[..., Predictions],
) -> None:
    # Of one rare class among the labels, some resamples have none.
    labels = numpy.zeros(100, int)
    labels[:5] = 1
    found = numpy.zeros((100, 2))
    found[numpy.arange(100), labels] = 1.0

    def recall(outputs: Array, labels: Array) -> float:
        if not labels.any():
            raise ValueError("there is no sample of class 1")
        return float((outputs.argmax(1)[labels == 1] == 1).mean())

    estimate = Scorer("classification", own(recall), labels).estimate(
        predictions(logits=found), 0.95
    )
    assert estimate.value == 1.0 and estimate.interval is not None
