"""Two real engines, timed in turn until it is decided whether one has become slower."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgestill.artifact import Dataset, Engine, OnnxModel, TensorSpec
from edgestill.stats import Verdict
from edgestill.targets.measure import Candidate, predict
from edgestill.verify.config import MeasureConfig
from edgestill.verify.regression import Regression, RegressionResult, measure_regression

ONE_LOOK = MeasureConfig(block=0.001, decide_within=0.0)


@pytest.fixture(scope="module")
def longer(
    make_onnx: Callable[..., OnnxModel],
    build: Callable[..., Engine],
    numbers: Dataset,
    tmp_path_factory: pytest.TempPathFactory,
) -> Candidate:
    """The doubling model with 600 multiplications more."""
    nodes, last = [("Mul", "x two", "y0", {})], 300
    for index in range(last):
        nodes += [("Mul", f"y{index} two", f"z{index}", {})]
        nodes += [("Mul", f"z{index} half", "y" if index + 1 == last else f"y{index + 1}", {})]
    x, y = (TensorSpec(name, "float32", (None, 2)) for name in "xy")
    weights = {"two": np.array(2, np.float32), "half": np.array(0.5, np.float32)}
    engine = build("onnxruntime", make_onnx(nodes, [x], [y], weights))
    answers = predict(engine, numbers, tmp_path_factory.mktemp("predictions"), threads=1)
    return Candidate("new", engine, answers)


def compared(
    old: Candidate, new: Candidate, numbers: Dataset, rule: Regression
) -> RegressionResult:
    names = replace(old, name="old"), replace(new, name="new")
    return measure_regression(*names, numbers, rule, ONE_LOOK, 1, lambda share, words: None)


def test_an_engine_is_not_many_times_slower_than_itself(ort: Candidate, numbers: Dataset) -> None:
    found = compared(ort, ort, numbers, Regression(20.0, batch=4))
    assert found.verdict is Verdict.PASS
    assert found.budget == "time of new over old <= +2000.00% (batch 4)"
    assert (found.rounds, found.looks) == (12, 1)
    assert found.noise_floor is not None and found.noise_floor > 0.0


def test_one_that_does_much_more_work_is_slower_and_not_the_other_way_round(
    ort: Candidate, longer: Candidate, numbers: Dataset
) -> None:
    assert compared(ort, longer, numbers, Regression(0.05)).verdict is Verdict.FAIL
    assert compared(longer, ort, numbers, Regression(0.05)).verdict is Verdict.PASS


def test_one_that_fails_is_told_and_nothing_is_decided(
    ort: Candidate, numbers: Dataset, deed: Path
) -> None:
    deed.write_text("import os; os.abort()")
    found = compared(ort, ort, numbers, Regression(20.0))
    assert (found.verdict, found.open_at) == (Verdict.NOT_RUN, ())
    words = "onnxruntime crashed (SIGABRT)"
    assert found.advice == f"old failed: {words}; new failed: {words}"
