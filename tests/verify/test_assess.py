"""From evidence to results: the choice on validation, the gates on what ships, and what failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy
import pytest

from edgestill.artifact import Predictions
from edgestill.errors import ExitCode
from edgestill.metrics import METRICS
from edgestill.report.build import overall
from edgestill.scoring import Scorer
from edgestill.stats import Estimate, Verdict
from edgestill.verify.assess import Assessment, Rules, assess, not_run
from edgestill.verify.config import LatencyGate, MeasureConfig, ScoreGate, SizeGate, SpeedupGate
from edgestill.verify.evidence import Evidence
from edgestill.verify.results import CandidateResult, GateResult

MakeEvidence = Callable[..., Evidence]
MakeRules = Callable[..., Rules]

SIZE = ("size", SizeGate(1000))
TIMES = {"teacher": 400.0, "fp32": 100.0, "int8": 50.0}
SIGNAL = "the worker ended with signal 9"


def judged(
    evidence: Evidence, rules: Rules, *, auto: bool = True, shipped: Sequence[str] | None = None
) -> Assessment:
    return assess(evidence, rules, auto=auto, shipped=shipped, runtime="openvino 2026.4.1")


def candidate(assessment: Assessment, name: str) -> CandidateResult:
    return next(c for c in assessment.target.candidates if c.name == name)


def exit_code(assessment: Assessment) -> ExitCode:
    return overall(assessment.gates, assessment.failures)[1]


def test_int8_that_earned_its_place_ships_and_is_what_gates_are_decided_on(
    evidence: MakeEvidence, rules: MakeRules
) -> None:
    found = judged(evidence(TIMES, wrong={"int8": 1}), rules(SIZE))
    assert found.target.shipped == ("int8",)
    assert found.target.would_choose is None
    assert [(gate.target, gate.verdict) for gate in found.gates] == [
        ("openvino int8", Verdict.PASS)
    ]
    assert (found.failures, exit_code(found)) == ((), ExitCode.PASSED)


def test_every_candidate_is_shown_with_what_it_rests_on(
    evidence: MakeEvidence, rules: MakeRules
) -> None:
    found = judged(evidence(TIMES, wrong={"int8": 2}), rules())
    int8, fp32 = candidate(found, "int8"), candidate(found, "fp32")
    assert (int8.validation_score, int8.test_score) == (0.99, 0.995)
    # Clopper and Pearson's interval of 398 right ones among 400.
    assert int8.test_interval is not None
    ends = (int8.test_interval.low, int8.test_interval.high)
    assert ends == (pytest.approx(0.98206, abs=1e-5), pytest.approx(0.99939, abs=1e-5))
    assert int8.validation_drop is not None and fp32.validation_drop is None
    assert int8.validation_drop.value == pytest.approx(0.01)
    assert int8.validation_drop.count == 200
    assert int8.speedup is not None and int8.speedup.value == pytest.approx(8.0)
    assert fp32.speedup is not None and fp32.speedup.value == pytest.approx(4.0)
    assert int8.size_bytes == 1000
    assert found.target.baseline is not None and found.target.baseline.speedup is None
    assert [c.name for c in found.target.candidates] == ["fp32", "int8"]


def test_a_choice_is_made_on_validation_whatever_the_test_split_says(
    evidence: MakeEvidence, rules: MakeRules, answers: Callable[..., Predictions]
) -> None:
    def with_int8(validation: int, test: int) -> Evidence:
        made = evidence(TIMES)
        *others, int8 = made.candidates
        int8 = replace(
            int8, validation=answers("validation", validation), test=answers("test", test)
        )
        return replace(made, candidates=(*others, int8))

    assert judged(with_int8(0, 300), rules()).target.shipped == ("int8",)
    kept = judged(with_int8(3, 0), rules())
    assert kept.target.shipped == ("fp32",)
    assert kept.target.reasons["int8"] == ("loses 1.50pp on 200 validation samples, budget 1.00pp")


@pytest.mark.parametrize(("wrong", "broken"), [(2, False), (7, True)])
def test_int8_that_a_recipe_names_alone_is_compared_with_the_float_model(
    wrong: int,
    broken: bool,
    evidence: MakeEvidence,
    rules: MakeRules,
    answers: Callable[..., Predictions],
) -> None:
    made = evidence({"int8": 50.0})
    (int8,) = made.candidates
    made = replace(made, candidates=(replace(int8, validation=answers("validation", wrong)),))
    decided_by = replace(rules(), float_validation=answers("validation", 0))
    found = judged(made, decided_by, auto=False)
    drop = candidate(found, "int8").validation_drop
    assert drop is not None and drop.value == pytest.approx(wrong / 200)
    assert found.target.shipped == ("int8",)
    reason = found.target.reasons.get("int8", "")
    assert broken == reason.startswith(
        "loses 3.50pp on 200 validation samples, budget 1.00pp: it breaks quantize.budget"
    )
    assert candidate(judged(made, rules(), auto=False), "int8").validation_drop is None


@pytest.mark.parametrize("better", [0.0, 0.3])
def test_an_error_that_grows_is_lost_accuracy(
    evidence: MakeEvidence,
    rules: MakeRules,
    predictions: Callable[..., Predictions],
    better: float,
) -> None:
    truth = numpy.linspace(0.0, 1.0, 100)
    right, off = predictions(value=truth + better), predictions(value=truth + 0.2)
    made = evidence({"fp32": 100.0, "int8": 50.0})
    fp32, int8 = made.candidates
    fp32 = replace(fp32, validation=right, test=right)
    int8 = replace(int8, validation=off, test=off)
    scorer = Scorer("regression", METRICS["mae"], truth)
    found = judged(
        replace(made, candidates=(fp32, int8)),
        rules(accuracy_drop=0.1, test=scorer, validation=scorer),
    )
    words = "its error falls by 0.1" if better else "its error rises by 0.2"
    assert words in found.target.reasons["int8"]
    assert found.target.shipped == (("int8",) if better else ("fp32",))


def test_a_failed_candidate_is_told_and_none_of_its_gates_passes(
    evidence: MakeEvidence, rules: MakeRules
) -> None:
    made = evidence(TIMES, failing={"int8": 3})
    found = judged(made, rules(SIZE, ("latency", LatencyGate(1.0)), SIZE), auto=False)
    assert found.target.shipped == ("fp32",)
    int8 = candidate(found, "int8")
    assert (int8.failure, int8.latency, int8.speedup) == (SIGNAL, None, None)
    fp32_gates = [gate for gate in found.gates if gate.target == "openvino fp32"]
    assert [gate.verdict for gate in fp32_gates] == [Verdict.PASS] * 3
    assert [gate for gate in found.gates if gate.target == "openvino int8"] == [
        GateResult("all", "openvino int8", Verdict.NOT_RUN, "size, latency", "not run here", SIGNAL)
    ]
    assert found.failures == (f"openvino int8 failed: {SIGNAL}",)
    assert exit_code(found) is ExitCode.ENVIRONMENT


def test_where_float_failed_int8_survives(evidence: MakeEvidence, rules: MakeRules) -> None:
    found = judged(evidence(TIMES, failing={"fp32": 0}), rules(SIZE))
    assert found.target.shipped == ("int8",)
    assert candidate(found, "fp32").failure == SIGNAL
    assert candidate(found, "int8").speedup is not None
    assert [(gate.target, gate.verdict) for gate in found.gates] == [
        ("openvino fp32", Verdict.NOT_RUN),
        ("openvino int8", Verdict.PASS),
    ]
    assert exit_code(found) is ExitCode.ENVIRONMENT


def test_where_the_baseline_failed_there_is_no_speedup(
    evidence: MakeEvidence, rules: MakeRules
) -> None:
    made = evidence(TIMES, failing={"teacher": 11})
    found = judged(made, rules(("speedup", SpeedupGate(1.0))))
    assert found.target.baseline is not None and found.target.baseline.failure == SIGNAL
    assert candidate(found, "int8").speedup is None
    assert found.gates[0].verdict is Verdict.NOT_RUN
    assert found.failures == (f"openvino teacher failed: {SIGNAL}",)
    assert exit_code(found) is ExitCode.ENVIRONMENT


def test_a_released_engine_that_fails_on_the_device_passes_nothing(
    evidence: MakeEvidence, rules: MakeRules
) -> None:
    found = judged(evidence(TIMES, failing={"int8": 0}), rules(SIZE), shipped=("int8",))
    assert found.target.shipped == ("int8",)
    assert found.target.would_choose == ("fp32",)
    assert [gate.verdict for gate in found.gates] == [Verdict.NOT_RUN]
    assert exit_code(found) is ExitCode.ENVIRONMENT


@pytest.mark.parametrize("gates", [(), (SIZE,)])
def test_a_release_that_ships_nothing_is_not_fine(
    evidence: MakeEvidence, rules: MakeRules, gates: tuple[Any, ...]
) -> None:
    found = judged(evidence(TIMES), rules(*gates), shipped=())
    assert found.gates == ()
    assert found.failures == ("nothing was fit to ship for openvino, so no gate could be decided",)
    assert exit_code(found) is ExitCode.ENVIRONMENT


def test_a_device_decides_on_what_the_release_ships_and_says_what_it_would_choose(
    evidence: MakeEvidence, rules: MakeRules
) -> None:
    made = evidence({**TIMES, "int8": 150.0})
    found = judged(made, rules(SIZE), shipped=("int8",))
    assert found.target.shipped == ("int8",)
    assert found.target.would_choose == ("fp32",)
    assert [gate.target for gate in found.gates] == ["openvino int8"]
    # What the recipe said is no choice.
    assert judged(made, rules(), auto=False, shipped=("int8",)).target.would_choose is None


def test_a_device_chooses_by_the_drops_that_the_build_found(
    evidence: MakeEvidence, rules: MakeRules
) -> None:
    made = evidence(TIMES)
    teacher, fp32, int8 = (replace(c, validation=None) for c in made.candidates)
    int8 = replace(int8, drop=Estimate(0.02, None, 180))
    made = replace(made, candidates=(teacher, fp32, int8))
    found = judged(made, rules(validation=None), shipped=("int8",))
    assert found.target.would_choose == ("fp32",)
    assert found.target.reasons["int8"] == ("loses 2.00pp on 180 validation samples, budget 1.00pp")
    assert candidate(found, "int8").validation_score is None


def test_a_metric_that_may_not_run_scores_nothing(evidence: MakeEvidence, rules: MakeRules) -> None:
    made = rules(SIZE)
    found = judged(evidence(TIMES), replace(made, test=replace(made.test, withheld="code")))
    int8 = candidate(found, "int8")
    assert (int8.test_score, int8.test_interval) == (None, None)
    assert found.gates[0].verdict is Verdict.PASS


def test_each_batch_is_measured_once_the_one_of_choices_first(rules: MakeRules) -> None:
    gates = [
        ("latency", LatencyGate(1.0, batch=8)),
        ("latency", LatencyGate(1.0, batch=2)),
        ("speedup", SpeedupGate(1.0, batch=8)),
        SIZE,
    ]
    made = rules(*gates, measure=MeasureConfig(batch=2, rounds=15, block=0.1, time_limit=9.0))
    assert made.loads == (2, 8)
    config = replace(made, threads=3).timing(8)
    assert (config.rounds, config.batch, config.threads) == (15, 8, 3)
    assert (config.block_seconds, config.time_limit_s) == (0.1, 9.0)


def test_gates_of_another_machine_are_one_line() -> None:
    gates = (SIZE, ("latency", LatencyGate(1.0)), ("latency", LatencyGate(2.0)))
    (found,) = not_run("tensorrt", gates, "verify: elsewhere")
    assert found.verdict is Verdict.NOT_RUN
    assert (found.budget, found.advice) == ("size, latency", "verify: elsewhere")
    assert not_run("tensorrt", (), "verify: elsewhere") == ()


def test_more_blocks_are_asked_for_at_the_batch_whose_gate_is_open(
    evidence: MakeEvidence, rules: MakeRules
) -> None:
    gates = (
        ("latency", LatencyGate(1.0)),
        ("speedup", SpeedupGate(2.0, batch=8)),
        ("accuracy", ScoreGate(drop_vs="teacher", at_most=0.0)),
    )
    unsure = {"teacher": [150.0, 250.0] * 6, "fp32": 100.0}
    found = judged(evidence(unsure, wrong={"fp32": 1}, batches=(1, 8)), rules(*gates))
    verdicts = [gate.verdict for gate in found.gates]
    assert verdicts == [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE]
    assert found.open_at == {8}


def test_what_was_not_measured_asks_for_no_blocks(evidence: MakeEvidence, rules: MakeRules) -> None:
    gates = (("speedup", SpeedupGate(2.0)), ("latency", LatencyGate(1.0, batch=8)))
    found = judged(evidence({"fp32": 100.0}), rules(*gates))
    assert {gate.verdict for gate in found.gates} == {Verdict.INCONCLUSIVE}
    assert found.open_at == set()
