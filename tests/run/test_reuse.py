"""What is computed again after a change: exactly what depends on it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import pytest

from edgestill.api.opening import open_store
from edgestill.console import Console
from edgestill.errors import DataError, ExitCode, ModelError
from edgestill.planner import make_plan
from edgestill.recipe import load_recipe
from edgestill.report import terminal
from edgestill.runner import Runner
from edgestill.store import Key
from edgestill.store.disk import unseal
from edgestill.store.key import differences

if TYPE_CHECKING:
    from conftest import Project

    from edgestill.report.model import Report

Computed = Callable[["Report"], set[str]]

OF_TEACHER = {"teacher", "ask teacher", "export teacher", "compile onnxruntime teacher"}
OF_STUDENT = {"student", "ask student", "export student", "quantize cpu"} | {
    "compile onnxruntime fp32",
    "compile onnxruntime int8",
}
OF_BOTH = {"evaluate onnx", "evaluate onnxruntime", "measure onnxruntime"}
EVERYTHING = {"data", "check", *OF_TEACHER, *OF_STUDENT, *OF_BOTH}


def test_a_first_run_computes_every_step(finished: tuple[Project, Report], steps: Computed) -> None:
    assert steps(finished[1]) == EVERYTHING


@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("compile", "targets/onnxruntime.py"),
        ("evaluate", "targets/onnxruntime.py"),
        ("train", "train/losses/logits.py"),
        ("distill", "train/losses/logits.py"),
    ],
)
def test_keys_have_the_code_that_only_a_table_names(
    finished: tuple[Project, Report], stage: str, file: str
) -> None:
    records = [unseal(path) for path in finished[0].store.glob("objects/*/*/manifest.json")]
    keyed = [record["parts"]["stage"] for record in records if record["stage"] == stage]
    assert keyed
    assert all(file in code for code in keyed)


def test_a_plan_names_what_a_first_run_does_and_says_what_is_measured(
    finished: tuple[Project, Report], project: Project, steps: Computed
) -> None:
    states = project.states()
    assert states.keys() == steps(finished[1]) and set(states.values()) == {"hit"}
    longer = project.states("measure.rounds=13")
    assert {name for name, state in longer.items() if state == "miss"} == {"measure onnxruntime"}
    reasons = project.reasons("measure onnxruntime", "measure.rounds=13")
    assert reasons == ("no complete measurement of these engines here",)
    both = project.states("gates.throughput={at_least: 1/s, batch: 4}")
    measured = {name: state for name, state in both.items() if name.startswith("measure")}
    assert measured == {"measure onnxruntime": "hit", "measure onnxruntime batch 4": "miss"}
    changed = project.states("distill.epochs=4")
    assert changed["student"] == "miss" and changed["measure onnxruntime"] == "unknown"
    assert project.reasons("measure onnxruntime", "distill.epochs=4") == ("until student",)


def test_a_plan_looks_at_damage_and_a_run_mends_it(project: Project, steps: Computed) -> None:
    weights = max(
        project.store.glob("objects/*/*/result/weights.safetensors"),
        key=lambda file: file.stat().st_size,
    )
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1])
    (fact, *_) = project.store.glob("facts/*/*.json")
    fact.write_bytes(fact.read_bytes()[:-1])
    states = project.states()
    assert (states["teacher"], states["student"]) == ("damaged", "unknown")
    words = "weights.safetensors was changed: the stored result will be rebuilt"
    assert project.reasons("teacher") == (words,)
    assert weights.exists() and fact.exists() and not list(project.store.glob("damaged/*"))
    assert "teacher" in steps(project.run())
    assert list(project.store.glob("damaged/*"))
    assert project.states()["teacher"] == "hit"


def test_nothing_changed_computes_nothing(project: Project, steps: Computed) -> None:
    report = project.run()
    assert steps(report) == set()
    assert {step.name for step in report.steps} == EVERYTHING
    # What is reused says what it took when it was done: the measurement too.
    (measured,) = (step for step in report.steps if step.name == "measure onnxruntime")
    assert measured.seconds > 0.1


def test_what_the_data_step_remarked_is_told_again_by_a_run_that_computes_nothing(
    project: Project, steps: Computed
) -> None:
    leak = (
        "data.source={train: data.npz, test: data.npz}",
        "data.split={train: 0.6, calibration: 0.2, validation: 0.2}",
        "student.train={epochs: 1}",
        "teacher=null",
        "distill=null",
        "quantize=null",
        "targets=null",
        "gates=null",
    )
    first, second = project.run(*leak), project.run(*leak)
    assert "data" in steps(first) and steps(second) == set()
    assert second.notes == first.notes
    (note,) = [note for note in second.notes if "flatter" in note]
    words = r"Data: \d+ of 400 samples of test are in train too: scores on test will flatter\."
    assert re.fullmatch(words, note)
    assert note in terminal.render(second, width=120)
    assert note in (project.release / "report.md").read_text("utf-8")


@pytest.mark.parametrize("role", ["test", "calibration"])
def test_a_changed_label_of_samples_that_are_only_fed_trains_nothing(
    project: Project, finished: tuple[Project, Report], steps: Computed, role: str
) -> None:
    if role == "test":
        sample = numpy.load(project.release / "evaluation" / "inputs" / "image.npy")[0]
    else:
        (split,) = project.store.glob("objects/*/*/result/calibration/inputs/image.npy")
        sample = numpy.load(split)[0]
    with project.arrays() as arrays:
        (row,) = numpy.flatnonzero((arrays["image"] == sample).all(axis=(1, 2, 3)))
        arrays["label"][row] = (arrays["label"][row] + 1) % 3
    report = project.run()
    assert steps(report) == {"data"}
    before = {hop.name: hop.score for hop in finished[1].hops}
    after = {hop.name: hop.score for hop in report.hops}
    # The label of a sample that the teacher had right: it is one of 132 less.
    assert (after["teacher torch"] < before["teacher torch"]) == (role == "test")


def test_a_changed_label_in_train_trains_both_models_again(project: Project) -> None:
    (split,) = project.store.glob("objects/*/*/result/train/inputs/image.npy")
    sample = numpy.load(split)[0]
    with project.arrays() as arrays:
        (row,) = numpy.flatnonzero((arrays["image"] == sample).all(axis=(1, 2, 3)))
        arrays["label"][row] = (arrays["label"][row] + 1) % 3
    assert project.states()["data"] == "miss"
    assert project.reasons("data")[0].startswith("files[data.npz]: ")
    project.run("gates=null", "targets=null", "quantize=null")
    states = project.states()
    assert states["data"] == states["teacher"] == states["student"] == "hit"


def test_a_changed_loss_weight_trains_the_student_alone(project: Project, steps: Computed) -> None:
    project.replace("recipe.yaml", "{kd: {weight: 0.9}}", "{kd: {weight: 0.5}}")
    assert project.reasons("student") == ("config.distill.losses[1].weight: 0.9 -> 0.5",)
    report = project.run()
    assert steps(report) == {"check", *OF_STUDENT, *OF_BOTH}


def test_a_changed_line_of_the_model_file_trains_both_again(
    project: Project, steps: Computed
) -> None:
    project.replace("model.py", "return net(4)", "return net(5)")
    (reason,) = project.reasons("teacher")
    assert reason.startswith("code[model.py:teacher].files[model.py]: ")
    # The teacher's lines are in that file too. It comes out as it was, and so do its ONNX bytes.
    assert steps(project.run()) == EVERYTHING - {"data", "compile onnxruntime teacher"}


def test_a_result_that_comes_out_the_same_lets_what_follows_be(
    project: Project, steps: Computed
) -> None:
    # All 40 calibration samples are used either way.
    report = project.run("quantize.samples=200")
    assert steps(report) == {"quantize cpu"}


def test_another_version_of_a_library_repeats_the_steps_that_use_it(
    project: Project, tmp_path: Path
) -> None:
    metadata = tmp_path / "newer" / "nncf-99.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: nncf\nVersion: 99.0\n", "utf-8"
    )
    call = [sys.executable, "-m", "edgestill", "plan", str(project.recipe), "--explain"]
    done = subprocess.run(
        [*call, "--store", str(project.store)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "newer"), *sys.path])},
    )
    states = {line[9:37].strip(): line for line in done.stdout.splitlines()}
    assert states["quantize cpu"].startswith("miss")
    assert states["quantize cpu"].endswith("-> 99.0")
    # What comes after it depends on whether its result comes out the same.
    unknown = {name for name, line in states.items() if line.startswith("unknown")}
    assert unknown == {"compile onnxruntime int8", *OF_BOTH}
    assert sum(line.startswith("hit") for line in states.values()) == len(EVERYTHING) - 5


def test_blocks_are_measured_again_only_when_asked_for(project: Project, steps: Computed) -> None:
    assert steps(project.run("gates.latency.at_most=2 s")) == set()
    assert steps(project.run(fresh=True)) == {"measure onnxruntime"}


def test_what_was_left_undecided_goes_on_where_it_stopped(
    project: Project, steps: Computed
) -> None:
    few = "measure={rounds: 3, decide_within: 0 s}"  # carries no interval: the gate stays open
    first = project.run(few)
    assert first.exit_code is ExitCode.INCONCLUSIVE
    second = project.run(few)
    assert steps(second) == {"measure onnxruntime"}
    assert (blocks(first), blocks(second)) == (3, 12)
    assert second.exit_code is ExitCode.PASSED
    assert steps(project.run(few)) == set()


def test_a_stopped_series_is_decided_again_as_it_was(project: Project, steps: Computed) -> None:
    one_look = "measure.decide_within=0 s"
    tight = project.run(one_look, "gates.latency.at_most=1 ns")
    assert (tight.exit_code, steps(tight)) == (ExitCode.GATE_FAILED, set())
    assert project.run(one_look, "gates.latency.at_most=1 ns").gates == tight.gates


def blocks(report: Report) -> int:
    (latency,) = {c.latency.blocks for c in report.targets[0].candidates if c.latency}
    return latency


def test_inputs_in_another_order_are_other_inputs(project: Project, steps: Computed) -> None:
    with project.arrays() as arrays:
        arrays["first"], arrays["second"] = arrays["image"][:, 0, 0], arrays["image"][:, 0, 5]
    two = "from torch import nn\n\n\nclass Two(nn.Module):\n    def __init__(self):\n"
    two += "        super().__init__()\n        self.head = nn.Linear(8, 3)\n\n"
    two += "    def forward(self, *inputs):\n        return self.head(inputs[0] - 2 * inputs[1])\n"
    (project.folder / "two.py").write_text(two, "utf-8")
    started = (
        "teacher=null",
        "distill=null",
        "student={model: 'two.py:Two', pretrained: true}",
        "targets=null",
        "quantize=null",
        "gates=null",
    )
    before = project.run(*started, "data.inputs=[first, second]")
    after = project.run(*started, "data.inputs=[second, first]")
    assert {"ask student", "export student"} <= steps(after)
    assert before.hops[0].score != after.hops[0].score


def test_hidden_files_in_a_folder_of_images_are_in_no_key(new_project: Project) -> None:
    for name in ("cat/0.png", "dog/0.png"):
        (new_project.folder / "images" / name).parent.mkdir(parents=True)
        (new_project.folder / "images" / name).write_text(name)
    before = new_project.key("data", "data.source=images")
    for name in ("cat/.DS_Store", "Thumbs.db", ".ipynb_checkpoints/0-checkpoint.png"):
        (new_project.folder / "images" / name).parent.mkdir(exist_ok=True)
        (new_project.folder / "images" / name).touch()
    assert new_project.key("data", "data.source=images") == before
    (new_project.folder / "images" / "dog" / "1.png").touch()
    after = new_project.key("data", "data.source=images")
    assert [line.partition(":")[0] for line in differences(before, after)] == ["files.images"]


def test_a_shard_more_is_in_the_key(new_project: Project) -> None:
    for name in ("train-0.csv", "train-1.csv"):
        (new_project.folder / name).write_text("a,label\n1,0\n")
    before = new_project.key("data", "data.source=train-*.csv")
    assert list(before.parts["files"]) == ["train-0.csv", "train-1.csv"]
    (new_project.folder / "train-2.csv").write_text("a,label\n2,1\n")
    (line,) = differences(before, new_project.key("data", "data.source=train-*.csv"))
    assert line.startswith("files[train-2.csv]: (none) -> ")


def test_code_that_is_found_through_a_changed_path_has_to_be_declared(project: Project) -> None:
    (project.folder.parent / "beside").mkdir()
    (project.folder.parent / "beside" / "wide_parts.py").write_text("WIDTH = 4\n", "utf-8")
    hack = "import sys\nsys.path.append(__file__.rpartition('project')[0] + 'beside')\n"
    project.replace(
        "model.py", "from torch import nn", f"{hack}import wide_parts\nfrom torch import nn"
    )
    with pytest.raises(ModelError, match=r"it imports .*wide_parts\.py .* files: \["):
        project.run()


def test_code_that_no_statement_names_has_to_be_declared(project: Project) -> None:
    (project.folder / "widths.py").write_text("STUDENT = 4\n", "utf-8")
    named = 'getattr(__import__("importlib"), "import_" + "module")("wid" + "ths").STUDENT'
    project.replace("model.py", "return net(4)", f"return net({named})")
    with pytest.raises(ModelError, match=r"imports widths\.py by a .* files: \[widths\.py\]"):
        project.run()
    declared = "student.files=[widths.py]"
    assert project.run(declared).exit_code == 0
    (project.folder / "widths.py").write_text("STUDENT = 5\n", "utf-8")
    assert project.states(declared)["student"] == "miss"


def test_the_index_of_imports_saves_time_and_decides_nothing(project: Project) -> None:
    index = project.store / "imports.json"
    assert index.is_file()
    for content in (b"", b"{}", index.read_bytes()[:-10], index.read_bytes().replace(b"a", b"b")):
        index.write_bytes(content)
        assert set(project.states().values()) == {"hit"}


def test_a_file_that_changes_while_it_is_read_gives_no_result(project: Project) -> None:
    (project.folder / "load.py").write_text(
        "import numpy\nfrom pathlib import Path\n\n\ndef load():\n"
        "    file = Path(__file__).with_name('data.npz')\n"
        "    arrays = dict(numpy.load(file))\n"
        "    numpy.savez(file, **{**arrays, 'label': arrays['label'][::-1]})\n"
        "    return {'image': arrays['image'], 'labels': arrays['label']}\n",
        "utf-8",
    )
    source = ("data.source=load.py:load", "data.files=[data.npz]")
    with pytest.raises(DataError) as raised:
        project.run(*source)
    assert str(raised.value) == (
        "data: data.npz changed while it was read. Run it again when nothing writes to it any more"
    )
    assert project.states(*source)["data"] == "miss"


def key(project: Project, step: str, *overrides: str) -> Key:
    plan = make_plan(load_recipe(str(project.recipe), overrides))
    runner = Runner(plan, open_store(project.store, Console()), Console(), Path(os.devnull))
    runner.prospects()
    return runner.key(plan.steps[step])


@pytest.mark.parametrize(
    ("target", "bound"),
    [
        ("{target: tensorrt, precision: fp32}", True),
        ("{target: tensorrt-rtx, precision: fp32}", True),
        ("{target: tensorrt-rtx, precision: fp32, compute_capability: [8.6]}", False),
        ("{target: openvino, precision: fp32}", False),
    ],
)
def test_an_engine_for_this_gpu_is_not_taken_for_one_for_another(
    project: Project, cuda_driver: Callable[..., Any], target: str, bound: bool
) -> None:
    name = f"compile {target[9:].partition(',')[0]} fp32"
    keys = set()
    for gpu in ("NVIDIA A2", "NVIDIA A10"):
        cuda_driver((gpu,))
        found = key(project, name, f"targets=[{target}]", "quantize=null")
        assert ("gpu" in found.parts) == bound
        keys.add(found.digest)
    assert len(keys) == (2 if bound else 1)


def test_a_training_on_a_gpu_is_another_than_one_on_the_cpu(
    project: Project,
    cuda_driver: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "torch-2.13.0.dist-info").mkdir()
    metadata = "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0\n"
    (tmp_path / "torch-2.13.0.dist-info" / "METADATA").write_text(metadata, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    cuda_driver()
    assert "gpu.name: (none) -> NVIDIA L4" in project.reasons("teacher")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert not [reason for reason in project.reasons("teacher") if reason.startswith("gpu")]
