"""Gates on scores, drops and agreement: when they pass, fail or stay open, and their words."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import astuple, replace
from typing import Any

import numpy
import pytest

from edgestill.artifact import Predictions
from edgestill.errors import DataError
from edgestill.metrics import METRICS, UserMetric
from edgestill.scoring import Scorer
from edgestill.stats import Verdict
from edgestill.verify.config import (
    AgreementGate,
    ScoreGate,
)
from edgestill.verify.gates import Subject
from edgestill.verify.results import GateResult

Decide = Callable[..., GateResult]


@pytest.mark.parametrize(
    ("config", "wrong", "expected"),
    [
        (
            ScoreGate(at_least=0.95),
            4,
            (
                "PASS",
                "gate >= 95.00%",
                "99.00% [97.46%, 99.73%], n = 400 samples, 2.46pp inside",
                "",
            ),
        ),
        (
            ScoreGate(at_least=0.98),
            4,
            (
                "INCONCLUSIVE",
                "gate >= 98.00%",
                "99.00% [97.46%, 99.73%], n = 400 samples",
                "about 1332 test samples would decide it",
            ),
        ),
        (
            ScoreGate(at_least=0.95),
            40,
            (
                "FAIL",
                "gate >= 95.00%",
                "90.00% [86.63%, 92.76%], n = 400 samples, 2.24pp outside",
                "",
            ),
        ),
        (
            ScoreGate(drop_vs="teacher", at_most=0.03),
            4,
            (
                "PASS",
                "gate drop vs teacher <= 3.00pp",
                "1.00pp [0.04pp, 2.54pp], n = 400 samples, 0.46pp inside",
                "",
            ),
        ),
        (
            ScoreGate(drop_vs="student", at_most=0.02),
            4,
            (
                "INCONCLUSIVE",
                "gate drop vs student <= 2.00pp",
                "1.00pp [0.04pp, 2.54pp], n = 400 samples",
                "about 1539 test samples would decide it",
            ),
        ),
        (
            ScoreGate(drop_vs="teacher", at_most=0.01),
            4,
            (
                "INCONCLUSIVE",
                "gate drop vs teacher <= 1.00pp",
                "1.00pp [0.04pp, 2.54pp], n = 400 samples",
                "the drop is the budget",
            ),
        ),
        (
            ScoreGate(drop_vs="teacher", at_most=0.03),
            40,
            (
                "FAIL",
                "gate drop vs teacher <= 3.00pp",
                "10.00pp [7.43pp, 13.33pp], n = 400 samples, 4.43pp outside",
                "",
            ),
        ),
        (
            AgreementGate(at_least=0.95),
            4,
            (
                "PASS",
                "gate with teacher >= 95.00%",
                "99.00% [97.46%, 99.73%], n = 400 samples, 2.46pp inside",
                "",
            ),
        ),
        (
            AgreementGate(at_least=0.99, vs="student"),
            4,
            (
                "INCONCLUSIVE",
                "gate with student >= 99.00%",
                "99.00% [97.46%, 99.73%], n = 400 samples",
                "more test samples would decide it",
            ),
        ),
        (
            AgreementGate(at_least=0.95),
            40,
            (
                "FAIL",
                "gate with teacher >= 95.00%",
                "90.00% [86.63%, 92.76%], n = 400 samples, 2.24pp outside",
                "",
            ),
        ),
    ],
)
def test_gates_on_answers(
    gate: Decide,
    subject: Callable[..., Subject],
    config: Any,
    wrong: int,
    expected: tuple[str, ...],
) -> None:
    assert astuple(gate(subject(wrong=wrong), config))[2:6] == expected


@pytest.mark.parametrize(
    ("config", "advice"),
    [
        (ScoreGate(drop_vs="teacher", at_most=0.1), "there is no teacher"),
        (AgreementGate(at_least=0.1), "there is no teacher"),
        (AgreementGate(at_least=0.1, vs="student"), "there is no student"),
    ],
)
def test_a_reference_that_is_not_there_leaves_a_gate_open(
    gate: Decide, subject: Callable[..., Subject], config: Any, advice: str
) -> None:
    result = gate(replace(subject(), references={}), config)
    assert (result.verdict, result.found) == (Verdict.INCONCLUSIVE, "no reference")
    assert result.advice == advice


def test_agreement_of_answers_in_other_shapes_is_open(
    gate: Decide, subject: Callable[..., Subject], predictions: Callable[..., Predictions]
) -> None:
    teacher = predictions(logits=numpy.zeros((400, 7), numpy.float32))
    result = gate(replace(subject(), references={"teacher": teacher}), AgreementGate(at_least=0.5))
    assert (result.verdict, result.found) == (Verdict.INCONCLUSIVE, "not comparable")
    assert result.advice == "its answers have another shape than those of the teacher"


def test_a_metric_that_may_not_run_passes_nothing(
    gate: Decide, subject: Callable[..., Subject]
) -> None:
    found = subject()
    withheld = replace(found.scorer, withheld="it is code in the release")
    for config in (ScoreGate(at_least=0.0), ScoreGate(drop_vs="teacher", at_most=1.0)):
        result = gate(replace(found, scorer=withheld), config, "score")
        assert astuple(result)[2:6] == ("NOT RUN", "score", "not run", "it is code in the release")


@pytest.mark.parametrize(
    ("config", "verdict"),
    [
        (ScoreGate(at_most=0.3), Verdict.PASS),
        (ScoreGate(at_most=0.1), Verdict.FAIL),
        (ScoreGate(drop_vs="teacher", at_most=0.3), Verdict.PASS),
        (ScoreGate(drop_vs="teacher", at_most=0.05), Verdict.FAIL),
    ],
)
@pytest.mark.parametrize("metric", ["mae", "rmse"])
def test_of_an_error_less_is_better(
    gate: Decide,
    subject: Callable[..., Subject],
    predictions: Callable[..., Predictions],
    metric: str,
    config: Any,
    verdict: Verdict,
) -> None:
    truth = numpy.random.default_rng(0).normal(size=300)
    noise = numpy.random.default_rng(1).uniform(0.15, 0.25, 300)
    worse, exact = predictions(value=truth + noise), predictions(value=truth)
    found = subject()
    found = replace(
        found,
        candidate=replace(found.candidate, test=worse),
        references={"teacher": exact},
        scorer=Scorer("regression", METRICS[metric], truth),
    )
    result = gate(found, config, metric)
    assert result.verdict is verdict
    # A score drops, an error rises.
    assert config.drop_vs is None or result.budget.startswith(f"{metric} rise vs teacher <= ")
    # A candidate that is better than its reference has lost nothing.
    turned = replace(
        found,
        candidate=replace(found.candidate, test=exact),
        references={"teacher": worse},
    )
    assert gate(turned, ScoreGate(drop_vs="teacher", at_most=0.0)).verdict is Verdict.PASS


def test_a_metric_of_the_whole_set_asks_for_more_samples(
    gate: Decide, subject: Callable[..., Subject]
) -> None:
    found = subject(wrong=4)
    found = replace(found, scorer=replace(found.scorer, metric=METRICS["f1_macro"]))
    result = gate(found, ScoreGate(drop_vs="teacher", at_most=0.015))
    assert (result.verdict, result.advice) == (
        Verdict.INCONCLUSIVE,
        "more test samples would decide it",
    )


def test_advice_never_asks_for_fewer_samples_than_there_are(
    gate: Decide, subject: Callable[..., Subject], predictions: Callable[..., Predictions]
) -> None:
    truth = numpy.zeros(300)
    errors = numpy.linspace(0.1, 1.1, 300)
    worse = errors.copy()
    worse[0] += 0.3
    found = subject()
    found = replace(
        found,
        candidate=replace(found.candidate, test=predictions(value=worse)),
        references={"teacher": predictions(value=errors)},
        scorer=Scorer("regression", METRICS["mae"], truth),
    )
    # One difference was seen: by the variance alone 147 samples would do, and 300 did not.
    result = gate(found, ScoreGate(drop_vs="teacher", at_most=0.005))
    assert result.verdict is Verdict.INCONCLUSIVE
    needed = re.fullmatch(r"about (\d+) test samples would decide it", result.advice)
    assert needed and int(needed[1]) > 300


def test_answers_to_nothing_decide_nothing(
    gate: Decide, subject: Callable[..., Subject], predictions: Callable[..., Predictions]
) -> None:
    nothing = predictions(logits=numpy.zeros((0, 4), numpy.float32))
    found = subject()
    found = replace(
        found,
        candidate=replace(found.candidate, test=nothing),
        references={"teacher": nothing},
        scorer=replace(found.scorer, labels=numpy.zeros(0, numpy.int64)),
    )
    for config in (
        ScoreGate(at_least=0.0),
        ScoreGate(drop_vs="teacher", at_most=1.0),
        AgreementGate(at_least=0.0),
    ):
        with pytest.raises(DataError, match=r"at least one sample|have no samples"):
            gate(found, config)


def test_a_users_metric_that_takes_anything_gets_no_samples_that_do_not_belong_together(
    gate: Decide, subject: Callable[..., Subject], predictions: Callable[..., Predictions]
) -> None:
    always = UserMetric("score.py:always", "bigger").load(lambda _: lambda *_: 1.0)
    found = subject()
    half = predictions(logits=numpy.zeros((200, 4), numpy.float32))
    found = replace(
        found,
        candidate=replace(found.candidate, test=half),
        scorer=replace(found.scorer, metric=always),
    )
    with pytest.raises(DataError, match="of 200 samples, and there are 400 labels"):
        gate(found, ScoreGate(at_least=0.5))
