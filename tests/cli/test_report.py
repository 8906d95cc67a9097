"""`edgestill report` in each of its formats, and what a run writes for GitHub Actions by itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

from edgestill.cli import run
from edgestill.errors import ExitCode
from edgestill.report.formats import FORMATS
from edgestill.report.github import MOST_IN_SUMMARY
from edgestill.report.model import FORMAT, Report, read_report
from edgestill.verdict import Verdict
from edgestill.verify.results import GateResult


@pytest.fixture
def failed() -> Report:
    """The smallest report with a gate that failed."""
    gate = GateResult("size", "cpu fp32", Verdict.FAIL, "size <= 1 kB", "2 kB")
    return Report(
        format=FORMAT, kind="run", name="digits", task="classification", metric="accuracy",
        bigger_is_better=True, verdict=Verdict.FAIL, exit_code=ExitCode.GATE_FAILED,
        created="2026-11-20T10:01:00+00:00", edgestill="0.1.0", seed=0, threads=2,
        splits={"test": 718}, evaluation="e" * 64, models=(), hops=(), targets=(), gates=(gate,),
        steps=(), device={}, versions={},
    )  # fmt: skip


@pytest.fixture
def release(failed: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "report.json").write_text(failed.to_json(), "utf-8")
    return Path("digits")


LOOKS: dict[str, Callable[[str], bool]] = {
    "terminal": lambda text: text.startswith("FAIL  digits: 1 of 1 gates failed"),
    "markdown": lambda text: text.startswith("# digits\n\n**FAIL"),
    "json": lambda text: json.loads(text)["verdict"] == "FAIL",
    "junit": lambda text: ElementTree.fromstring(text.encode()).get("failures") == "1",
    "html": lambda text: text.startswith("<!doctype html>") and "size ≤ 1 kB" in text,
    "github": lambda text: text.startswith("::error title=FAIL digits%3A size on cpu fp32::"),
}


@pytest.mark.parametrize("shape", FORMATS)
def test_every_format_is_shown_and_written(
    shape: str, release: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["report", str(release), "--format", shape]) == 0
    assert LOOKS[shape](capfd.readouterr().out)
    assert run(["report", str(release), "--format", shape, "--out", "new/file"]) == 0
    assert capfd.readouterr().out == ""
    assert LOOKS[shape](Path("new/file").read_text("utf-8"))


def test_a_written_report_is_read_again(release: Path, failed: Report) -> None:
    run(["report", str(release), "--format", "json", "--out", "again.json"])
    assert read_report(Path("again.json")) == failed
    assert run(["report", "again.json"]) == 0


def test_a_place_that_cannot_be_written(release: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    assert run(["report", str(release), "--out", "file/report.txt"]) == 2
    assert capfd.readouterr().err == (
        "error: file/report.txt: the report cannot be written (File exists)\n"
        "       Name another place with --out\n"
    )


@pytest.fixture
def step(
    release: Path, failed: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """A step of a workflow in which a run ends with this report; gives its summary's file."""

    def make(report: Report = failed) -> Path:
        # The run itself takes half a minute, and its report is all that counts here.
        stand_in: Any = ModuleType("edgestill.api.run")
        stand_in.run_recipe = lambda *arguments, **options: report
        monkeypatch.setitem(sys.modules, "edgestill.api.run", stand_in)
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
        return tmp_path / "summary.md"

    return make


def test_in_a_step_a_run_writes_annotations_and_the_summary(
    step: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    summary = step()
    summary.write_text("What another command wrote.\n", "utf-8")
    assert run(["run", "digits"]) == ExitCode.GATE_FAILED
    out, err = capfd.readouterr()
    assert err == "::error title=FAIL digits%3A size on cpu fp32::size <= 1 kB%0A2 kB\n"
    assert "::" not in out
    text = summary.read_text("utf-8")
    assert text.startswith("What another command wrote.\n# digits\n\n**FAIL")


def test_summaries_of_one_step_share_its_limit(step: Callable[..., Path], failed: Report) -> None:
    summary = step(replace(failed, notes=tuple(f"note {i} {'x' * 100}" for i in range(5000))))
    for _ in range(3):
        run(["run", "digits"])
    assert MOST_IN_SUMMARY - 1000 < summary.stat().st_size <= MOST_IN_SUMMARY


def test_a_summary_that_cannot_be_written_changes_no_exit_code(
    step: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    step()
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    assert run(["run", "digits"]) == ExitCode.GATE_FAILED
    last = capfd.readouterr().err.splitlines()[-1]
    assert last == f"the step's summary cannot be written (Is a directory): {tmp_path}"


def test_in_a_step_an_error_is_annotated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    Path("recipe.yaml").write_text("nmae: x\ndata: {source: sklearn.digits}\n", "utf-8")
    assert run(["run", "recipe.yaml"]) == ExitCode.USAGE
    *told, annotation = capfd.readouterr().err.splitlines()
    assert any(line.startswith("error: recipe.yaml:1: nmae") for line in told)
    # All of it in one annotation, its lines escaped.
    assert annotation == "::error title=edgestill::" + "%0A".join(told)


def test_elsewhere_nothing_is_written_for_github(
    step: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    summary = step()
    monkeypatch.delenv("GITHUB_ACTIONS")
    run(["run", "digits"])
    assert capfd.readouterr().err == ""
    assert not summary.exists()
