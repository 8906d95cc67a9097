"""A report as Markdown: what the terminal says, and how it was obtained."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from edgestill.report.markdown import render
from edgestill.report.model import Report
from edgestill.stats import Verdict
from edgestill.verify.results import GateResult

REPORTS = ("passing", "crashed", "elsewhere", "failing", "verification", "regression")


def tables(text: str) -> list[list[list[str]]]:
    """Every table as rows of cells; an escaped bar is no border."""
    found: list[list[list[str]]] = []
    inside = False
    for line in text.splitlines():
        if line.startswith("|"):
            cells = [cell.strip(" ") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if not inside:
                found.append([])
            found[-1].append(cells)
        inside = line.startswith("|")
    return found


@pytest.mark.parametrize("name", REPORTS)
def test_every_row_of_a_table_has_all_columns(name: str, request: pytest.FixtureRequest) -> None:
    text = render(request.getfixturevalue(name))
    for table in tables(text):
        assert len({len(row) for row in table}) == 1
        assert all(re.fullmatch("---:?", cell) for cell in table[1])


@pytest.mark.parametrize("name", REPORTS)
def test_the_verdict_comes_first(name: str, request: pytest.FixtureRequest) -> None:
    report = request.getfixturevalue(name)
    title, _, verdict, *_ = render(report).splitlines()
    assert title == "# digits"
    assert verdict.startswith(f"**{report.verdict}  digits: ")


def test_the_worst_gate_is_on_top(failing: Report) -> None:
    gates = tables(render(failing))[0]
    assert gates[0] == ["Verdict", "Gate", "On", "Budget", "Found", "Advice"]
    assert [row[0] for row in gates[2:]] == [
        "FAIL", "INCONCLUSIVE", "NOT RUN", "PASS", "PASS", "PASS",
    ]  # fmt: skip


def test_figures_stand_with_what_they_rest_on(passing: Report) -> None:
    text = render(passing)
    row = "| int8 (ships) | 41.2 kB | 95.97% | 0.56pp [-0.61, 1.73] | 55.1 µs [54.0, 56.8] |"
    assert row in text
    assert "| teacher (baseline) | 1.73 MB |" in text
    assert "It rests on accuracy on 718 test samples;" in text


def test_the_way_keeps_its_indentation(passing: Report) -> None:
    hops = next(table for table in tables(render(passing)) if table[0][0] == "place")
    depths = [len(row[0]) - len(row[0].lstrip("\N{NO-BREAK SPACE}")) for row in hops[2:]]
    assert depths == [0, 2, 4, 6, 8, 2]
    assert "student torch (lost most)" in hops[3][0]


def test_what_failed_stands_with_its_target_and_in_the_notes(crashed: Report) -> None:
    text = render(crashed)
    failure = "int8 failed: openvino: the worker ended with signal 9. Run it again with --debug."
    assert failure in text.splitlines()
    assert f"- openvino {failure}" in text.splitlines()
    assert "| int8 (failed) |" in text


def test_a_percentile_that_lacks_samples_shows_what_it_needs(verification: Report) -> None:
    assert "n/a (needs 90 calls)" in render(verification)


def test_how_it_was_obtained(passing: Report) -> None:
    text = render(passing)
    for line in (
        "| Task and metric | classification, accuracy (bigger is better) |",
        "| Samples | train 719, calibration 180, validation 180, test 718 |",
        "| Seed | 7 |",
        "| Device: isa | avx2, avx512_vnni |",
        "| Libraries | torch 2.13.0, openvino 2026.4.1 |",
        f"- openvino int8: `{'b' * 64}`",
    ):
        assert line in text.splitlines()
    assert "Device: gpu" not in text
    assert "(smaller is better)" in render(replace(passing, bigger_is_better=False))


def test_how_it_was_obtained_is_folded_in(passing: Report) -> None:
    text = render(passing)
    before, folded = text.split("<details>\n<summary>How this was obtained</summary>\n\n")
    assert "## Gates" in before and "| Seed |" not in before
    assert "| Seed | 7 |" in folded and folded.endswith("\n\n</details>\n")


def test_a_reader_learns_how_to_get_it_again(passing: Report, verification: Report) -> None:
    assert "`edgestill run recipe.yaml`" in render(passing)
    assert "`edgestill run recipe.yaml`" not in render(verification)
    assert "`edgestill verify RELEASE`" in render(verification)


def test_what_markdown_would_read_is_shown_as_it_is(passing: Report) -> None:
    gate = GateResult("a|b", "<i>x</i>", Verdict.PASS, "`rm` *now*", "_s_ a_b", "one\ntwo \\")
    report = replace(passing, name="*my|model*", gates=(gate,), notes=("<script> & `code`",))
    text = render(report)
    assert text.startswith("# \\*my\\|model\\*\n")
    assert tables(text)[0][2] == [
        "PASS",
        "a\\|b",
        "&lt;i>x&lt;/i>",
        "\\`rm\\` \\*now\\*",
        "\\_s\\_ a_b",
        "one<br>two \\\\",
    ]
    assert "- &lt;script> &amp; \\`code\\`" in text.splitlines()


def test_a_user_metric_is_shown_by_its_name(regression: Report) -> None:
    text = render(replace(regression, metric="_mean*error()"))
    assert "| place | \\_mean\\*error() |" in text
