"""Chains of trainings through whole runs: assistants, generations, stages."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from edgestill.api.doctor import State, diagnose
from edgestill.artifact import Checkpoint, Predictions
from edgestill.plan import Ref
from edgestill.report.markdown import render
from edgestill.report.model import Report
from edgestill.runner import Runner
from edgestill.train.loop import Trainer

if TYPE_CHECKING:
    from conftest import Project

# Smoothed labels keep the assistant's answers small: who learns from it can be told from who learns
# from the teacher.
RECIPE = """\
name: schemes
threads: 1
data: {source: sklearn.digits, limit: 400}
teacher: {model: "edgestill.models.digits:teacher", normalize: {range: 16}, train: {epochs: 6}}
assistants:
  - from: teacher
    depth: 0.5
    width: 0.5
    distill: {epochs: 6, losses: [{ce: {label_smoothing: 0.9}}]}
student: {model: "edgestill.models.digits:student", normalize: {range: 16}}
distill:
  generations: 2
  batch_size: 16
  cache: {}
  stages:
    - {epochs: 2, only: [body.0, body.1], losses: [{hint: {student: body.1, teacher: body.1}}]}
    - {epochs: 10, losses: [mse]}
"""
BETWEEN = ("assistant 1", "student generation 1")
pytestmark = pytest.mark.xdist_group("schemes")


@pytest.fixture(scope="session")
def trained(
    tmp_path_factory: pytest.TempPathFactory, project_in: Callable[[Path], Project]
) -> tuple[Project, Report]:
    """A project in which all of it was run; not to be changed."""
    project = project_in(tmp_path_factory.mktemp("schemes"))
    project.recipe.write_text(RECIPE, encoding="utf-8")
    return project, project.run()


def weights(runner: Runner, step: str) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = load_file(runner.typed(Ref(step), Checkpoint).weights_path)
    return found


def logits(runner: Runner, model: str) -> NDArray[Any]:
    answers = runner.typed(Ref(f"ask {model}"), Predictions)
    found: NDArray[Any] = numpy.load(answers.output_path("logits"))
    return found


@pytest.fixture
def project(
    trained: tuple[Project, Report], tmp_path: Path, project_in: Callable[[Path], Project]
) -> Project:
    """A copy of it, with its store."""
    shutil.copytree(trained[0].folder, tmp_path / "copy")
    return project_in(tmp_path / "copy")


def test_each_model_takes_after_the_one_that_taught_it(
    trained: tuple[Project, Report],
) -> None:
    runner = trained[0].runner()
    teacher, assistant, first, student = (
        logits(runner, model) for model in ("teacher", *BETWEEN, "student")
    )
    for pupil, taught_by in ((first, assistant), (student, first)):
        assert abs(pupil - taught_by).mean() < 0.3 * abs(pupil - teacher).mean()


def test_the_report_has_each_model_and_hop(trained: tuple[Project, Report]) -> None:
    _, report = trained
    models = {model.role: model for model in report.models}
    assert tuple(models) == ("teacher", *BETWEEN, "student")
    assert [models[name].onnx_bytes for name in BETWEEN] == [None, None]
    assert [models[name].epochs for name in BETWEEN] == [6, 10]
    assert all(1 <= (models[name].best_epoch or 0) <= 10 for name in BETWEEN)
    assert models["assistant 1"].source == "edgestill.models.digits:teacher, depth 0.5, width 0.5"
    parents = {hop.name: hop.parent for hop in report.hops}
    assert parents["student torch"] == "student generation 1 torch"
    assert parents["student generation 1 torch"] == "assistant 1 torch"
    assert parents["assistant 1 torch"] == "teacher torch"
    rows = [line for line in render(report).splitlines() if line.startswith("| assistant 1 ")]
    assert any(re.search(r"\| \d of 6 \|", row) for row in rows)


def test_a_stage_trains_what_it_names_and_gives_its_last_epoch(
    trained: tuple[Project, Report],
) -> None:
    runner = trained[0].runner()
    batches = {
        name: [int(weights(runner, name)[f"body.{i}.1.num_batches_tracked"]) for i in range(3)]
        for name in ("student generation 1 stage 1", "student generation 1")
    }
    first, last = batches.values()
    steps = first[0] // 2
    assert first == [2 * steps, 2 * steps, 0]
    best = runner.typed(Ref("student generation 1"), Checkpoint).description.best_epoch
    assert best is not None
    assert last == [(2 + best) * steps, (2 + best) * steps, best * steps]
    hinted = weights(runner, "student generation 1 stage 1")
    assert not hinted["body.2.1.running_mean"].any(), "the statistics of what is frozen stay"
    assert runner.typed(Ref("student stage 1"), Checkpoint).description.best_epoch == 2


def test_a_generation_starts_anew(trained: tuple[Project, Report]) -> None:
    """The head has not learnt yet: it is as it was drawn."""
    runner = trained[0].runner()
    first, second = (
        weights(runner, f"{name} stage 1")["head.weight"]
        for name in ("student generation 1", "student")
    )
    assert first.shape == second.shape
    assert abs(numpy.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.2


def test_a_changed_last_stage_trains_that_and_what_rests_on_it(
    trained: tuple[Project, Report],
) -> None:
    states = trained[0].states("distill.stages.1.epochs=3")
    kept = {"check", "teacher", "assistant 1", "record assistant 1", "student generation 1 stage 1"}
    assert {states[name] for name in kept} == {"hit"}
    assert states["student generation 1"] == "miss"
    assert states["student stage 1"] == states["student"] == "unknown"


def test_with_one_generation_the_first_is_the_student(trained: tuple[Project, Report]) -> None:
    states = trained[0].states("distill.generations=1")
    assert states["student stage 1"] == states["student"] == states["ask student"] == "hit"


def test_another_assistant_is_another_student(trained: tuple[Project, Report]) -> None:
    states = trained[0].states("assistants.0.distill.epochs=5")
    assert states["teacher"] == "hit"
    assert states["assistant 1"] == "miss"
    later = {"record assistant 1", "student generation 1 stage 1", "student"}
    assert {states[name] for name in later} == {"unknown"}


def test_a_stage_goes_on_from_the_weights_of_the_one_before(project: Project) -> None:
    """At a rate at which nothing moves, they are what it gives."""
    runner = project.runner("distill.stages.1={epochs: 1, learning_rate: 1e-12, losses: [mse]}")
    before = weights(runner, "student generation 1 stage 1")
    after = weights(runner, "student generation 1")
    for name, value in before.items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            numpy.testing.assert_allclose(after[name], value, atol=1e-6, err_msg=name)


def test_a_stage_that_is_stopped_goes_on_bit_for_bit(
    project: Project,
    project_in: Callable[[Path], Project],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of three trainings of two epochs each, the one in the middle is stopped in its midst."""
    monkeypatch.setattr("edgestill.train.loop.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("edgestill.train.loop.CHECKPOINT_SHARE", 1e9)
    steps, limit, step = 0, 0, Trainer._step

    def counted(self: Trainer, *arguments: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == limit:
            raise KeyboardInterrupt
        step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", counted)
    shorter, copy = "distill.stages.1.epochs=2", tmp_path / "stopped"
    shutil.copytree(project.folder, copy)
    whole = project.runner(shorter).typed(Ref("student"), Checkpoint).digest
    count, steps = steps, 0
    limit = count // 2
    stopped = project_in(copy)
    with pytest.raises(KeyboardInterrupt):
        stopped.runner(shorter).resolve("student")
    states = stopped.states(shorter)
    assert (states["student generation 1"], states["student stage 1"]) == ("hit", "miss")
    assert stopped.runner(shorter).typed(Ref("student"), Checkpoint).digest == whole
    assert steps == count + 1, "no step but the stopped one was begun twice"


@pytest.mark.slow
def test_doctor_tries_all_of_it_with_one_step_each(project: Project) -> None:
    diagnosis = diagnose(str(project.recipe), overrides="seed=1", store=project.store)
    found = {finding.subject: finding.state for finding in diagnosis.findings}
    for name in (*BETWEEN, "student generation 1 stage 1", "student stage 1", "student"):
        assert found[name] is State.OK, name
    assert diagnosis.exit_code == 0
