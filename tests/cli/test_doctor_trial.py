"""Doctor with a recipe: the whole way is tried, in little time and without training."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgestill.api.doctor import Diagnosis, Finding, State, diagnose
from edgestill.api.doctor.miniature import SAMPLES, miniature, write_sample
from edgestill.api.plan import plan_recipe
from edgestill.api.run import run_recipe
from edgestill.artifact import Dataset, DatasetDescription, TensorSpec
from edgestill.cli import run
from edgestill.console import Console
from edgestill.errors import EdgestillError
from edgestill.planner import make_plan
from edgestill.planner.schemes import trainings
from edgestill.recipe import load_recipe
from edgestill.store import Store
from edgestill.targets.fingerprint import usable_cores

pytest.importorskip("torch", reason="pip install 'edgestill[build]'")
pytest.importorskip("openvino", reason="pip install 'edgestill[openvino]'")
pytest.importorskip("tensorrt_rtx", reason="pip install 'edgestill[tensorrt-rtx]'")

RECIPE = """\
name: small
threads: 1
data: {source: data.npz, split: {train: 0.4, calibration: 0.1, validation: 0.2, test: 0.3}}
student: {onnx: model.onnx}
targets:
  - onnxruntime
  - openvino
  - {target: tensorrt-rtx, precision: fp32, compute_capability: [8.6], verify: elsewhere}
measure: {rounds: 1, block: 2 ms}
gates: {latency: {percentile: 50, at_most: 1 s}}
"""

Node = tuple[str, list[str], str, dict[str, Any]]

# From x, [n, 3, 3] because determinants are of squares, to y, [n, 3].
LINEAR: list[Node] = [("Flatten", ["x"], "f", {}), ("MatMul", ["f", "w"], "y", {})]

IDENTITY: list[Node] = [("Identity", ["y"], "logits", {})]
DETERMINANT: list[Node] = [
    ("Det", ["x"], "d", {}),
    ("Unsqueeze", ["d", "axis"], "column", {}),
    ("Add", ["y", "column"], "logits", {}),
]
ROOT: list[Node] = [("Sqrt", ["y"], "logits", {})]
BATCH_MEAN: list[Node] = [
    ("ReduceMean", ["y", "batch"], "mean", {}),
    ("Sub", ["y", "mean"], "logits", {}),
]
NO_LAYER: list[Node] = [("ReduceMax", ["x", "axis"], "logits", {"keepdims": 0})]
LARGE: list[Node] = [("MatMul", ["y", "wide"], "z", {}), ("MatMul", ["z", "narrow"], "logits", {})]
TENSORS = {
    "w": np.random.default_rng(1).normal(size=(9, 3)).astype(np.float32),
    "axis": np.array([1]),
    "batch": np.array([0]),
    "wide": np.ones((3, 20_000), np.float32),
    "narrow": np.ones((20_000, 3), np.float32),
}


@dataclass(frozen=True)
class Project:
    """A recipe with a finished model, so that torch has nothing to do."""

    folder: Path

    def write(self, nodes: Sequence[Node], batch: int | str = "n") -> None:
        """The student: these nodes, after those that give y where they read it."""
        if any("y" in inputs for _, inputs, _, _ in nodes):
            nodes = [*LINEAR, *nodes]
        read = {name for _, inputs, _, _ in nodes for name in inputs}
        graph = helper.make_graph(
            [helper.make_node(kind, ins, [out], **more) for kind, ins, out, more in nodes],
            "graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 3])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 3])],
            [numpy_helper.from_array(TENSORS[name], name) for name in TENSORS if name in read],
        )
        domains = {more["domain"] for *_, more in nodes if "domain" in more}
        opsets = [helper.make_opsetid("", 20), *(helper.make_opsetid(d, 1) for d in domains)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        onnx.save(model, self.folder / "model.onnx")

    def diagnose(self, *overrides: str) -> Diagnosis:
        recipe = str(self.folder / "recipe.yaml")
        return diagnose(recipe, overrides=overrides, store=self.folder / "store")

    def exit_code_of_run(self, *overrides: str) -> int:
        try:
            return run_recipe(
                str(self.folder / "recipe.yaml"),
                overrides=overrides,
                store=self.folder / "store",
                out=self.folder / "release",
            ).exit_code
        except EdgestillError as error:
            return error.exit_code


@pytest.fixture
def project(tmp_path: Path) -> Project:
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(200, 3, 3)).astype(np.float32), np.arange(200) % 3
    np.savez(tmp_path / "data.npz", x=x, label=labels)
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    made = Project(tmp_path)
    made.write(IDENTITY)
    return made


def by_subject(diagnosis: Diagnosis) -> dict[str, Finding]:
    """What was found of the recipe's steps; one finding each."""
    subjects = [finding.subject for finding in diagnosis.findings]
    steps = diagnosis.findings[subjects.index("data") :]
    assert len({finding.subject for finding in steps}) == len(steps)
    return {finding.subject: finding for finding in steps}


def with_state(diagnosis: Diagnosis, state: State) -> dict[str, str]:
    found = by_subject(diagnosis).items()
    return {subject: finding.found for subject, finding in found if finding.state is state}


@dataclass(frozen=True)
class Tried:
    """What came of a call of doctor, and what it said meanwhile."""

    store: Path
    diagnosis: Diagnosis
    said: str


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Tried:
    """The preset."""
    store, said = tmp_path_factory.mktemp("digits") / "store", StringIO()
    return Tried(store, diagnose("digits", store=store, console=Console(said)), said.getvalue())


@pytest.mark.slow
@pytest.mark.xdist_group("doctor")  # they share what one call computed
def test_every_step_of_digits_is_tried_and_passes(digits: Tried) -> None:
    found = by_subject(digits.diagnosis)
    tried = {"metric", "measure openvino", "measure onnxruntime"}
    assert found.keys() == make_plan(load_recipe("digits")).steps.keys() | tried
    assert {subject: f.found for subject, f in found.items() if f.state is not State.OK} == {}
    assert found["data"].found.startswith("done in ")
    assert found["compile tensorrt-rtx int8"].found.startswith("tried in ")
    assert digits.diagnosis.exit_code == 0


def test_what_a_run_would_warn_of_is_a_warning_here(project: Project) -> None:
    many = usable_cores() + 1
    diagnosis = project.diagnose(
        f"threads={many}", "targets=[onnxruntime]", "gates.latency.rate=6/min"
    )
    assert diagnosis.exit_code == 0
    warnings = [finding for finding in diagnosis.findings if finding.subject == "recipe"]
    assert [(f.state, f.found.partition(": ")[0]) for f in warnings] == [
        (State.OK, "small"),
        (State.WARNING, "threads"),
        (State.WARNING, "gates.latency"),
    ]
    assert warnings[1].found.startswith(f"threads: {many} threads share ")
    assert warnings[1].fix.startswith("Write threads: ")


def test_a_crowd_of_threads_is_refused_and_not_tried(project: Project) -> None:
    crowd = 2 * usable_cores() + 1
    changes = (f"threads={crowd}", "targets=[onnxruntime]")
    diagnosis = project.diagnose(*changes)
    (problem,) = [f for f in diagnosis.findings if f.state is State.PROBLEM]
    assert f"recipe.yaml: threads: {crowd} threads are more than twice the " in problem.found
    tried = {f.subject for f in diagnosis.findings if f.found.startswith("tried in")}
    assert tried == set()
    assert diagnosis.exit_code == project.exit_code_of_run(*changes) == 3


@pytest.mark.slow
@pytest.mark.xdist_group("doctor")
def test_only_what_a_run_will_use_is_kept_and_spoken_of(digits: Tried) -> None:
    store = digits.store
    assert {entry.step for entry in Store(store, print).entries()} == {"data", "check"}
    assert [path for name in ("work", "facts", "damaged") for path in store.glob(f"{name}/*")] == []
    states = {p.name: p.state for p in plan_recipe("digits", store=store).steps}
    assert (states["data"], states["check"], states["teacher"]) == ("hit", "hit", "miss")
    assert re.findall(r"^  (.*?) +[\d.]+ s$", digits.said, re.MULTILINE) == ["data", "check"]


def test_a_training_in_miniature_is_one_small_step_with_the_same_losses() -> None:
    recipe = load_recipe("digits")
    small = miniature(recipe)
    assert recipe.teacher and recipe.teacher.train and recipe.distill
    assert small.teacher and small.teacher.train and small.distill
    for real, short in (
        (recipe.teacher.train, small.teacher.train),
        (recipe.distill, small.distill),
    ):
        assert (short.epochs, short.batch_size) == (1, SAMPLES)
        assert short.learning_rate < real.learning_rate / 100
    assert small.distill.losses == recipe.distill.losses
    assert small.targets == recipe.targets and small.quantize == recipe.quantize


def test_every_training_of_a_chain_in_miniature_is_one_small_step() -> None:
    chain = (
        "assistants=[{from: teacher}, {from: teacher, distill: {generations: 2, losses: [mse]}}]",
        "distill={stages: [{epochs: 9, learning_rate: 0.5}, {only: [head], losses: [kd]}]}",
    )
    recipe = load_recipe("digits", chain)
    whole, small = trainings(recipe), trainings(miniature(recipe))
    assert len(whole) == 6
    assert [x.name for x in small] == [x.name for x in whole]
    for real, short in zip(whole, small, strict=True):
        assert (short.distill.epochs, short.distill.batch_size) == (1, SAMPLES)
        assert short.distill.learning_rate < real.distill.learning_rate / 100
        assert short.distill.losses == real.distill.losses
        assert short.distill.only == real.distill.only


@pytest.mark.parametrize("count", [SAMPLES + 5, SAMPLES - 5])
def test_a_split_in_miniature_is_its_first_samples(tmp_path: Path, count: int) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    (whole / "inputs").mkdir(parents=True)
    out.mkdir()
    arrays = {
        "inputs/x.npy": np.arange(count * 2.0).reshape(count, 2),
        "labels.npy": np.arange(count),
    }
    for name, array in arrays.items():
        np.save(whole / name, array)
    (whole / "inputs" / "order.json").write_text("[]\n", encoding="utf-8")
    specs = (TensorSpec("x", "float64", (None, 2)),)
    description = DatasetDescription("test", count, "classification", specs, ("a", "b"))
    sample = write_sample(Dataset.seal(whole, description), out)
    assert sample.description == replace(description, count=min(count, SAMPLES))
    for name, array in arrays.items():
        np.testing.assert_array_equal(np.load(out / name), array[:SAMPLES])
    assert (out / "inputs" / "order.json").read_text("utf-8") == "[]\n"


@pytest.mark.slow
@pytest.mark.xdist_group("doctor")
def test_a_metric_that_needs_a_whole_split_is_given_one(digits: Tried, tmp_path: Path) -> None:
    """In the training too, whose few validation samples lack classes, nothing refuses them."""
    (tmp_path / "metric.py").write_text(
        "import numpy\n"
        "def score(outputs, labels):\n"
        "    if len(labels) < 150 or len(numpy.unique(labels)) < 10:\n"
        "        raise ValueError('too few')\n"
        "    return float((outputs.argmax(1) == labels).mean())\n",
        encoding="utf-8",
    )
    own = f'metric={{function: "{tmp_path}/metric.py:score", better: bigger}}'
    less = ["gates=null", "targets=null", "quantize=null", own]
    diagnosis = diagnose("digits", overrides=less, store=digits.store)
    found = by_subject(diagnosis)
    assert found["check"].found == "found in the store"
    assert found["student"].state is found["metric"].state is State.OK
    assert diagnosis.exit_code == 0


def test_an_operator_that_targets_refuse_hides_nothing_of_the_others(project: Project) -> None:
    project.write(DETERMINANT)
    diagnosis = project.diagnose()
    problems = with_state(diagnosis, State.PROBLEM)
    assert problems.keys() == {"compile openvino fp32", "compile tensorrt-rtx fp32"}
    assert "No conversion rule found for operations: Det" in problems["compile openvino fp32"]
    refused = "tensorrt-rtx cannot read the model: Det '': false"
    assert problems["compile tensorrt-rtx fp32"] == refused
    assert with_state(diagnosis, State.ABSENT) == dict.fromkeys(
        ("evaluate openvino", "measure openvino"), "not tried, since compile openvino fp32 failed"
    )
    assert with_state(diagnosis, State.OK).keys() >= {"evaluate onnxruntime", "measure onnxruntime"}
    assert diagnosis.exit_code == project.exit_code_of_run() == 2


def test_no_message_names_a_file_that_is_gone(project: Project) -> None:
    project.write([("Own", ["y"], "logits", {"domain": "my.ops"})])
    diagnosis = project.diagnose()
    (problem,) = with_state(diagnosis, State.PROBLEM).items()
    assert problem[0] == "export student"
    assert "Load model from model.onnx failed:Fatal error: my.ops:Own(-1)" in problem[1]
    assert gettempdir() not in problem[1]
    assert diagnosis.exit_code == project.exit_code_of_run() == 2


def test_int8_that_fails_leaves_the_float_model_to_be_tried(project: Project) -> None:
    project.write(NO_LAYER)
    changes = ("targets=[onnxruntime]", "quantize={}")
    diagnosis = project.diagnose(*changes)
    assert with_state(diagnosis, State.PROBLEM) == {
        "quantize cpu": "NNCF found no layer that can be quantized"
    }
    failed = "not tried, since quantize cpu failed"
    assert with_state(diagnosis, State.ABSENT) == {"compile onnxruntime int8": failed}
    passed = with_state(diagnosis, State.OK)
    assert passed["evaluate onnx"].endswith(" s, without cpu")
    assert passed["evaluate onnxruntime"].endswith(" s, without int8")
    assert "measure onnxruntime" in passed
    assert diagnosis.exit_code == project.exit_code_of_run(*changes) == 2


@pytest.mark.parametrize(
    ("nodes", "batch", "subject", "message", "code"),
    [
        (ROOT, "n", "evaluate onnx", "fp32/test: sample 1: the output logits has nan", 3),
        (
            BATCH_MEAN,
            "n",
            "measure onnxruntime",
            "fp32 failed: 3 of 3 answers at batch 1 were others than in the run that its accuracy "
            "was taken from",
            3,
        ),
        (IDENTITY, 2, "measure onnxruntime", "batch: fp32 takes 2 samples at a time, not 1", 2),
    ],
    ids=["not finite", "another answer alone", "another batch"],
)
def test_what_only_the_runtime_shows(
    project: Project, nodes: list[Node], batch: int | str, subject: str, message: str, code: int
) -> None:
    project.write(nodes, batch)
    diagnosis = project.diagnose("targets=[onnxruntime]")
    assert with_state(diagnosis, State.PROBLEM)[subject].startswith(message)
    assert "compile onnxruntime fp32" in with_state(diagnosis, State.OK)
    assert diagnosis.exit_code == project.exit_code_of_run("targets=[onnxruntime]") == code


@pytest.mark.parametrize(
    ("gate", "told"),
    [
        (
            "gates={throughput: {mode: offline, at_least: 1/s}}",
            "answers were others than expected",
        ),
        (
            "gates={latency: {rate: 6/min, at_most: 1 s, batch: 2}}",
            "fp32 failed: 4 of 4 answers at 6/min batch 2 were others than in the run",
        ),
    ],
    ids=["offline", "at a rate"],
)
def test_loads_are_tried_too(project: Project, gate: str, told: str) -> None:
    changes = ("targets=[onnxruntime]", gate)
    assert "measure onnxruntime" in with_state(project.diagnose(*changes), State.OK)
    # In batches of eight samples are answered as before, in others they are not.
    project.write(BATCH_MEAN)
    alike = ("measure.batch=8", "measure.rounds=1")
    found = with_state(project.diagnose(*changes, *alike), State.PROBLEM)
    assert told in found["measure onnxruntime"]


def test_what_the_split_remarked_is_a_warning_whenever_it_was_computed(project: Project) -> None:
    leak = "data.source={train: data.npz, test: data.npz}"
    shares = "data.split={train: 0.6, calibration: 0.2, validation: 0.2}"
    changes = (leak, shares, "targets=null", "gates=null")
    for how in ("done in ", "found in the store"):
        diagnosis = project.diagnose(*changes)
        told = [f for f in diagnosis.findings if f.subject == "data"]
        assert told[0].found.startswith(how)
        (remark,) = told[1:]
        assert remark.state is State.WARNING
        known = re.fullmatch(
            r"(\d+) of 200 samples of test are in train too: scores on test will flatter",
            remark.found,
        )
        assert known and 60 < int(known[1]) < 140
        assert diagnosis.exit_code == 0


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("outputs.argmax(1) == labels", "the metric returned an array of shape [37]"),
        ("outputs['logits']", "the metric raised IndexError: only integers, slices (`:`), "),
        ("float('nan')", "the metric returned nan"),
    ],
)
def test_a_metric_that_would_fail_after_the_training(
    project: Project, returned: str, message: str
) -> None:
    code = f"def score(outputs, labels):\n    return {returned}\n"
    (project.folder / "metric.py").write_text(code, encoding="utf-8")
    own = 'metric={function: "metric.py:score", better: bigger}'
    diagnosis = project.diagnose(own, "targets=null", "gates=null")
    (problem,) = with_state(diagnosis, State.PROBLEM).items()
    assert problem[0] == "metric"
    assert problem[1].startswith(f"student on validation: metric.py:score: {message}")
    assert diagnosis.exit_code == 2


def test_answers_that_the_metric_cannot_use(project: Project) -> None:
    """Of a model that came finished it sees none before the verdicts."""
    changes = ("targets=null", "gates=null", "metric=top5")
    diagnosis = project.diagnose(*changes)
    (problem,) = with_state(diagnosis, State.PROBLEM).items()
    assert problem[0] == "metric"
    assert problem[1] == "student on validation: top5 of 3 classes is always 1"
    assert diagnosis.exit_code == project.exit_code_of_run(*changes) == 2


def test_targets_that_cannot_be_used_here_are_told_once_and_not_tried(project: Project) -> None:
    from edgestill.targets import get_target

    if get_target("tensorrt-rtx").probe().can_run or get_target("tensorrt").probe().can_compile:
        pytest.skip("this machine has a GPU that TensorRT can use")
    rtx = "{target: tensorrt-rtx, precision: fp32}"
    diagnosis = project.diagnose(
        f"targets=[onnxruntime, {rtx}, {{target: tensorrt, verify: elsewhere}}]"
    )
    told = [f.subject for f in diagnosis.findings if f.state is State.PROBLEM]
    assert told == ["target tensorrt-rtx", "target tensorrt", "recipe"]
    absent = with_state(diagnosis, State.ABSENT)
    assert (
        absent["compile tensorrt-rtx fp32"]
        == absent["measure tensorrt-rtx"]
        == ("not tried, since there is no GPU here that tensorrt-rtx could build for")
    )
    assert absent["compile tensorrt fp16"] == (
        "not tried, since tensorrt cannot compile here (tensorrt is not installed)"
    )
    assert "measure onnxruntime" in with_state(diagnosis, State.OK)
    assert diagnosis.exit_code == 2


TORCH = '''
from torch import nn


class Two(nn.Module):
    """Two outputs."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(9, 6)

    def forward(self, x):
        y = self.layer(x.flatten(1))
        return {"classes": y[:, :3], "rest": y[:, 3:]}


def broken():
    raise RuntimeError("no such weights")


def score(outputs, labels):
    return float((outputs["classes"].argmax(1) == labels).mean() + outputs["rest"].min())
'''


def test_a_teacher_with_weights_several_outputs_and_hardly_any_samples(project: Project) -> None:
    from safetensors.numpy import save_file

    (project.folder / "net.py").write_text(TORCH, encoding="utf-8")
    weights = {
        "layer.weight": np.eye(6, 9, dtype=np.float32),
        "layer.bias": np.zeros(6, np.float32),
    }
    save_file(weights, project.folder / "teacher.safetensors")
    diagnosis = project.diagnose(
        "data.limit=24",
        'teacher={model: "net.py:Two", weights: teacher.safetensors, output: classes}',
        'student={model: "net.py:Two", output: classes}',
        "distill={batch_size: 2}",
        'metric={function: "net.py:score", better: bigger}',
        "targets=[onnxruntime]",
        "gates=null",
    )
    assert with_state(diagnosis, State.PROBLEM) == {}
    assert by_subject(diagnosis)["measure onnxruntime"].state is State.OK


def test_a_model_that_fails_its_check_does_not_stop_one_that_came_finished(
    project: Project,
) -> None:
    (project.folder / "net.py").write_text(TORCH, encoding="utf-8")
    models = ("teacher={onnx: model.onnx}", 'student={model: "net.py:broken", train: {}}')
    diagnosis = project.diagnose(*models, "targets=[onnxruntime]")
    (problem,) = with_state(diagnosis, State.PROBLEM).items()
    assert problem[0] == "check"
    assert problem[1].startswith("student: net.py:broken (net.py:")
    absent = with_state(diagnosis, State.ABSENT)
    assert set(absent.values()) == {"not tried, since check failed"}
    assert absent.keys() == {"student", "ask student", "export student", "compile onnxruntime fp32"}
    assert "measure onnxruntime" in with_state(diagnosis, State.OK)


def test_a_fault_of_ours_is_told_and_hides_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def faulty(*arguments: Any) -> None:
        raise TypeError("no such argument")

    monkeypatch.setattr("edgestill.compile.stage.compile", faulty)
    call = ["doctor", str(project.folder / "recipe.yaml"), f"--store={project.folder / 'store'}"]
    assert run([*call, "--debug", "--set=targets=[onnxruntime]"]) == 3
    told = capsys.readouterr()
    assert (
        "problem  compile onnxruntime fp32: internal error: TypeError: no such argument\n"
        "         This is a fault of edgestill. Run it again with --debug and report what it "
        "prints.\n"
        "absent   evaluate onnxruntime, measure onnxruntime: not tried, since compile onnxruntime "
        "fp32 failed\n"
    ) in told.out
    assert "Traceback" in told.err and "in faulty" in told.err


def started(project: Project, temporary: Path, before: str = "") -> subprocess.Popen[str]:
    """Doctor in a process whose temporary files go to a folder of their own."""
    temporary.mkdir()
    script = f"{before}\nfrom edgestill.cli import run\nraise SystemExit(run())"
    store = f"--store={project.folder / 'store'}"
    return subprocess.Popen(
        [sys.executable, "-c", script, "doctor", str(project.folder / "recipe.yaml"), store],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_killed_it_leaves_nothing_but_a_temporary_folder(project: Project, tmp_path: Path) -> None:
    before = {path.name for path in project.folder.iterdir()}
    temporary = tmp_path / "temporary"
    process = started(project, temporary)
    while not list(temporary.glob("edgestill-doctor-*/objects/*/*/result/model.onnx")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, output
    assert {path.name for path in project.folder.iterdir()} == before | {"store", "temporary"}
    store = Store(project.folder / "store", print)
    assert [entry.step for entry in store.entries()] == ["data"]
    assert not list(store.root.glob("work/*"))
    assert len(list(temporary.glob("edgestill-doctor-*"))) == 1
    # What it had found out is used, and its own folder goes.
    again = by_subject(project.diagnose("targets=null", "gates=null"))
    assert again["data"].found == "found in the store"


def test_a_full_temporary_folder_is_told_as_such(project: Project, tmp_path: Path) -> None:
    project.write(LARGE)
    process = started(
        project,
        tmp_path / "temporary",
        before="import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))",
    )
    output, _ = process.communicate(timeout=120)
    assert (
        f"problem  export student: {tmp_path / 'temporary'}: the store cannot be used: File too "
        "large\n         Free some space there, or name another folder in TMPDIR\n"
    ) in output
    assert process.returncode == 3
