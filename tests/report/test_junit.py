"""A report as JUnit XML: what a reader of CI results makes of it."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from edgestill.errors import ExitCode
from edgestill.report.build import overall
from edgestill.report.junit import render
from edgestill.report.model import Report
from edgestill.verdict import Verdict
from edgestill.verify.results import GateResult

REPORTS = ("passing", "crashed", "elsewhere", "failing", "verification", "regression")
OUTCOMES = {"failure", "error", "skipped"}


def cases(report: Report) -> dict[tuple[str, str], Element]:
    """The test cases as readers know them, by class name and name."""
    root = ElementTree.fromstring(render(report).encode())
    found = root.findall("testsuite/testcase")
    named = {(case.get("classname", ""), case.get("name", "")): case for case in found}
    assert len(named) == len(found), "a reader keeps the first of two of a name"
    return named


def outcome(case: Element) -> str | None:
    """Of the elements that say how a case ended there is one at most."""
    kinds = [child.tag for child in case if child.tag in OUTCOMES]
    assert len(kinds) <= 1
    return kinds[0] if kinds else None


def test_each_gate_of_each_target_is_a_case(failing: Report) -> None:
    found = {name: outcome(case) for name, case in cases(failing).items()}
    assert found == {
        ("edgestill.digits.openvino", "accuracy"): None,
        ("edgestill.digits.openvino", "latency"): None,
        ("edgestill.digits.openvino", "size"): None,
        ("edgestill.digits.tensorrt-rtx", "every gate"): "skipped",
        ("edgestill.digits.openvino", "agreement"): "error",
        ("edgestill.digits.openvino", "speedup"): "failure",
    }


def test_a_failure_says_what_was_asked_and_found(failing: Report) -> None:
    found = cases(failing)
    failure = found["edgestill.digits.openvino", "speedup"].find("failure")
    assert failure is not None and failure.get("type") == "FAIL"
    assert failure.get("message") == (
        "speedup over teacher >= 30x (batch 1): 20.40x [19.80x, 21.10x], n = 12 pairs of blocks"
    )
    error = found["edgestill.digits.openvino", "agreement"].find("error")
    assert error is not None and error.get("type") == "INCONCLUSIVE"
    # GitLab shows the text alone.
    assert error.text is not None
    assert error.text.splitlines()[-1] == "advice: more test samples would decide it"


def test_every_case_has_its_gate_as_properties(passing: Report) -> None:
    (case,) = [c for (_, name), c in cases(passing).items() if name == "latency"]
    properties = {p.get("name"): p.get("value") for p in case.findall("properties/property")}
    assert properties == {
        "verdict": "PASS",
        "budget": "p95 <= 5 ms (batch 1)",
        "found": "66.1 µs [60.6 µs, 77.1 µs], n = 5430 calls",
        "unit": "ns",
        "value": "66100.0",
        "low": "60600.0",
        "high": "77100.0",
        "at_most": "5000000.0",
        "margin": "4922900.0",
    }


def test_a_suite_says_on_what_it_was_run(passing: Report) -> None:
    (suite,) = ElementTree.fromstring(render(passing)).findall("testsuite")
    assert (suite.get("name"), suite.get("timestamp")) == ("openvino int8", "2026-11-20T10:01:00")
    properties = {p.get("name"): p.get("value") for p in suite.findall("properties/property")}
    assert properties["device"] == "Some CPU @ 2 GHz, 2 cores"
    assert properties["openvino"] == "2026.4.1"


@pytest.mark.parametrize("name", REPORTS)
def test_counts_are_those_of_the_cases(name: str, request: pytest.FixtureRequest) -> None:
    root = ElementTree.fromstring(render(request.getfixturevalue(name)))
    for element in (root, *root):
        found = [outcome(case) for case in element.iter("testcase")]
        assert element.get("tests") == str(len(found))
        for kind, counted in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            assert element.get(counted) == str(found.count(kind))


def test_several_gates_of_a_kind_are_told_apart_by_their_budgets(passing: Report) -> None:
    p95 = passing.gates[1]
    gates = (p95, replace(p95, budget="p99 <= 9 ms (batch 1)"), p95, passing.gates[2])
    names = [name for _, name in cases(replace(passing, gates=gates))]
    assert names == [
        "latency: p95 <= 5 ms (batch 1)",
        "latency: p99 <= 9 ms (batch 1)",
        "latency: p95 <= 5 ms (batch 1) (2)",
        "size",
    ]


def test_a_gate_keeps_its_name_where_another_precision_ships(passing: Report) -> None:
    other = [replace(gate, target="openvino fp32") for gate in passing.gates]
    assert list(cases(replace(passing, gates=tuple(other)))) == list(cases(passing))


def test_precisions_that_ship_together_are_told_apart(passing: Report) -> None:
    size = passing.gates[2]
    gates = (size, replace(size, target="openvino fp32"), replace(size, target="onnxruntime fp32"))
    failed = GateResult("all", "openvino bf16", Verdict.NOT_RUN, "size", "not run", "it crashed")
    assert list(cases(replace(passing, gates=(*gates, failed)))) == [
        ("edgestill.digits.openvino", "size (int8)"),
        ("edgestill.digits.openvino", "size (fp32)"),
        ("edgestill.digits.onnxruntime", "size"),
        ("edgestill.digits.openvino", "every gate"),
    ]


def test_what_could_not_run_is_an_error_though_its_gates_are_skipped(crashed: Report) -> None:
    found = cases(crashed)
    assert outcome(found["edgestill.digits.openvino", "every gate"]) == "skipped"
    case = found["edgestill.digits.environment", "failure 1"]
    assert outcome(case) == "error"
    error = case.find("error")
    assert error is not None and "signal 9" in (error.text or "")


@pytest.mark.parametrize("failures", [(), ("openvino cannot run here",)])
@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("gate", ["all", "score"])
def test_it_is_green_exactly_when_the_exit_code_is_0(
    passing: Report, gate: str, verdict: Verdict, failures: tuple[str, ...]
) -> None:
    gates = (*passing.gates, GateResult(gate, "openvino fp32", verdict, "budget", "found", "why"))
    decided, code = overall(gates, failures)
    report = replace(passing, gates=gates, failures=failures, verdict=decided, exit_code=code)
    outcomes = {outcome(case) for case in cases(report).values()}
    assert (not outcomes & {"failure", "error"}) == (code is ExitCode.PASSED)


def test_any_name_gives_valid_xml(passing: Report) -> None:
    nasty = 'a<b>&"c"\x00\x1b[31m\x0b\ud800\uffff]]>é'
    gate = GateResult(nasty, nasty, Verdict.FAIL, nasty, nasty, nasty)
    text = render(replace(passing, name=nasty, gates=(gate,), failures=(nasty,)))
    text.encode()
    (place, name), *_ = cases(replace(passing, name=nasty, gates=(gate,)))
    assert name == 'a<b>&"c"\\x00\\x1b[31m\\x0b\\ud800\\uffff]]>é'
    assert place == f"edgestill.{name}.{name}"


def test_a_report_without_gates_is_a_document_too(regression: Report) -> None:
    root = ElementTree.fromstring(render(regression))
    assert (root.tag, root.get("tests"), list(root)) == ("testsuites", "0", [])
