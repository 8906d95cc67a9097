"""A report on a terminal: the verdict first, the worst gate on top, never wider than asked."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from edgestill.report.figures import latencies
from edgestill.report.model import Report
from edgestill.report.terminal import render, render_figures
from edgestill.stats import Verdict
from edgestill.verify.results import GateResult, HopResult

REPORTS = ("passing", "loaded", "crashed", "elsewhere", "failing", "verification", "regression")
WIDTHS = (60, 80, 120)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", REPORTS)
def test_no_line_is_wider_than_asked(name: str, width: int, request: pytest.FixtureRequest) -> None:
    report = request.getfixturevalue(name)
    lines = render(report, width=width, release=Path("dist/digits")).splitlines()
    assert max(len(line) for line in lines) <= width
    assert lines[0].startswith(f"{report.verdict}  ")
    assert lines[-1] == f"{report.verdict}, exit code {int(report.exit_code)}"


@pytest.mark.parametrize("width", WIDTHS)
def test_long_names_make_no_line_wider(crashed: Report, width: int) -> None:
    long = "a_metric_of_mine_with_a_name_that_nobody_can_remember()"
    path = "/".join(["somewhere"] * 20)
    (target,) = crashed.targets
    report = replace(
        crashed,
        name="n" * 130,
        metric=long,
        hops=tuple(
            replace(h, name=h.name.replace("openvino", "tensorrt-rtx" * 3)) for h in crashed.hops
        ),
        targets=(replace(target, runtime=f"openvino {'9' * 130}"),),
        gates=(GateResult(long, long, Verdict.FAIL, path, path, path),),
        notes=(f"openvino int8 failed: {path}",),
    )
    text = render(report, width=width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert path in text.replace("\n", "").replace(" ", "")


def test_a_long_class_name_takes_no_room_from_the_figures(loaded: Report) -> None:
    """Classes of ImageNet are lists of names."""
    long = "great white shark, white shark, man-eater, man-eating shark, Carcharodon carcharias"

    def renamed(hop: HopResult) -> HopResult:
        if hop.overall is None:
            return hop
        classes = tuple(replace(drop, name=long) for drop in hop.overall.classes)
        return replace(hop, overall=replace(hop.overall, classes=classes))

    plain = render(loaded, width=100).splitlines()
    lines = render(replace(loaded, hops=tuple(map(renamed, loaded.hops))), width=100).splitlines()
    heads = [line for line in lines if line.startswith("class ")]
    assert len(heads) == len([line for line in plain if line.startswith("class ")]) > 0
    assert all(line.split() == ["class", "samples", "teacher", "now", "drop"] for line in heads)
    assert any(line.split()[-4:] == ["70", "100.00%", "83.00%", "17.00pp"] for line in lines)


def test_the_worst_gate_is_on_top(failing: Report) -> None:
    text = render(failing, width=120)
    table = text[: text.index("openvino 2026.4.1")]
    verdicts = re.findall(r"^(FAIL|INCONCLUSIVE|NOT RUN|PASS) {2,}\w+ {2,}", table, re.MULTILINE)
    assert verdicts == ["FAIL", "INCONCLUSIVE", "NOT RUN", "PASS", "PASS", "PASS"]


def test_a_gate_is_told_with_budget_finding_and_advice(failing: Report) -> None:
    text = render(failing, width=120)
    assert "speedup over teacher >= 30x (batch 1)" in text
    assert "20.40x [19.80x, 21.10x], n = 12 pairs of blocks" in text
    assert "more test samples would decide it" in text


def test_every_figure_stands_above_what_it_rests_on(passing: Report) -> None:
    lines = render(passing, width=120).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("int8 "))
    assert re.split(r"\s{2,}", lines[at]) == [
        "int8", "41.2 kB", "95.97%", "0.56pp", "55.1 µs", "66.1 µs", "20.4x",
    ]  # fmt: skip
    assert re.split(r"\s{2,}", lines[at + 1]) == [
        "ships", "[-0.61, 1.73]", "[54.0, 56.8]", "[60.6, 77.1]", "[19.8, 21.1]",
    ]  # fmt: skip


def test_a_percentile_that_lacks_samples_shows_what_it_needs(verification: Report) -> None:
    text = render(verification, width=80)
    assert "n/a" in text and "needs 90 calls" in text
    assert "INCONCLUSIVE" in text.splitlines()[0]


def test_the_hop_that_lost_most_is_named(passing: Report) -> None:
    text = render(passing, width=120)
    assert "Most was lost from teacher torch to student torch: 1.87pp [0.70, 3.04]." in text
    (marked,) = re.findall(r"^(.*)\n +lost most", text, re.MULTILINE)
    assert marked.split()[:2] == ["student", "torch"]


def test_what_failed_stands_with_its_target_and_in_the_notes(crashed: Report) -> None:
    text = render(crashed, width=120)
    failure = "int8 failed: openvino: the worker ended with signal 9. Run it again with --debug."
    section, notes = text[: text.index("\nNotes\n")], text[text.index("\nNotes\n") :]
    assert failure in section.splitlines()
    assert f"openvino {failure}" in notes.splitlines()


def test_a_target_of_another_machine_says_how_to_verify_it(elsewhere: Report) -> None:
    text = render(elsewhere, width=120)
    assert "Compiled and not run here: fp16 95 kB." in text
    assert "On the device: edgestill verify RELEASE --target tensorrt-rtx" in text


def test_a_target_of_another_machine_says_why_something_does_not_ship(elsewhere: Report) -> None:
    *others, target = elsewhere.targets
    target = replace(target, reasons={"int8": "loses 3.00pp, budget 0.50pp"})
    text = render(replace(elsewhere, targets=(*others, target)), width=120)
    assert "int8 does not ship: loses 3.00pp, budget 0.50pp." in text


def test_a_table_that_is_too_wide_is_cut_in_two_with_its_first_column(passing: Report) -> None:
    # The gates above it are wrapped, and no table is cut there.
    narrow, wide = (render(replace(passing, gates=()), width=width) for width in (60, 120))
    assert [line.split()[0] for line in narrow.splitlines() if line.startswith("engine")] == [
        "engine",
        "engine",
    ]
    figures = re.compile(r"\d+\.\d+ (?:µs|ms|kB|MB)")
    assert set(figures.findall(narrow)) == set(figures.findall(wide)) != set()


@pytest.mark.parametrize("name", REPORTS)
def test_without_colour_there_are_no_escape_codes(
    name: str, request: pytest.FixtureRequest
) -> None:
    report = request.getfixturevalue(name)
    plain, coloured = render(report), render(report, color=True)
    assert "\x1b" not in plain and "\x1b" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured).split() == plain.split()


def test_only_the_longest_steps_are_shown(passing: Report) -> None:
    steps = tuple(replace(passing.steps[0], name=f"step{i}", seconds=float(i)) for i in range(9))
    text = render(replace(passing, steps=steps), width=80)
    assert re.findall(r"^step\d", text, re.MULTILINE) == [f"step{i}" for i in (8, 7, 6, 5, 4)]
    assert "9 steps: 9 reused" in text


def test_where_the_release_lies(passing: Report) -> None:
    text = render(passing, release=Path("dist/digits"))
    assert "Release: dist/digits (report.html and report.md there have the details)" in text
    assert "Release:" not in render(passing)


def test_markup_in_names_is_shown_as_it_is(passing: Report) -> None:
    text = render(replace(passing, name="[bold red]digits[/] :smile:"), width=80)
    assert text.startswith("PASS  [bold red]digits[/] :smile:: all 3 gates passed")


@pytest.mark.parametrize("width", WIDTHS)
def test_latencies_alone_fit_too(verification: Report, passing: Report, width: int) -> None:
    timed = [
        (candidate.name, candidate.latency)
        for report in (passing, verification)
        for candidate in report.targets[0].candidates
        if candidate.latency is not None
    ]
    text = render_figures("cpu", latencies(timed), width=width, notes=("one note",))
    assert max(len(line) for line in text.splitlines()) <= width
    assert "needs 90 calls" in text and text.rstrip().endswith("one note")
