"""Two real engines, timed in turn until it is decided whether one has become slower."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from edgestill.artifact import Dataset, Engine, OnnxModel, TensorSpec
from edgestill.measuring import Series, Session, measure_until_decided
from edgestill.stats import Verdict
from edgestill.targets.measure import Candidate, Round, predict
from edgestill.verify.between_releases import latency_change
from edgestill.verify.comparison import Change
from edgestill.verify.config import Load, MeasureConfig, timing
from edgestill.verify.evidence import Candidate as Answered
from edgestill.verify.evidence import Evidence
from edgestill.verify.latency import summarize

ONE_LOOK = MeasureConfig(block=0.001, decide_within=0.0)


@dataclass(frozen=True)
class Found:
    evidence: Evidence
    change: Change | None
    open_at: tuple[int, ...] = ()


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
    old: Candidate, new: Candidate, numbers: Dataset, at_most: float, *, batch: int = 1
) -> Found:
    pair = replace(old, name="old"), replace(new, name="new")
    answered = tuple(Answered(c.name, c.engine, None, c.predictions) for c in pair)

    def judge(rounds: Mapping[int | Load, tuple[Round, ...]]) -> Found:
        evidence = Evidence("onnxruntime", answered, rounds, ONE_LOOK.rounds)
        return Found(evidence, latency_change(evidence, at_most, batch=batch, level=0.95))

    session = Session(pair, numbers, timing(ONE_LOOK, 1, batch))
    series: dict[int | Load, Series] = {batch: Series(session)}
    return measure_until_decided(series, judge, lambda one: one.measure_on(lambda *_: None), 0.0)


def test_an_engine_is_not_many_times_slower_than_itself(ort: Candidate, numbers: Dataset) -> None:
    found = compared(ort, ort, numbers, 20.0, batch=4)
    assert found.change is not None
    assert found.change.verdict is Verdict.PASS
    timed = summarize(found.evidence, "new", 4, 1, 0.95, ())
    assert timed is not None
    assert (timed.blocks, timed.looks) == (12, 1)
    assert timed.noise_floor is not None and timed.noise_floor > 0.0


def test_one_that_does_much_more_work_is_slower_and_not_the_other_way_round(
    ort: Candidate, longer: Candidate, numbers: Dataset
) -> None:
    slower, faster = (compared(*pair, numbers, 0.05) for pair in ((ort, longer), (longer, ort)))
    assert slower.change is not None and slower.change.verdict is Verdict.FAIL
    assert faster.change is not None and faster.change.verdict is Verdict.PASS


def test_one_that_fails_is_told_and_nothing_is_decided(
    ort: Candidate, numbers: Dataset, deed: Path
) -> None:
    deed.write_text("import os; os.abort()")
    found = compared(ort, ort, numbers, 20.0)
    assert found.change is None
    crash = "onnxruntime crashed (SIGABRT)"
    assert found.evidence.failures == {"old": crash, "new": crash}
