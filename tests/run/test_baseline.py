"""Accepting a real release, and holding it against what was accepted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Project

    from edgestill.report.model import Report


def baseline(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgestill", "baseline", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )


def test_a_release_is_accepted_and_keeps_its_own_figures(
    finished: tuple[Project, Report], tmp_path: Path
) -> None:
    release = str(finished[0].release)
    done = baseline(tmp_path, "check", release)
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: baseline.json: the baseline cannot be read" in done.stderr
    done = baseline(tmp_path, "accept", release, "--reason", "the first one")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("accepted in baseline.json: small on onnxruntime fp32, ")
    # A latency held against itself is not decided at 0 %, and kept at any budget above its noise.
    done = baseline(tmp_path, "check", release, "--latency", "10000%")
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("PASS  small against baseline.json")
    # A file that cannot be written takes nothing from what was shown.
    done = baseline(tmp_path, "check", release, "--format", "junit", "--out", "baseline.json/x.xml")
    assert "small against baseline.json" in done.stdout
    assert done.returncode == 2
    assert "baseline.json/x.xml: the report cannot be written" in done.stderr


def test_another_machine_is_inconclusive(finished: tuple[Project, Report], tmp_path: Path) -> None:
    release = str(finished[0].release)
    baseline(tmp_path, "accept", release, "--reason", "x")
    file = tmp_path / "baseline.json"
    content = json.loads(file.read_text("utf-8"))
    content["entries"][0] |= {"device": "d" * 64, "device_name": "Cortex-A76, 4 cores"}
    file.write_text(json.dumps(content), "utf-8")
    done = baseline(tmp_path, "check", release)
    assert done.returncode == 4
    assert "no comparable baseline: accepted were figures of Cortex-A76, 4 cores" in " ".join(
        done.stdout.split()
    )
