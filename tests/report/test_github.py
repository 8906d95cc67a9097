"""A report on a page of GitHub Actions: read as the runner reads it, within its limits."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from edgestill.report.annotation import MOST_IN_MESSAGE, MOST_IN_TITLE
from edgestill.report.github import (
    MOST_ANNOTATIONS,
    MOST_IN_SUMMARY,
    render,
    summary,
)
from edgestill.report.markdown import render as render_markdown
from edgestill.report.model import Report
from edgestill.verdict import Verdict
from edgestill.verify.results import GateResult


def as_the_runner_reads(text: str) -> list[tuple[str, str, str]]:
    """Level, title and message of each command; properties end at a comma, escapes are undone."""
    found = []
    for line in text.splitlines():
        command = re.fullmatch("::(error|warning) ([^:]*)::(.*)", line)
        assert command, line
        (name, _, title), *others = [part.partition("=") for part in command[2].split(",")]
        assert name == "title" and not others
        for escape, character in (("%3A", ":"), ("%2C", ",")):
            title = title.replace(escape, character)
        found.append((command[1], undone(title), undone(command[3])))
    return found


def undone(text: str) -> str:
    for escape, character in (("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(escape, character)
    return text


def gates(count: int, verdict: Verdict) -> tuple[GateResult, ...]:
    return tuple(
        GateResult(f"gate {index}", "openvino int8", verdict, "budget", "found")
        for index in range(count)
    )


def test_what_failed_is_an_error_and_what_is_open_a_warning(failing: Report) -> None:
    assert as_the_runner_reads(render(failing)) == [
        (
            "error",
            "FAIL digits: speedup on openvino int8",
            "speedup over teacher >= 30x (batch 1)\n"
            "20.40x [19.80x, 21.10x], n = 12 pairs of blocks",
        ),
        (
            "warning",
            "INCONCLUSIVE digits: agreement on openvino int8",
            "agreement with teacher >= 97.00%\n97.20% [95.70%, 98.20%], n = 718 samples\n"
            "more test samples would decide it",
        ),
    ]


def test_what_could_not_run_comes_first(crashed: Report) -> None:
    report = replace(crashed, gates=(*crashed.gates, *gates(1, Verdict.FAIL)))
    first, second = as_the_runner_reads(render(report))
    assert first[:2] == ("error", "edgestill digits") and "signal 9" in first[2]
    assert second[:2] == ("error", "FAIL digits: gate 0 on openvino int8")


def test_a_gate_that_was_withheld_is_a_warning(passing: Report) -> None:
    withheld = GateResult("score", "openvino int8", Verdict.NOT_RUN, "score", "not run", "code")
    ((level, title, _),) = as_the_runner_reads(render(replace(passing, gates=(withheld,))))
    assert (level, title) == ("warning", "NOT RUN digits: score on openvino int8")


def test_nothing_is_annotated_where_all_is_well(elsewhere: Report) -> None:
    assert render(elsewhere) == ""


def test_separators_and_escapes_of_a_name_are_escaped(passing: Report) -> None:
    nasty = "100% a,b:c::d\r\n::error::e %0A"
    gate = GateResult(nasty, "cpu", Verdict.FAIL, nasty, nasty)
    text = render(replace(passing, name=nasty, gates=(gate,)))
    assert len(text.splitlines()) == 1
    ((level, title, message),) = as_the_runner_reads(text)
    assert (level, title) == ("error", f"FAIL {nasty}: {nasty} on cpu")
    assert message == f"{nasty}\n{nasty}"


@pytest.mark.parametrize(("count", "kept"), [(10, 10), (11, 10), (40, 10)])
def test_of_many_the_last_one_says_how_many_are_left_out(
    passing: Report, count: int, kept: int
) -> None:
    many = (*gates(count, Verdict.INCONCLUSIVE), *gates(count, Verdict.FAIL))
    found = as_the_runner_reads(render(replace(passing, gates=many)))
    errors = [annotation for annotation in found if annotation[0] == "error"]
    assert len(errors) == kept == MOST_ANNOTATIONS and len(found) == 2 * kept
    assert errors[0][1] == "FAIL digits: gate 0 on openvino int8"
    if count > kept:
        assert errors[-1][1] == f"{count - kept + 1} more, see the step's summary"
        assert errors[-1][2].splitlines()[0] == "FAIL digits: gate 9 on openvino int8"
        assert len(errors[-1][2].splitlines()) == count - kept + 1


def test_what_is_too_long_is_cut(passing: Report) -> None:
    gate = GateResult("x" * 300, "cpu", Verdict.FAIL, "%" * 5000, "found")
    ((_, title, message),) = as_the_runner_reads(render(replace(passing, gates=(gate,))))
    assert len(title) == MOST_IN_TITLE and title.endswith("xxx...")
    assert len(message) == MOST_IN_MESSAGE and message.endswith("%%%...")


def test_what_a_cut_left_folded_ends_before_the_words_on_it(passing: Report) -> None:
    size = len(render_markdown(passing).encode())
    text = summary(passing, size - 20)
    assert text.count("<details>") == text.count("</details>") == 1
    assert text.index("</details>") < text.index("*The rest is left out")


def test_a_summary_is_the_whole_report_where_there_is_room(failing: Report) -> None:
    assert summary(failing) == render_markdown(failing)
    size = len(render_markdown(failing).encode())
    assert summary(failing, size) == render_markdown(failing)


@pytest.mark.parametrize("room", [MOST_IN_SUMMARY, 4000, 200, 90, 0, -5])
def test_a_summary_that_is_cut_ends_with_a_whole_line_and_says_so(
    passing: Report, room: int
) -> None:
    report = replace(passing, notes=tuple(f"note {i} µ {'é' * 200}" for i in range(5000)))
    text = summary(report, room)
    assert len(text.encode()) <= max(room, 0)
    if text:
        *lines, _, last = text.rstrip("\n").split("\n")
        assert last.startswith("*The rest is left out: GitHub shows 1 MiB")
        assert set(lines) <= set(render_markdown(report).split("\n"))
        assert lines[0] == "# digits"
