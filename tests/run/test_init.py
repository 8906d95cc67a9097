"""What `edgestill init` writes runs as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgestill.report.model import read_report


def edgestill(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "edgestill", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_commands_that_it_names_work(tmp_path: Path) -> None:
    told = edgestill(tmp_path, "init", "my-model")
    commands = [line.split()[:3] for line in told.splitlines() if line.startswith("  edgestill")]
    assert [words[1] for words in commands] == ["plan", "doctor", "run"]
    for words in commands:
        edgestill(tmp_path, *words[1:])
    report = read_report(tmp_path / "dist" / "my-model" / "report.json")
    scores = {hop.name: hop.score or 0.0 for hop in report.hops}
    assert scores["teacher torch"] > 0.95
    assert scores["student torch"] > 0.90
