"""From a recipe to steps: what each of them depends on."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgestill.machine import Hardware
from edgestill.plan import Plan, Ref
from edgestill.planner import make_plan
from edgestill.recipe import load_recipe

RECIPE = """\
name: demo
data: {source: data.npz}
teacher: {model: "model.py:teacher", files: [plugin.py], train: {}}
student: {model: "model.py:student"}
distill: {}
metric: {function: "metric.py:score", better: bigger}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text(
        "def teacher(): ...\ndef student(): ...\npeer = student\n", "utf-8"
    )
    (tmp_path / "metric.py").write_text("def score(outputs, labels): ...\n", "utf-8")
    for name in ("data.npz", "plugin.py", "net.onnx", "net.onnx.data", "weights.bin", "net2.onnx"):
        (tmp_path / name).touch()
    return tmp_path


def plan(folder: Path, text: str) -> Plan:
    (folder / "recipe.yaml").write_text(text, "utf-8")
    return make_plan(load_recipe(str(folder / "recipe.yaml")))


def test_a_metric_of_the_users_own_is_code_of_what_chooses_by_it(folder: Path) -> None:
    steps = plan(folder, RECIPE).steps
    choosing = {name for name, step in steps.items() if "metric.py:score" in step.code}
    assert choosing == {"teacher", "student"}


def test_declared_files_are_files_of_every_step_that_runs_the_code(folder: Path) -> None:
    steps = plan(folder, RECIPE).steps
    using = {name for name, step in steps.items() if folder / "plugin.py" in step.files}
    assert using == {"check", "teacher", "ask teacher", "export teacher", "student"}


def test_an_onnx_file_comes_with_its_weights(folder: Path) -> None:
    text = "name: demo\ndata: {source: data.npz}\nmetric: accuracy\n"
    student = "student: {onnx: net.onnx, files: [weights.bin]}\n"
    files = plan(folder, text + student).steps["export student"].files
    assert {file.name for file in files} == {"net.onnx", "net.onnx.data", "weights.bin"}


PEERS = "[{model: 'model.py:peer', files: [plugin.py]}, {model: 'model.py:student'}]"
ALONE = RECIPE.replace('teacher: {model: "model.py:teacher", files: [plugin.py], train: {}}\n', "")


@pytest.mark.parametrize(
    "distill",
    [
        "losses: [ce, {heads: {layers: [body]}}]",
        "learn_from: average, ema: 0.99",
        f"learn_from: peers, peers: {PEERS}",
    ],
)
def test_a_student_without_a_teacher_takes_the_data_alone(folder: Path, distill: str) -> None:
    made = plan(folder, ALONE.replace("distill: {}", f"distill: {{{distill}}}"))
    assert list(made.steps) == [
        *("data", "check", "student", "ask student", "export student", "evaluate onnx")
    ]
    assert set(made.steps["student"].inputs) == {"train", "validation"}
    assert made.steps["student"].config.teacher is None
    assert [hop.parent for hop in made.hops] == [None, "student torch"]


def test_code_and_files_of_peers_are_those_of_what_builds_them(folder: Path) -> None:
    text = RECIPE.replace("distill: {}", f"distill: {{learn_from: peers, peers: {PEERS}}}")
    steps = plan(folder, text.replace("files: [plugin.py], ", "", 1)).steps
    assert {n for n, step in steps.items() if "model.py:peer" in step.code} == {"check", "student"}
    using = {name for name, step in steps.items() if folder / "plugin.py" in step.files}
    assert using == {"check", "student"}
    (student,) = (s for s in steps["check"].config.lessons if s.learner == "student")
    peers = [peer.model for peer in student.peers]
    assert peers == ["model.py:peer", "model.py:student"]
    assert [peer.model for peer in steps["student"].config.distill.peers] == peers


def test_a_teacher_that_nobody_learns_from_is_compared_with_and_not_taken(folder: Path) -> None:
    average = RECIPE.replace("distill: {}", "distill: {learn_from: average, ema: 0.99}")
    made = plan(folder, average)
    assert set(made.steps["student"].inputs) == {"train", "validation"}
    assert "model.py:teacher" not in made.steps["student"].code
    (hop,) = [hop for hop in made.hops if hop.name == "student torch"]
    assert hop.parent == "teacher torch"
    black_box = average.replace(
        '{model: "model.py:teacher", files: [plugin.py], train: {}}', "{onnx: net.onnx}"
    )
    assert "teacher" not in plan(folder, black_box).steps["check"].inputs
    # Unless the student starts from its weights.
    derived = average.replace('{model: "model.py:student"}', "{from: teacher, depth: 0.5}")
    assert plan(folder, derived).steps["student"].inputs["origin"] == Ref("teacher")


@pytest.mark.parametrize(
    ("change", "lessons"),
    [
        (("", ""), {"teacher": None, "student": "teacher"}),
        (("train: {}", "pretrained: true"), {"student": "teacher"}),
        (("distill: {}", ""), {"teacher": None}),
    ],
)
def test_only_what_learns_here_is_tried_with_losses(
    folder: Path, change: tuple[str, str], lessons: dict[str, str | None]
) -> None:
    text = RECIPE.replace(*change)
    if "student" not in lessons:
        text = text.replace("model.py:student", 'model.py:student", pretrained: true, output: "x')
    config = plan(folder, text).steps["check"].config
    assert {lesson.learner: lesson.teacher for lesson in config.lessons} == lessons


def test_code_that_only_a_table_names_is_in_the_keys_of_what_finds_it_there(folder: Path) -> None:
    text = RECIPE + "quantize: {budget: {accuracy_drop: 0.1}}\ntargets: [onnxruntime, openvino]\n"
    steps = plan(folder, text).steps
    assert steps["compile openvino fp32"].modules == ("edgestill.targets.openvino",)
    assert steps["evaluate openvino"].modules == ("edgestill.targets.openvino",)
    assert steps["evaluate onnx"].modules == ("edgestill.targets.onnxruntime",)
    for name in ("check", "teacher", "student"):
        assert steps[name].modules == ("edgestill.train.losses.logits",)


def test_what_of_the_machine_a_step_depends_on(folder: Path) -> None:
    targets = "[openvino, tensorrt, {target: tensorrt-rtx, compute_capability: [8.6]}]"
    steps = plan(
        folder, RECIPE + f"quantize: {{budget: {{accuracy_drop: 0.1}}}}\ntargets: {targets}\n"
    ).steps
    found = {hardware: set() for hardware in Hardware}
    for name, step in steps.items():
        found[step.hardware].add(name)
    assert found[Hardware.TORCH] == {"teacher", "student"}
    assert found[Hardware.CPU] == {
        *("ask teacher", "ask student", "quantize cpu", "quantize tensorrt"),
        *("evaluate onnx", "evaluate openvino"),
    }
    # Engines for GPUs that the recipe names are the same wherever they are built.
    assert found[Hardware.GPU] == {
        *(f"compile tensorrt {name}" for name in ("fp32", "fp16", "int8", "teacher")),
        *("evaluate tensorrt", "evaluate tensorrt-rtx"),
    }


def test_engines_are_for_the_gpu_that_is_here_where_none_is_named(folder: Path) -> None:
    steps = plan(folder, RECIPE + "targets: [{target: tensorrt-rtx, max_batch: 4}]\n").steps
    for label in ("fp32", "fp16", "teacher"):
        assert steps[f"compile tensorrt-rtx {label}"].hardware is Hardware.GPU


@pytest.mark.parametrize(
    ("target", "roles"),
    [
        ("{target: tensorrt-rtx, compute_capability: [8.6], verify: elsewhere}", True),
        ("{target: tensorrt-rtx, precision: int8, verify: elsewhere}", False),
        ("onnxruntime", False),
    ],
)
def test_the_onnx_models_are_asked_on_validation_where_a_choice_rests_on_them(
    folder: Path, target: str, roles: bool
) -> None:
    text = RECIPE + f"quantize: {{budget: {{accuracy_drop: 0.1}}}}\ntargets: [{target}]\n"
    datasets = plan(folder, text).steps["evaluate onnx"].inputs["datasets"]
    assert list(datasets) == (["validation", "test"] if roles else ["test"])


def test_an_onnx_teacher_is_asked_by_the_check_the_recording_and_the_student(folder: Path) -> None:
    old = 'teacher: {model: "model.py:teacher", files: [plugin.py], train: {}}'
    text = RECIPE.replace(old, "teacher: {onnx: net.onnx}").replace(
        "distill: {}", "distill: {cache: {}}"
    )
    made = plan(folder, text)
    names = list(made.steps)
    assert names.index("export teacher") < names.index("check") < names.index("record teacher")
    assert "teacher" not in names and "ask teacher" not in names
    for name in ("check", "record teacher", "student"):
        step = made.steps[name]
        assert step.inputs["teacher"] == Ref("export teacher")
        assert "onnxruntime" in (*step.stage.libraries, *step.libraries)
    (hop,) = [hop for hop in made.hops if hop.name == "student torch"]
    assert hop.parent == "teacher onnx"
    alone = plan(
        folder,
        text.replace("distill: {cache: {}}", "seed: 1").replace(
            'model.py:student"', 'model.py:student", train: {}'
        ),
    )
    assert "teacher" not in alone.steps["check"].inputs
