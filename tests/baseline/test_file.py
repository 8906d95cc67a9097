"""The file of accepted figures: small diffs, nothing lost, nothing misread."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgestill.baseline.accept import accepted_figures
from edgestill.baseline.file import Baseline, read_baseline, write_baseline
from edgestill.errors import ExitCode, UsageError
from edgestill.report.model import Report
from edgestill.targets.fingerprint import Fingerprint
from edgestill.verdict import Verdict
from edgestill.verify.results import GateResult

Make = Callable[..., Report]
OTHER = replace(Fingerprint.read(), cpu="Cortex-A76")


def test_what_is_written_is_read(report: Make, tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    entries = accepted_figures(report(), "first release", "dist/digits")
    write_baseline(Baseline(entries), file)
    assert read_baseline(file).entries == entries
    assert entries[0].reason == "first release"
    assert [path.name for path in tmp_path.iterdir()] == ["baseline.json"]


def test_a_new_entry_takes_the_place_of_its_own_only(report: Make) -> None:
    def entries(**values: object) -> Baseline:
        return Baseline().with_entries(accepted_figures(report(**values), "x", "dist"))

    former = entries().with_entries(entries(machine=OTHER).entries)
    later = former.with_entries(entries(size=5).entries)
    assert sorted(entry.size_bytes for entry in former.entries) == [100_000, 100_000]
    assert sorted(entry.size_bytes for entry in later.entries) == [5, 100_000]
    assert [e.device for e in later.entries] == sorted(e.device for e in later.entries)


def test_what_was_measured_and_does_not_ship_is_not_accepted(report: Make) -> None:
    (target,) = report().targets
    (fp32,) = target.candidates
    both = replace(target, candidates=(fp32, replace(fp32, name="int8")))
    accepted = accepted_figures(report(targets=(both,)), "x", "dist")
    assert [entry.precision for entry in accepted] == ["fp32"]


def test_a_file_that_cannot_be_written_leaves_the_former_one(report: Make, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the baseline cannot be written") as raised:
        write_baseline(Baseline(), tmp_path / "missing" / "baseline.json")
    assert raised.value.fix == "Name another place with --file"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a baseline. Fetch it again from where it is committed; edgestill baseline ac"),
        ("[1]", "not a baseline. Fetch it again"),
        ('{"format": 7}', "a baseline of format 7, and this version of edgestill has format 1. Ac"),
        ('{"format": 1, "entries": [{}]}', "not a baseline that can be read (entries.0.release: "),
    ],
)
def test_a_file_that_is_no_baseline_of_this_version(
    tmp_path: Path, content: str, message: str
) -> None:
    file = tmp_path / "baseline.json"
    file.write_text(content, "utf-8")
    with pytest.raises(UsageError, match=re.escape(f"{file}: {message}")):
        read_baseline(file)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Make one with edgestill baseline accept REPORT --reason"):
        read_baseline(tmp_path / "baseline.json")


@pytest.mark.parametrize("code", [ExitCode.GATE_FAILED, ExitCode.ENVIRONMENT])
def test_a_failed_report_is_not_accepted(report: Make, code: ExitCode) -> None:
    failed = report(verdict=Verdict.FAIL, exit_code=code)
    message = f"dist: its verdict is FAIL, exit code {int(code)}. Accept a release that keeps its"
    with pytest.raises(UsageError, match=message):
        accepted_figures(failed, "x", "dist")


def test_nothing_measured_and_no_reason_are_refused(report: Make) -> None:
    with pytest.raises(UsageError, match="nothing that ships was measured"):
        accepted_figures(report(targets=()), "x", "dist")
    with pytest.raises(UsageError, match=r"--reason: no reason. Say why these figures may count"):
        accepted_figures(report(), "  ", "dist")


def test_a_damaged_file_is_not_overwritten(report: Make, tmp_path: Path) -> None:
    from edgestill.api.baseline import accept_baseline

    file, found = tmp_path / "baseline.json", tmp_path / "found.json"
    found.write_text(report().to_json(), "utf-8")
    file.write_text("{}", "utf-8")
    with pytest.raises(UsageError, match="not a baseline"):
        accept_baseline(found, reason="x", file=file)
    assert file.read_text("utf-8") == "{}"
    file.unlink()
    accepted = accept_baseline(found, reason="x", file=file)
    assert [former for _, former in accepted.entries] == [None]
    assert json.loads(file.read_text("utf-8"))["entries"][0]["score"] == 0.96


def test_what_is_replaced_is_told(
    report: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from edgestill.cli import run

    found, file = tmp_path / "found.json", tmp_path / "baseline.json"
    arguments = ["baseline", "accept", str(found), "--file", str(file), "--reason"]
    found.write_text(report().to_json(), "utf-8")
    assert run([*arguments, "the first"]) == 0
    assert "in place of" not in capfd.readouterr().out
    found.write_text(report(score=None, latency_us=50.0, size=90_000).to_json(), "utf-8")
    assert run([*arguments, "smaller"]) == 0
    first, *lines = capfd.readouterr().out.splitlines()
    assert first.startswith(f"accepted in {file}: digits on onnxruntime fp32, ")
    assert re.fullmatch(r"  in place of what was accepted 20\S+: the first", lines[0])
    assert lines[1:] == [
        "  accuracy: 96.00% -> none",
        "  p50: 100 µs -> 50 µs",
        "  speedup over the teacher: 8x -> 16x",
        "  size: 100 kB -> 90 kB",
        "  memory: 80 MB -> 80 MB",
    ]


def test_what_was_not_decided_is_told(
    report: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from edgestill.cli import run

    gates = (
        GateResult("latency", "onnxruntime fp32", Verdict.INCONCLUSIVE, "p95 <= 1 ms", "1 ms"),
        GateResult("size", "onnxruntime fp32", Verdict.PASS, "size <= 1 MB", "100 kB"),
        GateResult("all", "tensorrt", Verdict.NOT_RUN, "size", "not run here", "elsewhere"),
        GateResult("score", "onnxruntime fp32", Verdict.NOT_RUN, "score", "not run", "code"),
    )
    found = tmp_path / "found.json"
    undecided = report(gates=gates, verdict=Verdict.INCONCLUSIVE, exit_code=ExitCode.INCONCLUSIVE)
    found.write_text(undecided.to_json(), "utf-8")
    file = str(tmp_path / "baseline.json")
    assert run(["baseline", "accept", str(found), "--file", file, "--reason", "x"]) == 0
    assert capfd.readouterr().out.splitlines()[-1] == (
        "warning: the report did not decide latency on onnxruntime fp32, score on onnxruntime "
        "fp32: nothing shows that these figures keep their budgets. What is open on time, another "
        "run measures on"
    )
