"""Reading a recipe: defaults, spellings, overrides, presets."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgestill.errors import RecipeError, UsageError
from edgestill.metrics import METRICS
from edgestill.models.config import NormalizeConfig
from edgestill.recipe import FunctionMetric, Recipe, load_recipe, presets, recipe_text
from edgestill.recipe.draft import KEYS
from edgestill.recipe.load import presets_folder
from edgestill.recipe.tasks import DEFAULT_METRICS, LOSS_TASKS, METRIC_FACTS, TASKS
from edgestill.targets import TARGETS
from edgestill.train.config import TrainConfig
from edgestill.train.losses.config import LOSS_CONFIGS, CeLoss, KdLoss, MseLoss
from edgestill.verify.config import LatencyGate, ScoreGate, ThroughputGate

SHORTEST = "{name: demo, data: {source: sklearn.digits}, student: {model: model.py:net, train: {}}}"


def load(folder: Path, text: str, overrides: Sequence[str] = ()) -> Recipe:
    (folder / "model.py").write_text("def net(): ...\ndef score(outputs, labels): ...\n")
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(str(path), overrides)


def test_the_shortest_recipe_has_every_default(tmp_path: Path) -> None:
    recipe = load(tmp_path, SHORTEST)
    assert (recipe.name, recipe.seed, recipe.task) == ("demo", 0, "classification")
    assert 1 <= recipe.threads <= len(os.sched_getaffinity(0))
    assert recipe.metric == "accuracy"
    assert recipe.student is not None
    assert recipe.student.train == TrainConfig()
    assert (recipe.teacher, recipe.distill, recipe.quantize) == (None, None, None)
    assert (recipe.targets, recipe.gates) == ((), ())
    assert recipe.path == tmp_path / "recipe.yaml"
    assert recipe.base == tmp_path


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_each_task_has_a_metric(tmp_path: Path, task: str) -> None:
    expected = {"classification": "accuracy", "multilabel": "f1_micro", "regression": "mae"}
    assert load(tmp_path, SHORTEST, [f"task={task}"]).metric == expected[task]


def test_a_metric_of_ones_own(tmp_path: Path) -> None:
    own = "metric={function: model.py:score, better: smaller}"
    recipe = load(
        tmp_path,
        SHORTEST,
        [own, "task=custom", "targets=[onnxruntime]", "gates={score: {at_most: 3}}"],
    )
    assert recipe.metric == FunctionMetric("model.py:score", "smaller")
    assert recipe.gates == (("score", ScoreGate(at_most=3.0)),)


def test_losses_are_a_list_of_names_with_settings(tmp_path: Path) -> None:
    recipe = load(
        tmp_path,
        """
name: demo
data: {source: sklearn.digits}
teacher: {model: model.py:net, train: {}}
student: {model: model.py:net}
distill:
  losses:
    - ce
    - kd: {weight: 0.9, temperature: 2}
    - mse: {}
""",
    )
    assert recipe.distill is not None
    assert recipe.distill.losses == (CeLoss(), KdLoss(weight=0.9, temperature=2.0), MseLoss())


def test_a_gate_is_one_budget_or_a_list_of_them(tmp_path: Path) -> None:
    recipe = load(
        tmp_path,
        SHORTEST,
        [
            "targets=[onnxruntime]",
            "gates.accuracy={drop_vs: student, at_most: 1pp}",
            "gates.latency=[{at_most: 5 ms}, {at_most: 20 ms, batch: 8, percentile: 99},"
            " {at_most: 1 s, rate: 30/min}]",
            "gates.throughput={mode: offline, at_least: 9/s}",
        ],
    )
    assert recipe.gates == (
        ("accuracy", ScoreGate(drop_vs="student", at_most=0.01)),
        ("latency", LatencyGate(at_most=0.005)),
        ("latency", LatencyGate(at_most=0.02, percentile=99.0, batch=8)),
        ("latency", LatencyGate(at_most=1.0, rate=0.5)),
        ("throughput", ThroughputGate(at_least=9.0, mode="offline")),
    )


@pytest.mark.parametrize("name", list(TARGETS))
def test_auto_is_every_precision_and_int8_where_the_recipe_quantizes(
    tmp_path: Path, name: str
) -> None:
    known = TARGETS[name].precisions
    floats = tuple(precision for precision in known if precision != "int8")
    (target,) = load(tmp_path, SHORTEST, [f"targets=[{name}]"]).targets
    assert (target.target, target.auto, target.verify) == (name, True, "here")
    assert target.precisions == floats
    assert isinstance(target.options, TARGETS[name].options)
    (target,) = load(tmp_path, SHORTEST, [f"targets=[{name}]", "quantize={}"]).targets
    assert target.precisions == known


def test_precisions_keep_the_recipes_order(tmp_path: Path) -> None:
    overrides = ["quantize={}", "targets=[{target: openvino, precision: [int8, fp32]}]"]
    (target,) = load(tmp_path, SHORTEST, overrides).targets
    assert (target.precisions, target.auto) == (("int8", "fp32"), False)
    (target,) = load(tmp_path, SHORTEST, ["targets=[{target: openvino, precision: fp32}]"]).targets
    assert (target.precisions, target.auto) == (("fp32",), False)


def test_a_targets_own_options_stand_beside_its_name(tmp_path: Path) -> None:
    (target,) = load(
        tmp_path,
        SHORTEST,
        ["targets=[{target: tensorrt-rtx, compute_capability: [8.6, 8.9], verify: elsewhere}]"],
    ).targets
    assert target.verify == "elsewhere"
    assert [float(item) for item in target.options.compute_capability] == [8.6, 8.9]


@pytest.mark.parametrize(
    "student",
    [
        "{model: model.py:net, weights: net.safetensors}",
        "{model: model.py:net, pretrained: true}",
        "{model: model.py:net, train: {epochs: 1}}",
        "{onnx: net.onnx, normalize: {range: 255}}",
    ],
)
def test_a_recipe_may_start_later(tmp_path: Path, student: str) -> None:
    (tmp_path / "net.safetensors").touch()
    (tmp_path / "net.onnx").touch()
    assert load(tmp_path, SHORTEST, [f"student={student}"]).distill is None


def test_overrides_change_add_and_remove(tmp_path: Path) -> None:
    text = """
name: demo
data: {source: sklearn.digits}
student: {model: model.py:net, train: {epochs: 3}, arguments: {width: 8}}
quantize: {}
targets: [{target: onnxruntime, precision: [fp32, int8]}, openvino]
"""
    recipe = load(
        tmp_path,
        text,
        [
            "student.train.epochs=5",
            "student.train.learning_rate=1e-3",
            "student.arguments.width=16",
            "targets.0.precision=fp32",
            "export.batch=4",
            "quantize=null",
        ],
    )
    assert recipe.student is not None
    assert recipe.student.train == TrainConfig(epochs=5, learning_rate=1e-3)
    assert recipe.student.arguments == {"width": 16}
    assert recipe.targets[0].precisions == ("fp32",)
    assert recipe.export.batch == 4
    assert recipe.quantize is None


def test_an_override_replaces_a_value_with_its_problems(tmp_path: Path) -> None:
    text = SHORTEST.replace("train: {}", "train: {epochs: .nan}")
    with pytest.raises(RecipeError):
        load(tmp_path, text)
    recipe = load(tmp_path, text, ["student.train={epochs: 2}"])
    assert recipe.student is not None
    assert recipe.student.train == TrainConfig(epochs=2)


def test_a_recipe_is_frozen(tmp_path: Path) -> None:
    recipe = load(tmp_path, SHORTEST)
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.seed = 1  # type: ignore[misc]


def test_paths_of_a_preset_start_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_recipe("digits").base == tmp_path


@pytest.mark.parametrize("name", presets())
def test_presets_load(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.gates


def test_the_digits_preset_is_the_documented_one() -> None:
    recipe = load_recipe("digits")
    assert recipe.data.source == "sklearn.digits"
    assert recipe.teacher is not None
    assert recipe.teacher.model == "edgestill.models.digits:teacher"
    assert recipe.teacher.normalize is not None
    assert recipe.teacher.normalize.range == 16
    assert [(t.target, t.auto, t.verify) for t in recipe.targets] == [
        ("openvino", True, "here"),
        ("onnxruntime", True, "here"),
        ("tensorrt-rtx", False, "elsewhere"),
    ]
    assert [name for name, _ in recipe.gates] == ["accuracy", "latency", "speedup", "size"]


def test_a_file_goes_before_a_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    load(tmp_path, SHORTEST)
    (tmp_path / "recipe.yaml").rename(tmp_path / "digits")
    assert load_recipe("digits").name == "demo"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            "digit",
            "digit: no such file and no such preset. Did you mean digits? Presets: digits. "
            "edgestill init writes a recipe.",
        ),
        (
            "recipe.yml",
            "recipe.yml: no such file and no such preset. Did you mean recipe.yaml? "
            "Presets: digits. edgestill init writes a recipe.",
        ),
        (
            "nowhere/at/all",
            "nowhere/at/all: no such file and no such preset. Presets: digits. "
            "edgestill init writes a recipe.",
        ),
        (
            "",
            "'': a folder, not a recipe. Name a file in it, such as recipe.yaml.",
        ),
    ],
)
def test_what_is_neither_file_nor_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    load(tmp_path, SHORTEST)
    with pytest.raises(UsageError) as raised:
        load_recipe(wanted)
    assert str(raised.value) == message


def test_the_tables_of_tasks_agree_with_metrics_losses_and_recipe() -> None:
    assert {
        name: (facts.tasks, facts.bigger_is_better, facts.proportion)
        for name, facts in METRIC_FACTS.items()
    } == {
        name: (spec.tasks, spec.bigger_is_better, spec.unit == "pp")
        for name, spec in METRICS.items()
    }
    for task, metric in DEFAULT_METRICS.items():
        assert task in METRICS[metric].tasks
    assert set(LOSS_TASKS) == set(LOSS_CONFIGS)
    assert set(TASKS) == {*DEFAULT_METRICS, "custom"}
    assert {field.name for field in dataclasses.fields(Recipe)} == {*KEYS, "path", "base"}


def test_reading_a_recipe_loads_neither_numpy_nor_torch_and_is_quick() -> None:
    script = """
import sys, time
from edgestill.recipe import load_recipe
start = time.process_time()
load_recipe("digits")
print(time.process_time() - start, *({"numpy", "torch", "onnx"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    seconds, *loaded = done.stdout.split()
    assert loaded == []
    assert float(seconds) < 0.15


OVERRIDES = (
    "seed=7",
    "quantize=null",
    "targets=[{target: onnxruntime, precision: fp32}]",
    "gates.latency={percentile: 50, at_most: 5 ms}",
    "name='1e3'",
    "teacher.arguments={a: 'on', b: 1e3, c: '0o17', d: [true, 'null', 0.1]}",
)


@pytest.mark.parametrize("overrides", [(), OVERRIDES], ids=["as it is", "changed"])
def test_the_text_of_a_recipe_with_other_values_is_a_recipe_with_them(
    tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    preset = presets_folder() / "digits.yaml"
    text = recipe_text(preset, overrides)
    assert overrides or text == preset.read_text("utf-8")
    assert all(f"# --set {override}\n" in text for override in overrides)
    (tmp_path / "recipe.yaml").write_text(text, "utf-8")
    expected = load_recipe("digits", overrides)
    found = load_recipe(tmp_path / "recipe.yaml")
    assert dataclasses.replace(found, path=expected.path, base=expected.base) == expected


def test_a_student_from_its_teacher_has_what_the_teacher_has(tmp_path: Path) -> None:
    text = """
name: demo
data: {source: sklearn.digits}
teacher:
  model: model.py:net
  arguments: {size: 3}
  files: [model.py]
  weights: model.py
  normalize: {range: 16}
  output: logits
  classes: last
student: {from: teacher, depth: 0.5, width: 0.25}
distill: {}
"""
    recipe = load(tmp_path, text)
    teacher, student = recipe.teacher, recipe.student
    assert teacher is not None
    assert student is not None
    assert (student.from_, student.depth, student.width) == ("teacher", 0.5, 0.25)
    for name in ("model", "arguments", "files", "normalize", "output", "classes"):
        assert getattr(student, name) == getattr(teacher, name), name
    assert (student.weights, student.train, student.pretrained) == (None, None, False)
    written = ("normalize={range: 255}", "output=other", "classes=first")
    own = load(tmp_path, text, [f"student.{setting}" for setting in written]).student
    assert own is not None
    assert own.classes == "first"
    assert own.normalize == NormalizeConfig(255)
    assert own.output == "other"


def test_further_teachers_are_read_as_the_teacher_is_and_null_takes_one_out(tmp_path: Path) -> None:
    (tmp_path / "old.onnx").touch()
    written = [
        "student={model: model.py:net}",
        "teacher={function: model.py:net, files: [model.py]}",
        "teachers={wide: {model: model.py:net, train: {epochs: 3}}, old: {onnx: old.onnx}}",
        "distill={teachers: {teacher: 1, wide: 0.5, old: 0}}",
    ]
    recipe = load(tmp_path, SHORTEST, written)
    assert list(recipe.all_teachers) == ["teacher", "wide", "old"]
    assert recipe.teacher is not None and recipe.teacher.function == "model.py:net"
    wide, old = recipe.teachers.values()
    assert wide.train is not None and wide.train.epochs == 3
    assert old.onnx == "old.onnx"
    assert recipe.distill is not None
    assert recipe.distill.teachers == {"teacher": 1.0, "wide": 0.5, "old": 0.0}
    fewer = ["teachers.old=null", "distill.teachers.old=null"]
    assert list(load(tmp_path, SHORTEST, [*written, *fewer]).teachers) == ["wide"]
    word = load(tmp_path, SHORTEST, [*written, "distill.teachers=confidence"]).distill
    assert word is not None and word.teachers == "confidence"


def test_an_onnx_file_teaches_by_every_loss_that_reads_no_layer(tmp_path: Path) -> None:
    (tmp_path / "teacher.onnx").touch()
    losses = "[ce, kd, dkd, dist, mse, relation, adversarial]"
    distilled = ["student={model: model.py:net}", f"distill={{losses: {losses}}}"]
    recipe = load(tmp_path, SHORTEST, ["teacher={onnx: teacher.onnx}", *distilled])
    assert recipe.distill is not None
    assert len(recipe.distill.losses) == 7
