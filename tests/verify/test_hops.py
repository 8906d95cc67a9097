"""Each hop against the one that it was made from, and the way to what ships."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy
import pytest

from edgestill.artifact import Predictions
from edgestill.scoring import Scorer
from edgestill.verify.assess import Rules, hop_results
from edgestill.verify.results import HopResult

Answers = Callable[..., Predictions]


@pytest.fixture
def scorer(rules: Callable[..., Rules]) -> Scorer:
    return rules().test  # type: ignore[no-any-return]


def named(results: tuple[HopResult, ...]) -> dict[str, HopResult]:
    return {result.name: result for result in results}


def test_drop_and_agreement_are_against_the_parent(answers: Answers, scorer: Scorer) -> None:
    hops = [
        ("teacher", None, answers("test", 0)),
        ("student", "teacher", answers("test", 20)),
        ("int8", "student", answers("test", 24)),
    ]
    found = named(hop_results(hops, scorer, 0.95, shipped=()))
    teacher, student, int8 = (found[name] for name in ("teacher", "student", "int8"))
    assert (teacher.score, teacher.drop, teacher.agreement) == (1.0, None, None)
    assert (student.score, student.agreement) == (0.95, 0.95)
    assert student.drop is not None and student.drop.value == pytest.approx(0.05)
    assert int8.drop is not None and int8.drop.value == pytest.approx(0.01)
    assert (int8.parent, int8.agreement) == ("student", 0.99)
    assert int8.drop.interval is not None and int8.drop.count == 400
    assert int8.largest_difference == 1.0


def test_the_whole_way_to_what_ships_is_marked(answers: Answers, scorer: Scorer) -> None:
    right = answers("test", 0)
    hops = [
        ("teacher torch", None, right),
        ("student torch", "teacher torch", right),
        ("teacher onnx", "teacher torch", right),
        ("student onnx", "student torch", right),
        ("int8 cpu onnx", "student onnx", right),
        ("openvino fp32", "student onnx", right),
        ("openvino int8", "int8 cpu onnx", right),
    ]

    def way(*shipped: str) -> list[str]:
        found = hop_results(hops, scorer, 0.95, shipped=shipped)
        return [hop.name for hop in found if hop.ships]

    assert way("openvino fp32") == [
        "teacher torch",
        "student torch",
        "student onnx",
        "openvino fp32",
    ]
    assert way("openvino int8", "openvino fp32") == [
        "teacher torch",
        "student torch",
        "student onnx",
        "int8 cpu onnx",
        "openvino fp32",
        "openvino int8",
    ]
    assert way() == []
    assert way("tensorrt int8") == []


def test_answers_that_cannot_be_compared_still_have_a_score_and_a_drop(
    answers: Answers, predictions: Callable[..., Predictions], scorer: Scorer
) -> None:
    labels = numpy.arange(400) % 4
    wider = predictions(logits=numpy.eye(6, dtype=numpy.float32)[labels])
    hops = [("teacher", None, wider), ("student", "teacher", answers("test", 4))]
    student = named(hop_results(hops, scorer, 0.95, shipped=()))["student"]
    assert (student.agreement, student.largest_difference) == (None, None)
    assert student.drop is not None and student.drop.value == pytest.approx(0.01)


def test_a_metric_that_may_not_run_leaves_the_agreement(answers: Answers, scorer: Scorer) -> None:
    withheld = replace(scorer, withheld="it is code in the release")
    hops = [("student", None, answers("test", 0)), ("int8", "student", answers("test", 4))]
    int8 = named(hop_results(hops, withheld, 0.95, shipped=("int8",)))["int8"]
    assert (int8.score, int8.drop, int8.agreement) == (None, None, 0.99)
    assert int8.ships
