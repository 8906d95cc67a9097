"""A project as a user would have it, small enough to be run many times."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pytest

from edgestill.api.plan import plan_recipe
from edgestill.api.run import run_recipe
from edgestill.console import Console
from edgestill.planner import make_plan
from edgestill.recipe import load_recipe
from edgestill.report.model import Report
from edgestill.runner import Runner
from edgestill.store import Key, Store

RECIPE = """\
name: small
threads: 1
data: {source: data.npz, split: {train: 0.4, calibration: 0.1, validation: 0.2, test: 0.3}}
teacher: {model: "model.py:teacher", normalize: {range: 255}, train: {epochs: 3, batch_size: 32}}
student: {model: "model.py:student", normalize: {range: 255}}
distill: {epochs: 3, batch_size: 32, losses: [{ce: {weight: 0.1}}, {kd: {weight: 0.9}}]}
quantize: {budget: {accuracy_drop: 50pp}}
targets: [{target: onnxruntime}]
measure: {block: 2 ms}
gates: {accuracy: {drop_vs: teacher, at_most: 90pp}, latency: {percentile: 50, at_most: 1 s}}
"""

MODEL = """\
from torch import nn


def net(width):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Flatten(), nn.Linear(16 * width, 3),
    )


def teacher():
    return net(16)


def student():
    return net(4)
"""


@dataclass(frozen=True)
class Project:
    """A recipe with its files, and a store beside them."""

    folder: Path

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.yaml"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def release(self) -> Path:
        return self.folder / "release"

    def run(self, *overrides: str, **options: Any) -> Report:
        return run_recipe(
            str(self.recipe), overrides=overrides, store=self.store, out=self.release, **options
        )

    def states(self, *overrides: str) -> dict[str, str]:
        """What `plan` says of each step: hit, miss or unknown."""
        prospects = plan_recipe(str(self.recipe), overrides=overrides, store=self.store).steps
        return {prospect.name: prospect.state for prospect in prospects}

    def reasons(self, step: str, *overrides: str) -> tuple[str, ...]:
        prospects = plan_recipe(str(self.recipe), overrides=overrides, store=self.store).steps
        return next(prospect.reasons for prospect in prospects if prospect.name == step)

    def key(self, step: str, *overrides: str) -> Key:
        """The key of a step that has no inputs."""
        runner = self.runner(*overrides)
        return runner.key(runner.plan.steps[step])

    def runner(self, *overrides: str) -> Runner:
        """Finds the results of steps, or computes them, without the whole run."""
        plan, console = make_plan(load_recipe(str(self.recipe), overrides)), Console()
        return Runner(plan, Store(self.store, console.say), console, Path(os.devnull))

    def replace(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new), "utf-8")

    @contextmanager
    def arrays(self) -> Iterator[dict[str, Any]]:
        """The arrays of its data, which are written back when the block ends."""
        with numpy.load(self.folder / "data.npz") as archive:
            arrays = {name: archive[name].copy() for name in archive.files}
        yield arrays
        numpy.savez(self.folder / "data.npz", **arrays)


def computed(report: Report) -> set[str]:
    """The steps that were computed now."""
    return {step.name for step in report.steps if not step.reused}


def write_project(folder: Path) -> Project:
    """Images of three classes, each with a bright spot of its own."""
    folder.mkdir(parents=True)
    rng = numpy.random.default_rng(0)
    labels = rng.integers(0, 3, 400)
    images = rng.integers(0, 120, (400, 1, 8, 8), numpy.uint8)
    for index, label in enumerate(labels):
        images[index, 0, 2 * label : 2 * label + 2, 2:6] += 100
    numpy.savez(folder / "data.npz", image=images, label=labels)
    (folder / "recipe.yaml").write_text(RECIPE, "utf-8")
    (folder / "model.py").write_text(MODEL, "utf-8")
    return Project(folder)


@pytest.fixture(scope="session")
def project_in() -> Callable[[Path], Project]:
    """The project of a folder that a test fills itself."""
    return Project


@pytest.fixture
def new_project(tmp_path: Path) -> Project:
    """One that nothing was computed for."""
    return write_project(tmp_path / "new")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Report]:
    """One that was run; not to be changed."""
    project = write_project(tmp_path_factory.mktemp("finished") / "project")
    return project, project.run()


@pytest.fixture
def project(finished: tuple[Project, Report], tmp_path: Path) -> Project:
    """A copy of the finished one, with its store."""
    shutil.copytree(finished[0].folder, tmp_path / "project")
    return Project(tmp_path / "project")


@pytest.fixture
def steps() -> Callable[[Report], set[str]]:
    return computed
