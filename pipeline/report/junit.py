"""A verdict as JUnit XML: a test case for each gate on each target.

There is no one schema; this is the part that GitLab, Jenkins and the readers for GitHub Actions
have in common. A test case is known by its class name and name, so these stay the same from run to
run, also where `auto` chooses another precision. FAIL is a failure. INCONCLUSIVE is an error:
nothing was shown to be wrong, yet it may not be green. NOT RUN is skipped, unless the gate had to
run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from edgestill.report.characters import visible
from edgestill.report.judgement import Judged
from edgestill.verdict import Decision, Verdict
from edgestill.verify.results import EVERY_GATE, GateResult

_OUTCOMES = {
    Verdict.FAIL: "failure",
    Verdict.INCONCLUSIVE: "error",
    Verdict.NOT_RUN: "skipped",
}


def render(found: Judged) -> str:
    """The report, or what else was judged, as an XML document."""
    root = Element("testsuites", name=visible(f"edgestill {found.name}"))
    for shipped, cases in _cases(found.gates).items():
        suite = _suite(root, found, shipped)
        for name, gate in cases.items():
            _gate(suite, found, gate, name)
    if found.failures:
        suite = _suite(root, found, "environment")
        for number, failure in enumerate(found.failures, start=1):
            case = _case(suite, found, "environment", f"failure {number}")
            _outcome(case, "error", "ENVIRONMENT", failure, failure)
    for suite in root:
        _count(suite, [suite])
    _count(root, list(root))
    ElementTree.indent(root)
    body = ElementTree.tostring(root, "unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _cases(gates: Sequence[GateResult]) -> dict[str, dict[str, GateResult]]:
    """By target and precision, each gate by a name that no other gate of its target has."""
    cases: dict[str, dict[str, GateResult]] = {}
    for shipped in dict.fromkeys(gate.target for gate in gates):
        own = [gate for gate in gates if gate.target == shipped]
        cases[shipped] = dict(zip(_names(own), own, strict=True))
    used = Counter((_target(shipped), name) for shipped, named in cases.items() for name in named)
    for shipped, named in cases.items():
        target, _, precision = shipped.partition(" ")
        cases[shipped] = {
            f"{name} ({precision})" if used[target, name] > 1 else name: gate
            for name, gate in named.items()
        }
    return cases


def _target(shipped: str) -> str:
    """`openvino` of `openvino int8`."""
    return shipped.partition(" ")[0]


def _suite(root: Element, found: Judged, name: str) -> Element:
    # Readers take a time stamp for one without a zone, in UTC.
    timestamp = found.created.partition("+")[0]
    suite = SubElement(root, "testsuite", name=visible(name), timestamp=timestamp)
    facts = {"verdict": str(found.verdict), "exit_code": str(int(found.exit_code)), **found.facts}
    _properties(suite, facts)
    return suite


def _gate(suite: Element, found: Judged, gate: GateResult, name: str) -> None:
    case = _case(suite, found, gate.target, name)
    facts = {"budget": gate.budget, "found": gate.found, "advice": gate.advice}
    numbers = _numbers(gate.decision) if gate.decision is not None else {}
    _properties(case, {"verdict": str(gate.verdict), **facts, **numbers})
    kind = "error" if gate.withheld else _OUTCOMES.get(gate.verdict)
    if kind is not None:
        text = "\n".join(f"{fact}: {value}" for fact, value in facts.items() if value)
        message = f"{gate.budget}: {gate.found}" if kind != "skipped" else gate.advice
        _outcome(case, kind, str(gate.verdict), message, text)


def _numbers(decision: Decision) -> dict[str, str]:
    """For charts over many runs, all in `unit`."""
    interval = decision.estimate.interval
    numbers = {
        "value": decision.estimate.value,
        "low": interval and interval.low,
        "high": interval and interval.high,
        "at_most": decision.at_most,
        "at_least": decision.at_least,
        "margin": decision.margin,
    }
    known = {name: repr(value) for name, value in numbers.items() if value is not None}
    return {"unit": decision.unit, **known}


def _case(suite: Element, found: Judged, target: str, name: str) -> Element:
    place = f"edgestill.{found.name}.{_target(target)}"
    return SubElement(suite, "testcase", classname=visible(place), name=visible(name), time="0")


def _outcome(case: Element, kind: str, type_: str, message: str, text: str) -> None:
    outcome = SubElement(case, kind, message=visible(message))
    if kind != "skipped":  # whose only attribute is its message
        outcome.set("type", type_)
    outcome.text = visible(text)


def _properties(parent: Element, facts: Mapping[str, str]) -> None:
    properties = SubElement(parent, "properties")
    for name, value in facts.items():
        if value:
            SubElement(properties, "property", name=visible(name), value=visible(value))


def _names(gates: Sequence[GateResult]) -> list[str]:
    """A name for each gate of an engine: of several of a kind, the budget tells them apart."""
    kinds = Counter(gate.gate for gate in gates)
    names = [f"{gate.gate}: {gate.budget}" if kinds[gate.gate] > 1 else gate.gate for gate in gates]
    names = ["every gate" if name == EVERY_GATE else name for name in names]
    again: Counter[str] = Counter()
    for index, name in enumerate(names):
        again[name] += 1
        if again[name] > 1:
            names[index] = f"{name} ({again[name]})"
    return names


def _count(element: Element, suites: Iterable[Element]) -> None:
    cases = [case for suite in suites for case in suite.iter("testcase")]
    element.set("tests", str(len(cases)))
    for kind, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        element.set(attribute, str(sum(case.find(kind) is not None for case in cases)))
    element.set("time", "0")
