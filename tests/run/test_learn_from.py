"""A student without a teacher, through a whole run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from edgestill.api.doctor import State, diagnose
from edgestill.errors import RecipeError

if TYPE_CHECKING:
    from conftest import Project

ALONE = (
    "teacher=null",
    "quantize=null",
    "gates={accuracy: {at_least: 40 %}}",
    "distill.losses=null",
)
PEER = "{model: 'model.py:peer', files: [notes.txt], normalize: {range: 255}}"
PEERS = (*ALONE, "distill.learn_from=peers", f"distill.peers=[{PEER}]")


def test_a_student_and_its_peer_make_a_release_of_the_student(new_project: Project) -> None:
    code = "def peer():\n    return net(6)\n\n\ndef student"
    new_project.replace("model.py", "def student", code)
    (new_project.folder / "notes.txt").write_text("1", "utf-8")
    report = new_project.run(*PEERS)
    assert report.exit_code == 0
    (student,) = report.models
    assert (student.origin, student.parameters) == ("distilled", 9 * 4 + 4 + 8 + 64 * 3 + 3)
    assert [hop.name for hop in report.hops if hop.parent is None] == ["student torch"]
    (log,) = new_project.store.rglob("history.jsonl")
    last = json.loads(log.read_text("utf-8").splitlines()[-1])
    assert last["readings"]["peer 1 validation"] > 0.4
    recipe, store = str(new_project.recipe), new_project.store
    found = diagnose(recipe, overrides=PEERS, store=store).findings
    assert [f.state for f in found if f.subject in ("check", "student")] == [State.OK, State.OK]
    # The peer's code and files are its training's.
    for file, old, new in (("notes.txt", "1", "2"), ("model.py", "net(6)", "net(7)")):
        new_project.replace(file, old, new)
        states = new_project.states(*PEERS)
        assert (states["check"], states["student"]) == ("miss", "miss")
        new_project.replace(file, new, old)
        assert new_project.states(*PEERS)["student"] == "hit"


def test_gates_that_compare_with_a_teacher_need_one(new_project: Project) -> None:
    average = ("distill.learn_from=average", "distill.ema=0.9")
    with pytest.raises(RecipeError) as raised:
        new_project.run(*ALONE, *average, "gates={accuracy: {drop_vs: teacher, at_most: 1pp}}")
    (problem,) = raised.value.problems
    assert problem.what == "the recipe has no teacher"
    assert problem.fix == "Add teacher:, or compare with drop_vs: student."
