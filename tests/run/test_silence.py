"""Nothing phones home, and what other libraries print goes to the log."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Project

# Python imports this file at the start of every process: of the run, of its workers and of what
# libraries start.
SITECUSTOMIZE = """
import os, sys

def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request"):
        with open(os.environ["EDGESTILL_TEST_CALLS"], "a") as file:
            file.write(f"{event} {arguments}\\n")

sys.addaudithook(hook)
"""


def test_a_run_calls_nobody_and_shows_its_own_lines_only(
    new_project: Project, tmp_path: Path
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITECUSTOMIZE, "utf-8")
    (tmp_path / "calls").write_text("", "utf-8")
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, sys.path)])
    variables = {"PYTHONPATH": path, "EDGESTILL_TEST_CALLS": str(tmp_path / "calls")}
    # As a user's machine has it: not in a CI job, where libraries keep quiet by themselves.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("CI", "TF_BUILD", "NNCF_CI", "HF_HUB_OFFLINE", "GITHUB_ACTIONS")
    }
    rtx = "{target: tensorrt-rtx, compute_capability: [8.6], verify: elsewhere}"
    changes = [
        f"targets=[onnxruntime, openvino, {rtx}]",
        "measure.rounds=2",
        "gates={size: {at_most: 1 MB}}",
    ]
    places = [f"--store={new_project.store}", f"--out={new_project.release}"]
    call = [sys.executable, "-m", "edgestill", "run", str(new_project.recipe), *places]
    done = subprocess.run(
        [*call, *(f"--set={change}" for change in changes)],
        capture_output=True,
        text=True,
        check=False,
        env={**inherited, **variables},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "calls").read_text("utf-8") == ""
    # On the error stream: a line for each step, on a slow machine how far it is, and nothing else.
    for line in done.stderr.splitlines():
        assert re.fullmatch(r"  .* s|[a-z][a-z -]*: \d+% .*", line), line
    assert done.stdout.startswith("PASS  small")
    (log,) = (new_project.store / "logs").glob("*.log")
    assert "Statistics collection" in log.read_text("utf-8")  # as NNCF says it


def test_the_hook_of_this_test_sees_calls(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE, "utf-8")
    variables = {"PYTHONPATH": str(tmp_path), "EDGESTILL_TEST_CALLS": str(tmp_path / "calls")}
    call = "import socket; socket.getaddrinfo('localhost', 80)"
    subprocess.run([sys.executable, "-c", call], check=True, env={**os.environ, **variables})
    assert "localhost" in (tmp_path / "calls").read_text("utf-8")
