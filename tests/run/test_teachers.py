"""Several teachers, and teachers that are functions, through whole runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy
import pytest

from edgestill.api.doctor import State, diagnose
from edgestill.api.verify import verify_release
from edgestill.errors import EnvironmentFailure, ExitCode
from edgestill.release import read_manifest
from edgestill.report import markdown, terminal
from edgestill.report.model import read_report
from edgestill.verdict import Verdict

if TYPE_CHECKING:
    from conftest import Project

    from edgestill.report.model import Report

# Where the bright spot lies: the labels, found without learning.
FUNCTION = """\
from pathlib import Path
import numpy
from scale import SCALE

def spots(batch):
    image = batch["image"][:, 0].astype(numpy.float64)
    rows = [image[:, 2 * row : 2 * row + 2, 2:6].mean((1, 2)) for row in range(3)]
    return numpy.stack(rows, axis=1) * float(Path("{folder}/factor.txt").read_text()) * SCALE
"""
TEACHER = '{model: "model.py:teacher", normalize: {range: 255}, train: {epochs: 3, batch_size: 32}}'
BRIEF = ("quantize=null", "targets=null", "gates=null")


def with_function(project: Project) -> str:
    """The function and what it reads, and the teacher that it is."""
    text = FUNCTION.replace("{folder}", str(project.folder))
    (project.folder / "spots.py").write_text(text, "utf-8")
    (project.folder / "scale.py").write_text("SCALE = 0.5\n", "utf-8")
    (project.folder / "factor.txt").write_text("0.2", "utf-8")
    return '{function: "spots.py:spots", files: [factor.txt]}'


def test_a_student_of_several_teachers(
    project: Project, steps: Callable[[Report], set[str]]
) -> None:
    """What was computed for one teacher serves beside others."""
    cached = ("distill.cache={dtype: float32}", *BRIEF)
    project.run(*cached)
    wide = 'teachers.wide={model: "model.py:student", normalize: {range: 255}, train: {epochs: 1}}'
    asked = f"teachers.asked={with_function(project)}"
    several = (*cached, wide, asked, "distill.teachers=loss")
    assert {name for name, state in project.states(*several).items() if state != "hit"} == {
        *("check", "teacher wide", "record teacher asked", "record teacher wide"),
        *("student", "ask student", "export student", "evaluate onnx"),
    }
    report = project.run(*several)
    assert {"teacher wide", "record teacher wide", "record teacher asked"} <= steps(report)
    assert not {"teacher", "record teacher"} & steps(report)
    assert [(m.role, m.origin, m.onnx_bytes is None) for m in report.models] == [
        ("teacher", "trained", False),
        ("teacher wide", "trained", True),
        ("teacher asked", "function", True),
        ("student", "distilled", False),
    ]
    assert report.notes[0].startswith("The teacher asked came trained")
    assert "teacher wide" in terminal.render(report, width=120)
    assert {hop.name for hop in report.hops} == {
        *("teacher torch", "teacher onnx", "student torch", "student onnx")
    }
    # Weights of another kind: the recordings stay.
    again = steps(project.run(*several[:-1], "distill.teachers={teacher: 1, wide: 1, asked: 0}"))
    assert again == {"check", "student", "ask student", "export student", "evaluate onnx"}
    project.replace("factor.txt", "0.2", "0.3")
    changed = project.states(*several)
    assert (changed["record teacher asked"], changed["record teacher wide"]) == ("miss", "hit")


def test_several_teachers_of_a_chain(project: Project, steps: Callable[[Report], set[str]]) -> None:
    """They teach the assistant; each generation of the student learns from one model."""
    several = (
        f"teachers.asked={with_function(project)}",
        'assistants=[{model: "model.py:student", normalize: {range: 255}, distill: '
        "{epochs: 1, losses: [kd], teachers: {teacher: 0, asked: 1}}}]",
        "distill={generations: 2, epochs: 1, cache: {}, stages: [{losses: [mse]}, {}]}",
        *BRIEF,
    )
    report = project.run(*several)
    assert [(model.role, model.origin) for model in report.models] == [
        ("teacher", "trained"),
        ("teacher asked", "function"),
        ("assistant 1", "distilled"),
        ("student generation 1", "distilled"),
        ("student", "distilled"),
    ]
    assert {name for name in steps(report) if name.startswith("record")} == {
        *("record assistant 1", "record student generation 1"),
    }
    # Only the first of the chain hears the function.
    (project.folder / "factor.txt").write_text("0.1", "utf-8")
    assert project.states(*several)["assistant 1"] != "hit"
    assert project.states(*several)["teacher"] == "hit"


def test_a_function_teaches_and_is_what_the_student_is_compared_with(
    new_project: Project, steps: Callable[[Report], set[str]]
) -> None:
    project = new_project
    project.replace("recipe.yaml", TEACHER, with_function(project))
    report = project.run("gates.agreement={at_least: 10 %}", "quantize=null")
    hops = {hop.name: hop for hop in report.hops}
    assert hops["teacher"].parent is None and hops["student torch"].parent == "teacher"
    assert hops["teacher"].score == 1.0  # it knows where the spots are
    drop = hops["student torch"].drop
    assert drop is not None and hops["student torch"].score is not None
    assert drop.value == pytest.approx(1.0 - hops["student torch"].score)
    verdicts = {gate.gate: gate.verdict for gate in report.gates}
    assert verdicts["accuracy"] is verdicts["agreement"] is Verdict.PASS
    (target,) = report.targets
    assert target.baseline is None and target.candidates[0].speedup is None
    teacher = report.models[0]
    assert (teacher.source, teacher.origin, teacher.onnx_bytes) == (
        *("spots.py:spots", "function"),
        None,
    )
    for text in (terminal.render(report, width=120), markdown.render(report)):
        assert "function" in text and "The student against the teacher" not in text
    assert read_report(project.release / "report.json") == report

    # The release needs the function no more.
    assert "references/teacher/outputs/0.npy" in read_manifest(project.release)
    images = numpy.load(project.release / "evaluation" / "inputs" / "image.npy")
    kept = numpy.load(project.release / "references" / "teacher" / "outputs" / "0.npy")
    spots = [images[:, 0, 2 * row : 2 * row + 2, 2:6].mean((1, 2)) for row in range(3)]
    numpy.testing.assert_allclose(kept, 0.1 * numpy.stack(spots, axis=1), rtol=1e-5)
    (project.folder / "spots.py").unlink()
    verified = verify_release(project.release)
    assert verified.exit_code is ExitCode.PASSED
    assert {gate.gate: gate.verdict for gate in verified.gates} == verdicts


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("spots.py", "2:6", "2:5"),
        ("scale.py", "0.5", "0.6"),
        ("factor.txt", "0.2", "0.3"),
    ],
    ids=["its code", "what it imports", "a declared file"],
)
def test_another_function_is_asked_again(
    new_project: Project, file: str, old: str, new: str
) -> None:
    project = new_project
    project.replace("recipe.yaml", TEACHER, with_function(project))
    project.run(*BRIEF, "distill.cache={}")
    assert set(project.states(*BRIEF, "distill.cache={}").values()) == {"hit"}
    project.replace(file, old, new)
    states = project.states(*BRIEF, "distill.cache={}")
    stale = {name for name, state in states.items() if state != "hit"}
    assert stale == {"check", "record teacher", "ask teacher", "student", "ask student"} | {
        *("export student", "evaluate onnx")
    }


def test_a_function_that_fails_in_the_middle_of_a_training_names_its_line(
    new_project: Project,
) -> None:
    """It answers what the check asks, and not a whole batch."""
    project = new_project
    project.replace("recipe.yaml", TEACHER, with_function(project))
    limit = "\n    if 8 < len(batch['image']) < 64:\n        raise ConnectionError('no answer')"
    project.replace("spots.py", "def spots(batch):", f"def spots(batch):{limit}")
    message = (
        r"^student: teacher: spots.py:spots \(spots.py:7\): spots\(\) raised ConnectionError: "
        r"no answer. Run again once it answers: finished steps are kept, a training goes on"
    )
    with pytest.raises(EnvironmentFailure, match=message):
        project.run("threads=1", *BRIEF)


def test_doctor_tries_functions_and_further_teachers(new_project: Project) -> None:
    project = new_project
    project.replace("recipe.yaml", TEACHER, with_function(project))
    wide = 'teachers.wide={model: "model.py:teacher", normalize: {range: 255}, train: {epochs: 50}}'
    changes = (wide, "distill.teachers=confidence", "distill.cache={}", "quantize=null")

    def found(*more: str) -> dict[str, tuple[State, str]]:
        recipe, store = str(project.recipe), project.folder / "store"
        diagnosis = diagnose(recipe, overrides=(*changes, *more), store=store)
        return {f.subject: (f.state, f.found) for f in diagnosis.findings}

    states = found()
    for name in ("check", "teacher wide", "record teacher", "ask teacher", "student", "metric"):
        assert states[name][0] is State.OK
    # A metric that cannot use what the function answers is told, although no runtime runs it.
    three = "def three(outputs, labels):\n    assert outputs.std() < {limit}\n    return 1.0\n"
    (project.folder / "metric.py").write_text(three.format(limit="1.5"), "utf-8")
    own = ("metric={function: metric.py:three, better: bigger}", "gates=null")
    state, told = found(*own)["metric"]
    assert state is State.PROBLEM and told.startswith("teacher on validation: metric.py:three: ")
