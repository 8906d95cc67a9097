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
    (tmp_path / "model.py").write_text("def teacher(): ...\ndef student(): ...\n", "utf-8")
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


@pytest.mark.parametrize(
    ("change", "trained", "distilled"),
    [
        (("", ""), ("teacher", "student"), True),
        (("train: {}", "pretrained: true"), ("student",), True),
        (("distill: {}", ""), ("teacher",), False),
    ],
)
def test_only_what_learns_here_is_tried_with_losses(
    folder: Path, change: tuple[str, str], trained: tuple[str, ...], distilled: bool
) -> None:
    text = RECIPE.replace(*change)
    if not distilled:
        text = text.replace("model.py:student", 'model.py:student", pretrained: true, output: "x')
    config = plan(folder, text).steps["check"].config
    assert (config.trained, config.distilled) == (trained, distilled)


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
    for name in ("check", "student"):
        assert made.steps[name].inputs["teachers"] == {"teacher": Ref("export teacher")}
    assert made.steps["record teacher"].inputs["teacher"] == Ref("export teacher")
    for name in ("check", "record teacher", "student"):
        step = made.steps[name]
        assert "onnxruntime" in (*step.stage.libraries, *step.libraries)
    (hop,) = [hop for hop in made.hops if hop.name == "student torch"]
    assert hop.parent == "teacher onnx"
    alone = plan(
        folder,
        text.replace("distill: {cache: {}}", "seed: 1").replace(
            'model.py:student"', 'model.py:student", train: {}'
        ),
    )
    assert alone.steps["check"].inputs["teachers"] == {}
