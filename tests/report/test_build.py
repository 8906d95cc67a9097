"""The exit code: one rule over all gates and failures."""

from __future__ import annotations

from importlib.metadata import version
from itertools import permutations

import pytest

from edgestill.errors import ExitCode
from edgestill.report.build import make_report, overall
from edgestill.report.model import FORMAT, Budget, Report
from edgestill.stats import Verdict
from edgestill.targets.fingerprint import Fingerprint
from edgestill.verify.config import (
    AgreementGate,
    LatencyGate,
    ScoreGate,
    SizeGate,
    SpeedupGate,
)
from edgestill.verify.results import EVERY_GATE, GateResult

PASS, FAIL, OPEN, NOT_RUN = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.NOT_RUN


def gates(*verdicts: Verdict) -> list[GateResult]:
    return [
        GateResult(EVERY_GATE if verdict is NOT_RUN else "size", "openvino int8", verdict, "", "")
        for verdict in verdicts
    ]


@pytest.mark.parametrize(
    ("verdicts", "failures", "expected"),
    [
        ((PASS, PASS), (), (PASS, ExitCode.PASSED)),
        ((PASS, NOT_RUN), (), (PASS, ExitCode.PASSED)),
        ((NOT_RUN, NOT_RUN), (), (NOT_RUN, ExitCode.PASSED)),
        ((), (), (NOT_RUN, ExitCode.PASSED)),
        ((PASS, OPEN, NOT_RUN), (), (OPEN, ExitCode.INCONCLUSIVE)),
        ((PASS, OPEN, FAIL), (), (FAIL, ExitCode.GATE_FAILED)),
        ((FAIL, NOT_RUN), (), (FAIL, ExitCode.GATE_FAILED)),
        ((PASS, OPEN, FAIL), ("openvino cannot run",), (FAIL, ExitCode.ENVIRONMENT)),
        ((PASS,), ("openvino cannot run",), (OPEN, ExitCode.ENVIRONMENT)),
        ((), ("openvino cannot run",), (OPEN, ExitCode.ENVIRONMENT)),
    ],
)
def test_the_worst_that_happened_decides(
    verdicts: tuple[Verdict, ...],
    failures: tuple[str, ...],
    expected: tuple[Verdict, ExitCode],
) -> None:
    for order in permutations(verdicts):
        assert overall(gates(*order), failures) == expected


def test_a_single_gate_that_was_not_run_leaves_it_undecided() -> None:
    withheld = GateResult("score", "openvino int8", NOT_RUN, "", "")
    assert overall([*gates(PASS), withheld]) == (OPEN, ExitCode.INCONCLUSIVE)
    assert overall([withheld]) == (OPEN, ExitCode.INCONCLUSIVE)
    assert overall([*gates(FAIL), withheld]) == (FAIL, ExitCode.GATE_FAILED)


BUDGETS = (
    ("accuracy", ScoreGate(drop_vs="teacher", at_most=0.03)),
    ("agreement", AgreementGate(at_least=0.9, vs="student")),
    ("latency", LatencyGate(at_most=0.005, percentile=99, batch=8)),
    ("speedup", SpeedupGate(at_least=2.0)),
    ("size", SizeGate(at_most=1000)),
)


def report(*verdicts: Verdict, failures: tuple[str, ...] = ()) -> Report:
    return make_report(
        kind="verify",
        name="digits",
        task="classification",
        metric="accuracy",
        bigger_is_better=True,
        seed=3,
        threads=2,
        splits={"test": 718},
        evaluation="e" * 64,
        models=(),
        hops=(),
        targets=(),
        gates=gates(*verdicts),
        steps=(),
        fingerprint=Fingerprint.read(),
        notes=("the teacher came trained",),
        budgets=BUDGETS,
        failures=failures,
    )


def test_failures_stand_beside_the_notes() -> None:
    found = report(PASS, failures=("openvino int8 failed: signal 9",))
    assert found.failures == ("openvino int8 failed: signal 9",)
    assert found.notes == ("the teacher came trained",)
    assert (found.verdict, found.exit_code) == (OPEN, ExitCode.ENVIRONMENT)
    assert report(PASS).exit_code is ExitCode.PASSED


def test_a_report_says_on_what_it_was_made() -> None:
    found = report(FAIL)
    assert found.format == FORMAT
    assert found.edgestill == version("edgestill")
    assert found.versions["numpy"] == version("numpy")
    assert all(installed == version(name) for name, installed in found.versions.items())
    assert found.device["cpu"] and found.created.endswith("+00:00")


def test_budgets_are_those_of_the_recipe_in_base_units() -> None:
    assert report(PASS).budgets == (
        Budget("accuracy", at_most=0.03, versus="teacher"),
        Budget("agreement", at_least=0.9, versus="student"),
        Budget("latency", at_most=0.005, percentile=99, batch=8),
        Budget("speedup", at_least=2.0, batch=1, versus="teacher"),
        Budget("size", at_most=1000),
    )
