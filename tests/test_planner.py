"""From a recipe to steps: what each of them depends on."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgestill.machine import Hardware
from edgestill.plan import Plan, Ref
from edgestill.planner import make_plan
from edgestill.recipe import load_recipe
from edgestill.train.losses.config import Tap

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
    assert made.steps["student"].reads == ("data",)
    assert made.steps["student"].config.teachers == {}
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
    assert made.steps["student"].reads == ("data",)
    assert "model.py:teacher" not in made.steps["student"].code
    (hop,) = [hop for hop in made.hops if hop.name == "student torch"]
    assert hop.parent == "teacher torch"
    black_box = average.replace(
        '{model: "model.py:teacher", files: [plugin.py], train: {}}', "{onnx: net.onnx}"
    )
    assert plan(folder, black_box).steps["check"].reads == ("data",)
    # Unless the student starts from its weights.
    derived = average.replace('{model: "model.py:student"}', "{from: teacher, depth: 0.5}")
    assert plan(folder, derived).steps["student"].inputs["origin"] == Ref("teacher")


@pytest.mark.parametrize(
    ("change", "lessons"),
    [
        (("", ""), {"teacher": {}, "student": {"teacher": "teacher"}}),
        (("train: {}", "pretrained: true"), {"student": {"teacher": "teacher"}}),
        (("distill: {}", ""), {"teacher": {}}),
    ],
)
def test_only_what_learns_here_is_tried_with_losses(
    folder: Path, change: tuple[str, str], lessons: dict[str, dict[str, str]]
) -> None:
    text = RECIPE.replace(*change)
    if "student" not in lessons:
        text = text.replace("model.py:student", 'model.py:student", pretrained: true, output: "x')
    config = plan(folder, text).steps["check"].config
    assert {lesson.learner: lesson.teachers for lesson in config.lessons} == lessons


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
        ("{target: tensorrt-rtx, precision: int8, verify: elsewhere}", True),
        ("{target: onnxruntime, precision: int8}", True),
        ("{target: onnxruntime, precision: [fp32, int8]}", False),
        ("onnxruntime", False),
    ],
)
def test_the_onnx_models_are_asked_on_validation_where_a_drop_rests_on_them(
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


SEVERAL = """\
teachers:
  wide: {model: "model.py:teacher", train: {augment: {mixup: 0.2}}}
  file: {onnx: net.onnx}
  asked: {function: "metric.py:score", files: [weights.bin]}
"""


def several(folder: Path, distill: str) -> Plan:
    return plan(folder, RECIPE.replace("distill: {}\n", f"{SEVERAL}distill: {distill}\n"))


def test_each_teacher_has_its_steps_and_its_recording(folder: Path) -> None:
    steps = several(folder, "{cache: {}}").steps
    names = list(steps)
    assert names.index("export teacher file") < names.index("check")
    # Only `teacher` is asked about the test split and exported.
    own = {name for name in names if "teacher" in name}
    assert own == {
        *("teacher", "ask teacher", "export teacher", "teacher wide", "export teacher file"),
        *("record teacher", "record teacher wide", "record teacher file", "record teacher asked"),
    }
    assert steps["student"].inputs["teachers"] == {
        "file": Ref("export teacher file"),
        "teacher": Ref("teacher"),
        "wide": Ref("teacher wide"),
    }
    recorded = steps["student"].inputs["recordings"]
    assert recorded == {
        name: Ref(f"record teacher {name}".removesuffix(" teacher"))
        for name in ("asked", "file", "teacher", "wide")
    }
    for name in ("check", "record teacher asked", "student"):
        assert "metric.py:score" in steps[name].code
        assert folder / "weights.bin" in steps[name].files
    check = steps["check"].config
    assert list(check.models) == ["teacher", "teacher wide", "teacher asked", "student"]
    assert [lesson.name for lesson in check.lessons] == ["teacher", "teacher wide", "student"]
    assert [lesson.augment is not None for lesson in check.lessons] == [False, True, False]
    assert check.lessons[-1].teachers == {
        name: f"teacher {name}".removesuffix(" teacher")
        for name in ("asked", "file", "teacher", "wide")
    }


def test_a_teacher_more_changes_no_recording_of_another(folder: Path) -> None:
    alone = plan(folder, RECIPE.replace("distill: {}", "distill: {cache: {}}")).steps
    beside = several(folder, "{cache: {}, teachers: confidence}").steps
    assert alone["record teacher"] == beside["record teacher"]


@pytest.mark.parametrize(
    ("settings", "learnt", "recorded"),
    [
        ("teachers: {teacher: 1, wide: 0, file: 1, asked: 0}", "file teacher", "file teacher"),
        (
            "teachers: {teacher: 0, wide: 0, file: 0, asked: 1}, "
            'losses: [kd, {hint: {student: a, teacher: "wide:b"}}]',
            "asked wide",
            "asked wide",
        ),
        ('losses: [ce, {hint: {student: a, teacher: "wide:b"}}]', "wide", "wide"),
        ("losses: [ce]", "", ""),
    ],
)
def test_only_who_is_heard_or_read_is_asked(
    folder: Path, settings: str, learnt: str, recorded: str
) -> None:
    made = several(folder, f"{{cache: {{}}, {settings}}}")
    student = made.steps["student"]
    assert list(student.config.teachers) == learnt.split()
    assert list(student.inputs["recordings"]) == recorded.split()
    # Nobody trains the others, but what gates refer to is there.
    assert ("teacher wide" in made.steps) == ("wide" in learnt)
    assert "ask teacher" in made.steps


def test_of_a_teacher_without_a_voice_its_layers_alone_are_kept(folder: Path) -> None:
    """Under their own names, so that another name for the teacher changes nothing."""
    losses = 'losses: [kd, {hint: {student: a, teacher: "wide:b"}}]'
    weights = "teachers: {teacher: 1, wide: 0, file: 0, asked: 0}"
    steps = several(folder, f"{{cache: {{}}, {weights}, {losses}}}").steps
    own, other = (steps[f"record {role}"].config for role in ("teacher", "teacher wide"))
    assert (own.prediction, own.layers) == (True, ())
    assert (other.prediction, other.layers) == (False, (Tap("b"),))


def test_a_student_made_from_a_teacher_without_a_voice_gets_its_weights(folder: Path) -> None:
    text = RECIPE.replace("distill: {}\n", f"{SEVERAL}distill: {{teachers: WEIGHTS}}\n")
    text = text.replace("WEIGHTS", "{teacher: 0, wide: 1, file: 0, asked: 0}")
    made = plan(folder, text.replace('{model: "model.py:student"}', "{from: teacher}"))
    assert list(made.steps["student"].inputs["teachers"]) == ["wide"]
    assert made.steps["student"].inputs["origin"] == Ref("teacher")


def test_a_function_is_asked_and_never_compiled(folder: Path) -> None:
    old = 'teacher: {model: "model.py:teacher", files: [plugin.py], train: {}}'
    new = 'teacher: {function: "metric.py:score", files: [plugin.py]}'
    made = plan(folder, RECIPE.replace(old, new) + "targets: [onnxruntime]\n")
    assert "export teacher" not in made.steps
    asked = made.steps["ask teacher"]
    assert (asked.kind, asked.code, asked.after) == ("ask", ("metric.py:score",), ("check",))
    assert list(asked.inputs) == ["dataset"]
    assert list(made.steps["evaluate onnx"].inputs["candidates"]) == ["fp32"]
    assert made.targets[0].baseline is None
    using = {name for name, step in made.steps.items() if folder / "plugin.py" in step.files}
    assert using == {"check", "ask teacher", "student"}
    hops = {hop.name: hop.parent for hop in made.hops}
    assert hops["teacher"] is None and hops["student torch"] == "teacher"
    assert "teacher onnx" not in hops
