"""From the schemes of a recipe to steps: who learns from whom, by what, from which weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgestill.plan import Plan, Ref, Step
from edgestill.planner import make_plan
from edgestill.planner.schemes import trainings
from edgestill.recipe import load_recipe
from edgestill.train.losses.config import DkdLoss, HiddenLoss, HintLoss, KdLoss, Tap

RECIPE = """\
name: demo
seed: 5
data: {source: data.npz}
teacher: {model: "model.py:teacher", train: {}}
assistants:
  - {from: teacher, width: 0.5, distill: {epochs: 7, losses: [dkd]}}
  - {model: "model.py:middle", files: [middle.bin]}
student: {from: teacher, width: 0.25}
distill: {losses: [kd]}
"""
GENERATIONS = "distill={generations: 3, losses: [kd]}"
STAGES = (
    "distill={early_stop: 3, only: [head], losses: [kd], learning_rate: 0.1, stages: ["
    "{epochs: 4, losses: [{hint: {student: a, teacher: b}}]}, {learning_rate: 0.5}, {only: []}]}"
)

MakePlan = Callable[..., Plan]


@pytest.fixture
def plan(tmp_path: Path) -> MakePlan:
    """The plan of the recipe with overrides."""
    code = "def teacher(): ...\ndef middle(): ...\ndef student(): ...\n"
    (tmp_path / "model.py").write_text(code, "utf-8")
    for name in ("data.npz", "middle.bin", "net.onnx"):
        (tmp_path / name).touch()

    def make(*overrides: str) -> Plan:
        (tmp_path / "recipe.yaml").write_text(RECIPE, "utf-8")
        return make_plan(load_recipe(str(tmp_path / "recipe.yaml"), overrides))

    return make


def learning(made: Plan) -> dict[str, Step]:
    return {name: step for name, step in made.steps.items() if step.kind == "distill"}


def inputs(made: Plan, *names: str) -> dict[str, tuple[Any, ...]]:
    """What each training takes by these names: the step, or nothing."""
    return {
        name: tuple(getattr(taken(step).get(of), "step", None) for of in names)
        for name, step in learning(made).items()
    }


def taken(step: Step) -> dict[str, Any]:
    """The inputs of a training; of its teachers, the one that needs no name."""
    of_teachers = {"teacher": step.inputs["teachers"], "recording": step.inputs["recordings"]}
    return {**step.inputs, **{of: refs.get("teacher") for of, refs in of_teachers.items()}}


def test_each_model_learns_from_the_one_before(plan: MakePlan) -> None:
    made = plan()
    # What is made from the teacher starts from its weights, whoever teaches it.
    assert inputs(made, "teacher", "origin") == {
        "assistant 1": ("teacher", "teacher"),
        "assistant 2": ("assistant 1", None),
        "student": ("assistant 2", "teacher"),
    }
    first, second, student = (step.config for step in learning(made).values())
    assert (first.student.model, first.student.width) == ("model.py:teacher", 0.5)
    assert (first.teachers["teacher"].model, first.teachers["teacher"].width) == (
        "model.py:teacher",
        1,
    )
    assert (second.student.model, second.teachers["teacher"].width) == ("model.py:middle", 0.5)
    assert (student.student.width, student.teachers["teacher"].model) == (0.25, "model.py:middle")
    assert (first.distill.epochs, first.distill.losses) == (7, (DkdLoss(),))
    assert second.distill == student.distill
    assert second.distill.losses == (KdLoss(),)


def test_the_models_between_teacher_and_student_are_asked_and_not_exported(plan: MakePlan) -> None:
    made = plan()
    assert made.between == ("assistant 1", "assistant 2")
    names = list(made.steps)
    assert {"ask assistant 1", "ask assistant 2"} < set(names)
    assert not any(name.startswith(("export assistant", "compile assistant")) for name in names)
    parents = {hop.name: hop.parent for hop in made.hops}
    assert parents == {
        "teacher torch": None,
        "assistant 1 torch": "teacher torch",
        "assistant 2 torch": "assistant 1 torch",
        "student torch": "assistant 2 torch",
        "teacher onnx": "teacher torch",
        "student onnx": "student torch",
    }


def test_code_and_files_of_an_assistant_count_where_it_learns_teaches_or_is_tried(
    plan: MakePlan,
) -> None:
    steps = plan("distill.cache={}").steps
    using = {name for name, step in steps.items() if "model.py:middle" in step.code}
    assert using == {
        *("check", "assistant 2", "ask assistant 2", "record assistant 2", "student"),
    }
    assert {name for name, step in steps.items() if step.files} - {"data"} == using


def test_nothing_that_takes_long_begins_before_the_check(plan: MakePlan) -> None:
    made = plan("distill.cache={}", "teachers={wide: {model: model.py:teacher, train: {}}}")
    kinds = ("train", "load", "record", "distill")
    found = [step for step in made.steps.values() if step.kind in kinds]
    assert {step.kind for step in found} == {"train", "record", "distill"}
    assert all("check" in step.after for step in found)


def test_each_teachers_answers_are_kept_for_the_one_after_it(plan: MakePlan) -> None:
    made = plan("distill.cache={}", "assistants.0.distill.cache={views: 1}")
    assert inputs(made, "recording") == {
        "assistant 1": ("record teacher",),
        "assistant 2": ("record assistant 1",),
        "student": ("record assistant 2",),
    }
    assert made.steps["record assistant 2"].inputs["teacher"] == Ref("assistant 2")


def test_an_onnx_teacher_teaches_the_first_assistant(plan: MakePlan) -> None:
    made = plan(
        "teacher={onnx: net.onnx}",
        'assistants=[{model: "model.py:middle"}]',
        'student={model: "model.py:student"}',
    )
    assert inputs(made, "teacher") == {
        "assistant 1": ("export teacher",),
        "student": ("assistant 1",),
    }
    assert "onnxruntime" in made.steps["assistant 1"].libraries
    assert "onnxruntime" not in made.steps["student"].libraries
    assert made.steps["student"].config.teachers["teacher"].model == "model.py:middle"
    parents = {hop.name: hop.parent for hop in made.hops}
    assert parents["assistant 1 torch"] == "teacher onnx"


def test_generations_start_anew_and_learn_from_the_one_before(plan: MakePlan) -> None:
    made = plan(GENERATIONS, "assistants=null", "distill.cache={}")
    first, second = (f"student generation {number}" for number in (1, 2))
    assert inputs(made, "teacher", "recording", "origin", "start") == {
        first: ("teacher", "record teacher", "teacher", None),
        second: (first, f"record {first}", "teacher", None),
        "student": (second, f"record {second}", "teacher", None),
    }
    seeds = [step.config.seed for step in learning(made).values()]
    assert seeds[0] == 5
    assert len(set(seeds)) == 3
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert [step.config.teachers["teacher"].width for step in learning(made).values()] == [
        1,
        0.25,
        0.25,
    ]
    assert {step.config.keep for step in learning(made).values()} == {"best"}
    assert made.between == (first, second)
    parents = {hop.name: hop.parent for hop in made.hops}
    assert (parents["student torch"], parents[f"{second} torch"]) == (
        f"{second} torch",
        f"{first} torch",
    )


def test_stages_go_on_where_the_one_before_ended(plan: MakePlan) -> None:
    made = plan(STAGES, "assistants=null")
    assert inputs(made, "teacher", "start", "origin") == {
        "student stage 1": ("teacher", None, "teacher"),
        "student stage 2": ("teacher", "student stage 1", None),
        "student": ("teacher", "student stage 2", None),
    }
    assert made.between == ()
    configs = [step.config for step in learning(made).values()]
    assert [config.keep for config in configs] == ["last", "last", "best"]
    settings = [
        (d.epochs, d.learning_rate, d.losses, d.only, d.early_stop)
        for d in (config.distill for config in configs)
    ]
    assert settings == [
        (4, 0.1, (HintLoss("a", "b"),), ("head",), None),
        (20, 0.5, (KdLoss(),), ("head",), None),
        (20, 0.1, (KdLoss(),), (), 3),
    ]
    assert len({config.seed for config in configs}) == 3


def test_stages_that_read_other_layers_have_recordings_of_their_own(plan: MakePlan) -> None:
    made = plan(STAGES, "assistants=null", "distill.cache={}")
    assert inputs(made, "recording") == {
        "student stage 1": ("record teacher",),
        "student stage 2": ("record teacher for student stage 2",),
        "student": ("record teacher for student",),
    }
    layers = {
        name: (step.config.prediction, step.config.layers)
        for name, step in made.steps.items()
        if step.kind == "record"
    }
    assert layers["record teacher"] == (False, (Tap("b"),))
    assert layers["record teacher for student"] == (True, ())


def test_each_generation_and_each_assistant_goes_through_all_stages(plan: MakePlan) -> None:
    made = plan(
        "distill={generations: 2, stages: [{epochs: 1}, {epochs: 2}]}", "assistants.0.distill=null"
    )
    assert list(learning(made)) == [
        f"{model}{generation}{stage}"
        for model in ("assistant 1", "assistant 2", "student")
        for generation in (" generation 1", "")
        for stage in (" stage 1", "")
    ]
    assert inputs(made, "teacher", "start")["assistant 2 stage 1"] == (
        "assistant 2 generation 1",
        None,
    )
    assert inputs(made, "teacher", "start")["assistant 2"] == (
        "assistant 2 generation 1",
        "assistant 2 stage 1",
    )


def test_a_training_has_nothing_of_the_others_in_its_key(plan: MakePlan) -> None:
    """Neither what comes after it, nor in how many parts or generations."""
    one = plan("assistants=null").steps["student"]
    again = plan("assistants=null", GENERATIONS).steps["student generation 1"]
    assert (again.config, again.inputs, again.code) == (one.config, one.inputs, one.code)
    stages = [plan(STAGES, f"distill.stages.2={change}") for change in ("{epochs: 9}", "{}")]
    first, second = (made.steps["student stage 2"] for made in stages)
    assert (first.config, first.inputs, first.modules) == (
        second.config,
        second.inputs,
        second.modules,
    )


def test_what_the_check_tries(plan: MakePlan) -> None:
    """Each model by each teacher, with each set of losses, once."""
    check = plan(STAGES, "distill.generations=3", "distill.cache={top_k: 2}").steps["check"].config
    assert list(check.models) == ["teacher", "assistant 1", "assistant 2", "student"]
    tried = [(x.name, x.learner, x.teachers.get("teacher"), x.only, x.top_k) for x in check.lessons]
    assert tried[:2] == [
        ("teacher", "teacher", None, (), None),
        ("assistant 1", "assistant 1", "teacher", (), None),
    ]
    parts = [(" stage 1", ("head",)), (" stage 2", ("head",)), ("", ())]
    assert tried[2:] == [
        (f"{role} generation {number}{stage}", role, teacher, only, 2)
        for role, other in (("assistant 2", "assistant 1"), ("student", "assistant 2"))
        for number, teacher in ((1, other), (2, role))
        for stage, only in parts
    ]


def test_losses_with_a_map_of_layers(plan: MakePlan) -> None:
    hidden = "{hidden: {student: a, teacher: b, map: {0: 1}}}"
    made = plan(f"distill={{generations: 2, losses: [{hidden}]}}")
    assert made.steps["student"].config.distill.losses == (HiddenLoss("a", "b", {0: 1}),)


def test_a_recipe_without_distillation_has_no_trainings_of_this_kind(plan: MakePlan) -> None:
    made = plan("assistants=null", "distill=null", "student.train={}")
    assert trainings(made.recipe) == ()
    assert made.steps["student"].kind == "train"


WIDE = 'teachers={wide: {model: "model.py:middle", train: {}}}'


def test_further_teachers_teach_the_first_model_of_a_chain(plan: MakePlan) -> None:
    """Whose weights do not reach the models after it, which learn from one."""
    weights = "assistants.0.distill.teachers={teacher: 0, wide: 1}"
    made = plan(WIDE, weights, "assistants.0.distill.cache={}")
    teachers = {name: step.inputs["teachers"] for name, step in learning(made).items()}
    assert teachers == {
        "assistant 1": {"wide": Ref("teacher wide")},
        "assistant 2": {"teacher": Ref("assistant 1")},
        "student": {"teacher": Ref("assistant 2")},
    }
    assert made.steps["assistant 1"].inputs["recordings"] == {"wide": Ref("record teacher wide")}
    assert list(made.steps["check"].config.models)[:3] == ["teacher", "teacher wide", "assistant 1"]


def test_further_teachers_teach_the_first_generation_in_all_its_stages(plan: MakePlan) -> None:
    scheme = "distill={generations: 2, teachers: confidence, stages: [{epochs: 1}, {epochs: 2}]}"
    made = plan(WIDE, "assistants=null", scheme)
    heard = {name: list(step.inputs["teachers"]) for name, step in learning(made).items()}
    assert heard == {
        "student generation 1 stage 1": ["teacher", "wide"],
        "student generation 1": ["teacher", "wide"],
        "student stage 1": ["teacher"],
        "student": ["teacher"],
    }
    weighed = [step.config.distill.teachers for step in learning(made).values()]
    assert weighed == ["confidence", "confidence", None, None]
    tried = {x.name: x.weights for x in made.steps["check"].config.lessons if x.teachers}
    assert tried == {"student generation 1 stage 1": "confidence", "student stage 1": None}


def test_an_average_teaches_in_every_stage(plan: MakePlan) -> None:
    scheme = "distill={learn_from: average, ema: 0.9, stages: [{epochs: 1}, {epochs: 2}]}"
    made = plan("assistants=null", scheme)
    assert inputs(made, "teacher", "start") == {
        "student stage 1": (None, None),
        "student": (None, "student stage 1"),
    }
