"""`kill -9` again and again, at file operations and between training steps; two runs at once."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from edgestill.release import open_release
from edgestill.report.model import read_report

if TYPE_CHECKING:
    from conftest import Project

    from edgestill.report.model import Report

# Counts what the run does to files of the project, and the steps of its training; at the given
# number the process kills itself, as it would be killed from outside: without any clean-up.
SCRIPT = """
import os, signal, sys
from edgestill.extras import require
require("torch", extra="build")  # as a run imports it: threads that wait may not spin for long
from edgestill.train import loop

project, limit = sys.argv[1], int(sys.argv[2])
count = 0

def passed():
    global count
    count += 1
    if count == limit:
        os.kill(os.getpid(), signal.SIGKILL)

def hook(event, arguments):
    if event not in ("open", "os.rename", "os.remove", "os.mkdir", "os.chmod", "os.truncate"):
        return
    reads = event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if not reads and str(arguments[0]).startswith(project):
        passed()

def step(trainer, *arguments, original=loop.Trainer._step):
    original(trainer, *arguments)
    passed()

loop.Trainer._step = step
loop.CHECKPOINT_SECONDS = loop.CHECKPOINT_SHARE = 1e-9  # as if each step took long
sys.addaudithook(hook)
from edgestill.cli import run
raise SystemExit(run(sys.argv[3:]))
"""


def start(project: Project, limit: int, *overrides: str) -> subprocess.Popen[str]:
    changes = [f"--set={change}" for change in ("measure.rounds=1", "gates=null", *overrides)]
    places = [f"--store={project.store}", f"--out={project.release}"]
    script = [sys.executable, "-c", SCRIPT, str(project.folder), str(limit)]
    return subprocess.Popen(
        [*script, "run", str(project.recipe), *places, *changes],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def student_digest(project: Project) -> str:
    return open_release(project.release).engine("targets/onnxruntime/fp32").digest


def student_weights(project: Project) -> dict[str, bytes]:
    """The student is the smaller of the two."""
    files = project.store.glob("objects/*/*/result/weights.safetensors")
    smaller = min(files, key=lambda file: file.stat().st_size)
    return {name: tensor.tobytes() for name, tensor in load_file(smaller).items()}


@pytest.mark.slow
def test_a_run_that_is_killed_over_and_over_ends_as_if_it_never_was(
    new_project: Project, finished: tuple[Project, Report]
) -> None:
    kills = 0
    while True:
        # Each run comes farther than the one before, and is killed at another place of it.
        process = start(new_project, limit=15 + 10 * kills)
        output, _ = process.communicate(timeout=300)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, output
        kills += 1
        assert kills < 40, output
    assert kills >= 9
    assert student_digest(new_project) == student_digest(finished[0])
    assert student_weights(new_project) == student_weights(finished[0])
    # What was committed before the last kill was used again.
    report = read_report(new_project.release / "report.json")
    reused = {step.name for step in report.steps if step.reused}
    assert {"data", "check", "teacher", "student"} <= reused
    left = [path.name for path in new_project.folder.iterdir() if path.name.startswith(".")]
    assert left == []
    assert not list(new_project.store.glob("tmp/*"))


@pytest.mark.slow
def test_a_training_that_is_killed_goes_on_where_it_was(
    project: Project, new_project: Project
) -> None:
    longer = "distill.epochs=20"
    # All but the student's training is there: at its 60th event it is in the midst of that.
    process = start(project, 60, longer)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, output
    (unfinished,) = project.store.glob("work/*/training.safetensors")
    with safe_open(unfinished, framework="numpy") as file:
        at = json.loads(file.metadata()["progress"])
    assert (0, 0) < (at["epoch"], at["step"]) < (19, 0)
    assert project.run(longer).exit_code == new_project.run(longer).exit_code == 0
    assert student_digest(project) == student_digest(new_project)


@pytest.mark.slow
def test_two_runs_at_once_compute_each_step_once_and_both_finish(
    new_project: Project, tmp_path: Path
) -> None:
    call = [sys.executable, "-m", "edgestill", "run", str(new_project.recipe)]
    call.append(f"--store={new_project.store}")
    runs = [
        subprocess.Popen(
            [*call, f"--out={tmp_path / name}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in ("first", "second")
    ]
    outputs = [process.communicate(timeout=300)[0] for process in runs]
    assert [process.returncode for process in runs] == [0, 0], outputs
    reports = [read_report(tmp_path / name / "report.json") for name in ("first", "second")]
    names = [step.name for step in reports[0].steps if not step.name.startswith("measure")]
    for name in names:
        computed = [s for r in reports for s in r.steps if s.name == name and not s.reused]
        assert len(computed) == 1, name
    assert any("waiting for process" in output for output in outputs)


def test_a_flipped_byte_in_the_store_is_found_and_its_step_computed_again(
    project: Project, finished: tuple[Project, Report]
) -> None:
    damaged = sorted(project.store.glob("objects/*/*/result/model.onnx"))[0]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.chmod(0o644)
    damaged.write_bytes(content)
    report = project.run()
    assert sum(not step.reused for step in report.steps) == 1
    assert len(list(project.store.glob("damaged/*"))) == 1
    assert student_digest(project) == student_digest(finished[0])


def test_a_release_that_was_deleted_is_written_again_without_computing(project: Project) -> None:
    shutil.rmtree(project.release)
    report = project.run()
    assert all(step.reused for step in report.steps)
    open_release(project.release)
