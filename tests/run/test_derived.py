"""A student that is made from its teacher, through a whole run."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import pytest

from edgestill.api.run import run_recipe
from edgestill.console import Console
from edgestill.errors import ModelError
from edgestill.planner import make_plan
from edgestill.recipe import load_recipe
from edgestill.report.model import Report

if TYPE_CHECKING:
    from conftest import Project

DIGITS = """\
name: small
threads: 1
data: {source: sklearn.digits, limit: 400}
teacher: {model: "edgestill.models.digits:teacher", normalize: {range: 16}, train: {epochs: 2}}
student: {from: teacher, depth: 0.5, width: 0.25}
distill: {epochs: 1}
targets: [{target: onnxruntime}]
measure: {block: 2 ms}
gates: {accuracy: {drop_vs: teacher, at_most: 90pp}}
"""
FROM_TEACHER = (
    'student: {model: "model.py:student", normalize: {range: 255}}',
    "student: {from: teacher, width: 0.25}",
)


def test_the_digits_teacher_gives_a_student(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(DIGITS)
    release = tmp_path / "release"
    said, recipe = io.StringIO(), str(tmp_path / "recipe.yaml")
    report = run_recipe(recipe, store=tmp_path / "store", out=release, console=Console(said))
    _, student = report.models
    parameters = 9 * (16 + 16 * 24 + 24 * 48) + 2 * (16 + 24 + 48) + 48 * 10 + 10
    assert (student.origin, student.parameters) == ("distilled", parameters)
    assert student.source == "edgestill.models.digits:teacher, depth 0.5, width 0.25"
    assert (
        "student from the teacher: blocks: body keeps 2 of 2 to 3; channels 64 -> 16, 96 -> 24, "
        f"192 -> 48; 557 k -> {parameters / 1e3:.3g} k parameters; "
    ) in " ".join(said.getvalue().split())
    exported = onnx.load(release / "model" / "model.onnx").graph.initializer
    kernels = [tuple(tensor.dims) for tensor in exported if len(tensor.dims) == 4]
    assert kernels == [(16, 1, 3, 3), (24, 16, 3, 3), (48, 24, 3, 3)]


def test_trained_on_labels_it_starts_from_the_teacher_too(
    new_project: Project, steps: Callable[[Report], set[str]]
) -> None:
    new_project.replace("recipe.yaml", *FROM_TEACHER)
    labels = ("distill=null", "student.train={epochs: 1, batch_size: 32}", "quantize=null")
    plan = make_plan(load_recipe(str(new_project.recipe), labels))
    assert plan.steps["student"].reads == ("teacher", "data")
    assert plan.steps["student"].code == ("model.py:teacher",)
    student = new_project.run(*labels).models[1]
    assert (student.origin, student.parameters) == ("trained", 4 * 9 + 4 + 8 + 64 * 3 + 3)
    # Another share is another student, of the same teacher.
    again = steps(new_project.run(*labels, "student.width=0.5"))
    assert {"check", "student", "ask student", "export student"} <= again
    assert "teacher" not in again
    # Its code is the teacher's.
    new_project.replace("model.py", "nn.ReLU()", "nn.ReLU6()")
    states = new_project.states(*labels)
    assert states["teacher"] == "miss"
    assert states["student"] == "unknown"


def test_what_cannot_be_made_is_found_before_any_training(new_project: Project) -> None:
    new_project.replace("recipe.yaml", *FROM_TEACHER)
    message = "^check: student: depth: no blocks of one class follow each other "
    with pytest.raises(ModelError, match=message):
        new_project.run("student.depth=0.5")
    assert new_project.states("student.depth=0.5")["teacher"] == "miss"
