"""Two releases on one device, asked and timed together."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edgestill.api.compare import compare_releases
from edgestill.console import Console
from edgestill.errors import DamagedRelease, DeviceError, ExitCode, UsageError
from edgestill.release import writing
from edgestill.report.comparison import judgement
from edgestill.report.terminal import render
from edgestill.verdict import Verdict
from edgestill.verify.budgets import Budgets
from edgestill.verify.comparison import Comparison

if TYPE_CHECKING:
    from conftest import Project

    from edgestill.report.model import Report


@pytest.fixture(scope="module")
def former(finished: tuple[Project, Report]) -> Path:
    return finished[0].release


@pytest.fixture(scope="module")
def latter(finished: tuple[Project, Report], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release whose student has a hundred times the channels."""
    folder = tmp_path_factory.mktemp("wide") / "project"
    shutil.copytree(finished[0].folder, folder)
    project = type(finished[0])(folder)
    project.replace("model.py", "net(4)", "net(400)")
    project.run("distill.epochs=1", "quantize=null", "targets=[onnxruntime]")
    return project.release


@pytest.fixture(scope="module")
def found(former: Path, latter: Path) -> Comparison:
    return compare_releases(former, latter, budgets=Budgets(score=0.9), rounds=12)


def described(release: Path, copy: Path, file: str, **values: Any) -> Path:
    """A copy of a release with other values in one of its descriptions, sealed anew."""
    with writing(copy) as writer:
        shutil.copytree(release, writer.folder, dirs_exist_ok=True)
        (writer.folder / "manifest.json").unlink()
        content = json.loads((writer.folder / file).read_text("utf-8"))
        writer.add_text(file, json.dumps({**content, **values}))
    return copy


def test_a_slower_and_larger_release_fails(found: Comparison) -> None:
    (target,) = found.targets
    changes = {change.name: change for change in target.changes}
    assert list(changes) == [
        "accuracy", "p50 latency", *(n for n in changes if n.startswith("p9")), "throughput",
        "peak memory", "first load", "later loads", "size",
    ]  # fmt: skip
    assert changes["size"].verdict is Verdict.FAIL
    assert changes["p50 latency"].verdict is Verdict.FAIL
    assert changes["accuracy"].verdict is Verdict.PASS
    assert (found.verdict, found.exit_code) == (Verdict.FAIL, ExitCode.GATE_FAILED)
    assert target.blocks in {12 * 2**look for look in range(8)}
    assert (target.new, target.same_engine) == ("fp32", False)


def test_what_is_found_is_told_and_written(found: Comparison) -> None:
    shown = render(judgement(found), width=100)
    first, last = shown.splitlines()[0], shown.splitlines()[-1]
    # Both are called small, and lie in a folder called project.
    new, old = ("/".join(Path(release.path).parts[-3:]) for release in (found.new, found.old))
    assert first.startswith(f"FAIL  {new} against {old}: worse than allowed: p50 latency on")
    assert last == "FAIL, exit code 1"
    assert "p50 latency: the whole interval [" in shown
    assert " blocks of each, interleaved, at " in shown
    assert json.loads(found.to_json())["targets"][0]["changes"][-1]["name"] == "size"


def test_a_release_against_itself_passes_without_timing(former: Path) -> None:
    same = compare_releases(former, former, budgets=Budgets(score=0.0, latency=0.0))
    (target,) = same.targets
    assert target.same_engine
    assert (target.blocks, target.looks) == (0, 0)
    assert [c.name for c in target.changes if c.verdict is Verdict.PASS] == ["accuracy", "size"]
    assert same.exit_code is ExitCode.PASSED
    assert "Both ship the very same engine" in render(judgement(same))


def test_a_damaged_release_is_not_opened(former: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(former, tmp_path / "broken"))
    (broken / "release.json").write_text("{}")
    for pair in ((former, broken), (broken, former)):
        with pytest.raises(DamagedRelease, match=r"release\.json: the file was changed"):
            compare_releases(*pair)


def test_releases_of_other_samples_are_refused(former: Path, tmp_path: Path) -> None:
    other = described(
        former, tmp_path / "classes", "evaluation/dataset.json", class_names=["a", "b", "c"]
    )
    with pytest.raises(UsageError, match=r"the releases differ in their classes: .* and a, b, c"):
        compare_releases(former, other)


def test_targets_that_only_one_has_are_told(former: Path, tmp_path: Path) -> None:
    content = json.loads((former / "release.json").read_text("utf-8"))
    (target,) = content["targets"]
    both = [target, {**target, "target": "tensorrt-rtx"}]
    other = described(former, tmp_path / "more", "release.json", targets=both)
    assert compare_releases(former, other).notes == ("Only the new release has tensorrt-rtx.",)
    assert compare_releases(other, former).notes == ("Only the old release has tensorrt-rtx.",)
    (note,) = compare_releases(other, other).notes
    assert note.startswith("tensorrt-rtx cannot run here (")
    with pytest.raises(DeviceError, match="tensorrt-rtx cannot run here"):
        compare_releases(other, other, targets=["tensorrt-rtx"])
    with pytest.raises(DeviceError, match="the releases have no target in common"):
        compare_releases(
            former, described(former, tmp_path / "else", "release.json", targets=both[1:])
        )


def test_precisions_that_only_one_ships_are_told(former: Path, tmp_path: Path) -> None:
    content = json.loads((former / "release.json").read_text("utf-8"))
    (target,) = content["targets"]
    (name,) = target["shipped"]
    candidates = {**target["candidates"], "int4": target["candidates"][name]}
    several = {**target, "shipped": [name, "int4"], "candidates": candidates}
    none = {**target, "shipped": []}
    other = described(former, tmp_path / "several", "release.json", targets=[several])
    empty = described(former, tmp_path / "none", "release.json", targets=[none])
    told = f"release ships int4 for {target['target']}."
    assert compare_releases(former, other).notes == (f"Only the new {told}",)
    assert compare_releases(other, former).notes == (f"Only the old {told}",)
    with pytest.raises(DeviceError, match="the releases ship no engines of one precision for onnx"):
        compare_releases(former, empty)


def test_a_report_of_another_format_is_refused_before_anything_is_measured(
    former: Path, tmp_path: Path
) -> None:
    other = described(former, tmp_path / "format", "report.json", format=1)

    class Idle(Console):
        @contextmanager
        def step(self, name: str) -> Iterator[None]:
            yield pytest.fail(name)

    with pytest.raises(UsageError, match="a report of format 1, which edgestill"):
        compare_releases(other, former, console=Idle())


def test_the_command_ends_with_the_verdict(former: Path, latter: Path, tmp_path: Path) -> None:
    def compare(*options: str) -> subprocess.CompletedProcess[str]:
        summary = str(tmp_path / "summary.md")
        return subprocess.run(
            [sys.executable, "-m", "edgestill", "compare", str(former), str(latter), *options],
            env={**os.environ, "GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": summary},
            capture_output=True,
            text=True,
            check=False,
        )

    lifted = ("--score", "none", "--latency", "none", "--memory", "none", "--rounds", "1")
    done = compare(*lifted, "--format", "json", "--out", str(tmp_path / "found.json"))
    assert done.returncode == 1, done.stderr
    assert "worse than allowed: size on onnxruntime" in " ".join(done.stdout.split())
    assert json.loads((tmp_path / "found.json").read_text("utf-8"))["verdict"] == "FAIL"
    assert "::error title=FAIL small against small%3A size on onnxruntime fp32::" in done.stderr
    written = (tmp_path / "summary.md").read_text("utf-8")
    assert written.startswith("# small against small\n\n**FAIL")
    done = compare(*lifted, "--size", "none", "--format", "markdown")
    assert (done.returncode, "::" in done.stderr) == (0, False)
    assert done.stdout.startswith("# small against small\n\n**NOT RUN")
    wrong = compare("--latency", "5")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "error: --latency: '5' has no unit. Write it as 5% (units: %)" in wrong.stderr
