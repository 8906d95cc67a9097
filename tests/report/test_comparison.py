"""A comparison of two releases in each format: a gate for each change that a budget is on."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from edgestill.report.build import verdict_on
from edgestill.report.comparison import headline, judgement
from edgestill.report.formats import JUDGEMENTS, render
from edgestill.report.github import annotated, summary
from edgestill.report.judgement import Judgement
from edgestill.stats import Estimate, Interval
from edgestill.verdict import Verdict
from edgestill.verify.comparison import FORMAT, Change, Compared, Comparison, TargetComparison

PASS, FAIL, OPEN, NOT_RUN = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.NOT_RUN


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, Interval(low, high, 0.95), 12)


SLOWER = Change(
    "p50 latency", "ns", "rise", 55_000.0, 66_000.0, estimate(0.2, 0.18, 0.22), 0.05, FAIL
)
DROPPED = Change(
    "accuracy", "score", "drop", 0.96, 0.955, estimate(0.005, -0.002, 0.012), 0.01, OPEN,
    "about 1500 samples would decide it",
)  # fmt: skip
SHOWN = Change("throughput", "per second", "drop", 18_000.0, 15_000.0)
SMALLER = Change(
    "size", "bytes", "rise", 41_200, 40_000, estimate(-0.029, -0.029, -0.029), 0.05, PASS
)


def compared(*changes: Change, failures: tuple[str, ...] = ()) -> Comparison:
    target = TargetComparison(
        "openvino", "openvino 2026.4.1", "int8", "int8", False, changes, None, 12, 1, 2,
        failures=failures,
    )  # fmt: skip
    verdicts = [change.verdict for change in changes if change.verdict is not None]
    verdict, exit_code = verdict_on(verdicts, failed=bool(failures))
    old = Compared("dist/old", "flowers", "a" * 64, "2026-11-01T10:00:00+00:00", "0.1.0")
    return Comparison(
        FORMAT, old, replace(old, path="dist/new", digest="b" * 64), "classification", "accuracy",
        "pp", 718, (target,), verdict, exit_code, {"cpu": "Some CPU", "cores": 2},
        "2026-11-20T10:01:00+00:00", ("Only the new release has onnxruntime.",),
    )  # fmt: skip


@pytest.fixture
def worse() -> Judgement:
    return judgement(compared(DROPPED, SLOWER, SHOWN, SMALLER))


def test_a_change_with_a_budget_is_a_gate(worse: Judgement) -> None:
    told = [(g.gate, g.target, g.verdict, g.budget, g.found, g.advice) for g in worse.gates]
    assert told == [
        (
            "accuracy", "openvino int8", OPEN, "accuracy drop <= 1.00pp",
            "96.00% -> 95.50%, drop 0.50pp [-0.20, 1.20]", "about 1500 samples would decide it",
        ),
        (
            "p50 latency", "openvino int8", FAIL, "p50 latency rise <= 5.0%",
            "55 µs -> 66 µs, rise 20.0% [18.0, 22.0]", "",
        ),
        (
            "size", "openvino int8", PASS, "size rise <= 5.0%",
            "41.2 kB -> 40 kB, rise -2.9% [-2.9, -2.9]", "",
        ),
    ]  # fmt: skip
    assert (worse.name, worse.verdict) == ("flowers against flowers", FAIL)
    numbers = [(g.decision.unit, g.decision.margin) for g in worse.gates if g.decision]
    assert numbers == [
        ("score", pytest.approx(-0.002)),
        ("share", pytest.approx(-0.13)),
        ("share", pytest.approx(0.079)),
    ]


@pytest.mark.parametrize(
    ("old", "new", "names", "words"),
    [
        ("a/flowers", "b/flowers", ("flowers", "flowers"), "b/flowers against a/flowers"),
        ("a/flowers", "b/roses", ("flowers", "roses"), "roses against flowers"),
        ("dist/1.3/x", "dist/1.4/x", ("flowers", "flowers"), "1.4/x against 1.3/x"),
        ("old/dist/x", "dist/x", ("flowers", "flowers"), "dist/x against old/dist/x"),
        ("dist/x", "dist/x", ("flowers", "flowers"), "flowers against flowers"),
    ],
)
def test_the_headline_tells_two_releases_of_one_name_apart(
    old: str, new: str, names: tuple[str, str], words: str
) -> None:
    found = compared(SMALLER)
    found = replace(
        found,
        old=replace(found.old, path=old, name=names[0]),
        new=replace(found.new, path=new, name=names[1]),
    )
    assert headline(found) == f"PASS  {words}: nothing is worse than allowed, of 1 budget"
    # What CI follows from run to run stays as it is.
    assert judgement(found).name == f"{names[1]} against {names[0]}"


def test_in_a_step_of_github_what_got_worse_is_annotated(worse: Judgement) -> None:
    assert [(note.level, note.title) for note in annotated(worse)] == [
        ("error", "FAIL flowers against flowers: p50 latency on openvino int8"),
        ("warning", "INCONCLUSIVE flowers against flowers: accuracy on openvino int8"),
    ]
    text = summary(worse)
    assert text.startswith("# flowers against flowers\n\n**FAIL  new against old: worse than ")
    assert "| p50 latency | 55 µs | 66 µs | 20.0% [18.0, 22.0] | 5.0% | FAIL |" in text
    # Shown and not judged.
    assert "| throughput | 18000/s | 15000/s |  |  |  |" in text
    assert text.endswith("## Notes\n\n- Only the new release has onnxruntime.\n")


@pytest.mark.parametrize("failures", [(), ("new failed: signal 9",)])
@pytest.mark.parametrize("verdict", list(Verdict))
def test_junit_is_green_exactly_when_the_exit_code_is_0(
    verdict: Verdict, failures: tuple[str, ...]
) -> None:
    found = compared(SMALLER, replace(DROPPED, verdict=verdict), failures=failures)
    root = ElementTree.fromstring(render(judgement(found), "junit").encode())
    red = sum(int(root.get(kind, "")) for kind in ("failures", "errors"))
    assert (red == 0) == (found.exit_code == 0)
    assert int(root.get("tests", "")) == 2 + len(failures)


def test_a_suite_says_what_was_compared(worse: Judgement) -> None:
    (suite,) = ElementTree.fromstring(render(worse, "junit")).findall("testsuite")
    facts = {p.get("name"): p.get("value") for p in suite.findall("properties/property")}
    assert facts == {
        "verdict": "FAIL",
        "exit_code": "1",
        "metric": "accuracy",
        "device": "Some CPU, 2 cores",
        "old": "flowers of 2026-11-01T10:00:00+00:00, edgestill 0.1.0",
        "new": "flowers of 2026-11-01T10:00:00+00:00, edgestill 0.1.0",
    }


def test_what_was_not_run_has_no_values() -> None:
    withheld = replace(DROPPED, old=None, new=None, by=None, verdict=NOT_RUN, advice="code")
    (gate,) = judgement(compared(withheld)).gates
    assert (gate.found, gate.advice, gate.withheld) == ("unknown -> unknown", "code", True)


@pytest.mark.parametrize("shape", JUDGEMENTS)
def test_every_format_names_what_failed(worse: Judgement, shape: str) -> None:
    text = render(worse, shape)
    assert "p50 latency" in text and "FAIL" in text
