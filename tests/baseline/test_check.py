"""A report held against what was accepted: a verdict on each figure, or none comparable."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from edgestill.baseline.accept import accepted_figures
from edgestill.baseline.check import check
from edgestill.baseline.file import Baseline
from edgestill.errors import ExitCode
from edgestill.report.formats import render
from edgestill.report.model import Report
from edgestill.targets.fingerprint import Fingerprint
from edgestill.verdict import Verdict
from edgestill.verify.budgets import DEFAULTS, Budgets

Make = Callable[..., Report]
OTHER = replace(Fingerprint.read(), cpu="Cortex-A76", cores=4, board=None, gpus=())


def baseline(*reports: Report) -> Baseline:
    return Baseline().with_entries(
        entry for report in reports for entry in accepted_figures(report, "first", "dist/digits")
    )


def verdicts(found: Report, before: Baseline, budgets: Budgets = DEFAULTS) -> dict[str, Verdict]:
    return {gate.gate: gate.verdict for gate in check(found, before, budgets).gates}


def test_the_same_figures_pass(report: Make) -> None:
    found = check(report(), baseline(report()), DEFAULTS)
    assert {gate.gate for gate in found.gates} == {"accuracy", "latency", "size", "memory"}
    assert (found.verdict, found.exit_code) == (Verdict.PASS, ExitCode.PASSED)
    assert {gate.target for gate in found.gates} == {"onnxruntime fp32"}
    margins = {gate.gate: gate.decision.margin for gate in found.gates if gate.decision}
    assert margins == {"accuracy": 0.005, "latency": 0.05, "size": 0.05, "memory": 0.1}
    (score,) = [gate.decision for gate in found.gates if gate.gate == "accuracy"]
    assert score is not None and score.estimate.count == baseline(report()).entries[0].samples > 1


@pytest.mark.parametrize(
    ("gate", "better", "kept", "broken"),
    [
        ("accuracy", {"score": 0.99}, {"score": 0.955}, {"score": 0.9549}),
        ("size", {"size": 10}, {"size": 105_000}, {"size": 105_001}),
        ("memory", {"memory": 10}, {"memory": 88_000_000}, {"memory": 88_000_001}),
        ("latency", {"latency_us": 50.0}, {"latency_us": 103.0}, {"latency_us": 107.0}),
    ],
)
def test_a_figure_may_get_worse_by_its_budget(
    report: Make,
    gate: str,
    better: dict[str, float],
    kept: dict[str, float],
    broken: dict[str, float],
) -> None:
    before = baseline(report())
    for values, verdict in ((better, Verdict.PASS), (kept, Verdict.PASS), (broken, Verdict.FAIL)):
        found = verdicts(report(**values), before)
        assert found.pop(gate) is verdict
        assert set(found.values()) == {Verdict.PASS}


def test_what_is_near_the_budget_is_not_decided(report: Make) -> None:
    (gate,) = (
        gate
        for gate in check(report(latency_us=105.0), baseline(report()), DEFAULTS).gates
        if gate.gate == "latency"
    )
    assert gate.verdict is Verdict.INCONCLUSIVE
    assert gate.budget == "p50 latency rise since the baseline <= 5.0%"
    assert gate.found == (
        "5.0% [3.5%, 6.5%], n = 12 pairs of blocks, relative to the teacher's engine"
    )
    assert gate.advice.startswith("more rounds in both measurements, or edgestill compare")
    assert gate.decision is not None and gate.decision.unit == "share"
    assert gate.decision.bound == pytest.approx(0.065, abs=5e-4)


def test_the_basis_of_times_that_were_measured_apart_is_calls(report: Make) -> None:
    alone = check(report(teacher_us=None, latency_us=130.0), baseline(report()), DEFAULTS)
    (found,) = (gate.found for gate in alone.gates if gate.gate == "latency")
    assert found.endswith("n = 1200 calls, of times that were measured apart")


def test_a_slower_day_weighs_on_the_teacher_too(report: Make) -> None:
    slow_day = report(latency_us=130.0, teacher_us=1040.0)
    assert verdicts(slow_day, baseline(report()))["latency"] is Verdict.PASS
    alone = report(latency_us=130.0, teacher_us=None)
    assert verdicts(alone, baseline(report()))["latency"] is Verdict.FAIL


def test_the_very_same_engine_has_not_become_slower(report: Make) -> None:
    busy_day = report(latency_us=500.0, teacher_us=1000.0)
    (target,) = busy_day.targets
    (accepted,) = baseline(report()).entries
    (candidate,) = target.candidates
    same = replace(target, candidates=(replace(candidate, digest=accepted.engine),))
    before = baseline(report())
    assert verdicts(replace(busy_day, targets=(same,)), before)["latency"] is Verdict.PASS
    newer = replace(same, runtime="onnxruntime 1.33.0")
    assert verdicts(replace(busy_day, targets=(newer,)), before)["latency"] is Verdict.FAIL


def test_another_teacher_is_no_yardstick(report: Make) -> None:
    found = report(latency_us=100.0, teacher_us=400.0)
    (target,) = found.targets
    assert target.baseline is not None
    other = replace(target, baseline=replace(target.baseline, digest="u" * 64))
    assert verdicts(found, baseline(report()))["latency"] is Verdict.FAIL
    assert verdicts(replace(found, targets=(other,)), baseline(report()))["latency"] is Verdict.PASS


def test_another_machine_has_no_comparable_baseline_and_no_pass(report: Make) -> None:
    found = check(report(), baseline(report(machine=OTHER)), DEFAULTS)
    (gate,) = found.gates
    assert gate.verdict is Verdict.INCONCLUSIVE
    assert gate.found == "no comparable baseline: accepted were figures of Cortex-A76, 4 cores"
    assert found.exit_code is ExitCode.INCONCLUSIVE
    (gate,) = check(report(), Baseline(), DEFAULTS).gates
    assert gate.found == ("no comparable baseline: nothing was accepted of digits on onnxruntime")


@pytest.mark.parametrize(
    ("changed", "gate", "why"),
    [
        ({"evaluation": "f" * 64}, "accuracy", "it is of another evaluation set or metric"),
        ({"metric": "top5"}, "top5", "it is of another evaluation set or metric"),
        ({"score": None}, "accuracy", "it is of another evaluation set or metric"),
        ({"batch": 8}, "latency", "it is of batch 1 with 2 threads"),
        ({"batch": 8}, "memory", "it is of batch 1 with 2 threads"),
        ({"level": 0.9}, "latency", "the intervals are of the levels 0.9 and 0.95"),
    ],
)
def test_what_cannot_be_compared_is_inconclusive(
    report: Make, changed: dict[str, object], gate: str, why: str
) -> None:
    found = check(report(**changed), baseline(report()), DEFAULTS)
    (result,) = (each for each in found.gates if each.gate == gate)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.found.startswith(f"no comparable baseline: {why}")


def test_another_precision_that_ships_alone_is_held_against_the_former(report: Make) -> None:
    before = baseline(report(precision="fp32"))
    assert verdicts(report(precision="int8", size=30_000), before)["size"] is Verdict.PASS
    assert verdicts(report(precision="int8", size=300_000), before)["size"] is Verdict.FAIL


def test_of_two_precisions_that_shipped_neither_stands_for_a_third(report: Make) -> None:
    two = [accepted_figures(report(precision=p), "x", "dist") for p in ("fp16", "fp32")]
    before = Baseline().with_entries([entry for entries in two for entry in entries])
    assert verdicts(report(precision="int8"), before) == {"baseline": Verdict.INCONCLUSIVE}


def test_a_report_without_measurements_is_no_pass(report: Make) -> None:
    (target,) = report().targets
    elsewhere = report(targets=(replace(target, verify="elsewhere"),))
    found = check(elsewhere, baseline(report()), DEFAULTS)
    assert found.exit_code is ExitCode.INCONCLUSIVE
    assert found.gates[0].found == "the report has nothing that ships and was measured"


def test_an_engine_that_failed_is_no_pass(report: Make) -> None:
    (target,) = report().targets
    crashed = "onnxruntime crashed (SIGABRT)"
    engine = replace(target.candidates[0], latency=None, speedup=None, failure=crashed)
    failed = report(targets=(replace(target, candidates=(engine,)),))
    assert verdicts(failed, baseline(report())) == {
        "accuracy": Verdict.PASS,
        "size": Verdict.PASS,
        "latency": Verdict.INCONCLUSIVE,
        "memory": Verdict.INCONCLUSIVE,
    }
    told = replace(failed, failures=(f"onnxruntime fp32 failed: {crashed}",))
    found = check(told, baseline(report()), DEFAULTS)
    assert (found.verdict, found.exit_code) == (Verdict.INCONCLUSIVE, ExitCode.ENVIRONMENT)
    assert [gate.found for gate in found.gates if gate.gate == "latency"] == [
        f"it failed: {crashed}"
    ]
    assert (found.gates[-1].verdict, found.gates[-1].found) == (Verdict.NOT_RUN, *told.failures)
    # Whatever figures there are: something that had to run did not.
    found = check(report(failures=told.failures), baseline(report()), DEFAULTS)
    assert found.exit_code is ExitCode.ENVIRONMENT


def test_a_score_that_was_never_run_keeps_no_budget(report: Make) -> None:
    before, budgets = baseline(report(score=None)), Budgets(score=0.1)
    assert verdicts(report(score=None), before, budgets)["accuracy"] is Verdict.INCONCLUSIVE


def test_a_slower_runtime_is_not_hidden_by_the_teacher(report: Make) -> None:
    slower = report(latency_us=130.0, teacher_us=1040.0)
    (target,) = slower.targets
    newer = replace(slower, targets=(replace(target, runtime="onnxruntime 1.33.0"),))
    assert verdicts(newer, baseline(report()))["latency"] is Verdict.FAIL


def test_a_lifted_budget_has_no_verdict(report: Make) -> None:
    lifted = Budgets(score=None, latency=None, memory=None, size=0.05)
    assert verdicts(report(score=0.1), baseline(report()), lifted) == {"size": Verdict.PASS}


def test_an_error_that_rises_is_worse(report: Make) -> None:
    options = {"metric": "mae", "bigger_is_better": False, "task": "regression"}
    before = baseline(report(score=1.0, **options))
    budgets = Budgets(score=0.1)
    assert verdicts(report(score=1.1, **options), before, budgets)["mae"] is Verdict.PASS
    assert verdicts(report(score=1.2, **options), before, budgets)["mae"] is Verdict.FAIL
    # What a rise of half a point would be, nobody can say of an error.
    assert "mae" not in verdicts(report(score=9.0, **options), before)


def test_it_is_shown_with_its_gates_in_every_format(report: Make) -> None:
    found = check(report(size=200_000), baseline(report()), DEFAULTS).judgement("accepted.json")
    first, *_, last = render(found, "terminal").splitlines()
    assert (first, last) == ("FAIL  digits against accepted.json", "FAIL, exit code 1")
    assert (
        "| FAIL | size | onnxruntime fp32 | size rise since the baseline &lt;= 5.0% | 100 kB"
        in (render(found, "markdown"))
    )
    assert json.loads(render(found, "json"))["verdict"] == "FAIL"
    root = ElementTree.fromstring(render(found, "junit").encode())
    (case,) = [case for case in root.iter("testcase") if case.find("failure") is not None]
    place = "edgestill.digits against its baseline.onnxruntime"
    assert (case.get("classname"), case.get("name")) == (place, "size")
    facts = {p.get("name"): p.get("value") for p in root.iter("property")}
    assert facts["device"] == report().device_name
    assert facts["baseline"] == "accepted.json"
