"""A run from a recipe to a release: what it writes, what it decides, and how it ends."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import numpy
import pytest

import edgestill
from edgestill.errors import DataError, DeviceError, ExitCode, ModelError, UsageError
from edgestill.release import open_release, read_manifest
from edgestill.report.model import read_report
from edgestill.targets import get_target
from edgestill.targets.fingerprint import Fingerprint
from edgestill.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Project

    from edgestill.report.model import Report


def verdicts(report: Report) -> dict[str, Verdict]:
    return {f"{gate.gate} on {gate.target}": gate.verdict for gate in report.gates}


def put_student_beside(project: Project) -> None:
    """Write the weights of its student, the smaller model, to `weights.safetensors`."""
    found = project.store.glob("objects/*/*/result/weights.safetensors")
    weights = min(found, key=lambda file: file.stat().st_size)
    (project.folder / "weights.safetensors").write_bytes(weights.read_bytes())


def put_teacher_beside(project: Project) -> None:
    """Write the teacher's ONNX model, the largest, to `teacher.onnx`."""
    described = project.store.glob("objects/*/*/result/onnx.json")
    models = [file.with_name("model.onnx") for file in described]
    largest = max(models, key=lambda file: file.stat().st_size)
    (project.folder / "teacher.onnx").write_bytes(largest.read_bytes())


def test_the_release_holds_models_evidence_and_where_they_come_from(
    finished: tuple[Project, Report],
) -> None:
    project, report = finished
    files = set(read_manifest(project.release))
    assert files >= {"recipe.yaml", "release.json", "report.json", "model/model.onnx"}
    assert files >= {"report.md", "report.html"}
    for precision in ("fp32", "int8", "teacher"):
        assert f"targets/onnxruntime/{precision}/model.onnx" in files
    assert {"evaluation/inputs/image.npy", "evaluation/labels.npy"} <= files
    assert {"references/teacher/outputs/0.npy", "references/student/outputs/0.npy"} <= files
    assert not any(name.endswith((".safetensors", ".pt", ".pkl")) for name in files)
    assert read_report(project.release / "report.json") == report
    texts = [
        p.read_text("utf-8") for p in project.release.rglob("*") if p.suffix in (".json", ".md")
    ]
    assert not any(str(project.folder) in text for text in texts)


def test_every_hop_is_scored_and_has_the_one_it_was_made_from(
    finished: tuple[Project, Report],
) -> None:
    hops = {hop.name: hop for hop in finished[1].hops}
    assert {name: hop.parent for name, hop in hops.items()} == {
        "teacher torch": None,
        "teacher onnx": "teacher torch",
        "student torch": "teacher torch",
        "student onnx": "student torch",
        "int8 cpu onnx": "student onnx",
        "onnxruntime fp32": "student onnx",
        "onnxruntime int8": "int8 cpu onnx",
    }
    teacher, student = hops["teacher torch"], hops["student torch"]
    assert teacher.score is not None and student.score is not None and student.drop is not None
    assert student.drop.value == pytest.approx(teacher.score - student.score)
    # The same computation in two runtimes.
    assert hops["onnxruntime fp32"].agreement == 1.0
    assert hops["onnxruntime fp32"].largest_difference < 1e-4  # type: ignore[operator]


def test_figures_say_what_they_rest_on(finished: tuple[Project, Report]) -> None:
    (target,) = finished[1].targets
    assert target.baseline is not None
    for candidate in (*target.candidates, target.baseline):
        latency = candidate.latency
        assert latency is not None
        assert (latency.batch, latency.threads, latency.blocks) == (1, 1, 12)
        assert latency.calls >= 120
        p50 = latency.percentiles_ns["50"]
        assert p50.interval is not None
        assert 0 < p50.interval.low <= p50.value <= p50.interval.high
    # 120 to 458 calls carry a p95 and no p99.
    few = [c.latency for c in target.candidates if c.latency and c.latency.calls < 459]
    assert all("99" not in latency.percentiles_ns for latency in few)


@pytest.mark.parametrize(
    ("override", "gate", "verdict", "code"),
    [
        ("gates.latency.at_most=1 ns", "latency", Verdict.FAIL, ExitCode.GATE_FAILED),
        ("gates.size={at_most: 10 B}", "size", Verdict.FAIL, ExitCode.GATE_FAILED),
        ("gates.accuracy={at_least: 100%}", "accuracy", Verdict.FAIL, ExitCode.GATE_FAILED),
        ("measure.rounds=3", "latency", Verdict.INCONCLUSIVE, ExitCode.INCONCLUSIVE),
        ("gates.latency.percentile=99.9", "latency", Verdict.INCONCLUSIVE, ExitCode.INCONCLUSIVE),
    ],
)
def test_a_gate_gates(
    project: Project, override: str, gate: str, verdict: Verdict, code: ExitCode
) -> None:
    report = project.run(override, "measure.block=1 ms", "measure.decide_within=0 s")
    (shipped,) = report.targets[0].shipped
    assert verdicts(report)[f"{gate} on onnxruntime {shipped}"] is verdict
    assert report.exit_code is code
    # The release is there with its verdict: a failed one can be looked at, and is not served.
    assert read_report(project.release / "report.json").exit_code is code
    if verdict is Verdict.FAIL:
        with pytest.raises(UsageError, match="a gate of this release failed"):
            edgestill.load(project.release)
    edgestill.load(project.release, accept_failed=True).close()


def test_gates_under_a_load_are_decided_and_their_blocks_reused(project: Project) -> None:
    overrides = (
        "gates={throughput: {mode: offline, at_least: 1/s}, latency: {at_most: 10 s, rate: 300/s}}",
        "measure.block=1 ms",
    )
    report = project.run(*overrides)
    (target,) = report.targets
    (shipped,) = target.shipped
    found = verdicts(report)
    assert found[f"throughput on onnxruntime {shipped}"] is Verdict.PASS
    (candidate,) = [c for c in target.candidates if c.name == shipped]
    assert candidate.offline is not None
    assert candidate.offline.throughput.value > 1
    assert {trial.streams for trial in candidate.offline.trials} == {1}  # one thread, no more
    (paced,) = candidate.paced
    assert (paced.rate, paced.blocks) == (300.0, 12)
    assert target.baseline is not None and target.baseline.paced == ()
    if paced.overloaded is False:  # a machine that stood still for a while cannot tell
        assert found[f"latency on onnxruntime {shipped}"] is Verdict.PASS
        states = project.states(*overrides)
        measured = {name for name, state in states.items() if state == "hit"}
        assert {"measure onnxruntime offline", "measure onnxruntime at 300/s"} <= measured
    # The release carries its gates to the device.
    again = edgestill.verify_release(project.release)
    assert again.targets[0].candidates[-1].offline is not None


def test_a_failed_gate_outweighs_an_undecided_one(project: Project) -> None:
    few = "measure={rounds: 3, decide_within: 0 s}"
    report = project.run(few, "gates.size={at_most: 10 B}")
    assert report.exit_code is ExitCode.GATE_FAILED


def test_a_target_that_is_verified_elsewhere_is_built_and_never_passes(project: Project) -> None:
    rtx = "{target: tensorrt-rtx, precision: fp32, compute_capability: [8.6], verify: elsewhere}"
    report = project.run(f"targets=[onnxruntime, {rtx}]")
    assert verdicts(report)["all on tensorrt-rtx"] is Verdict.NOT_RUN
    assert report.exit_code is ExitCode.PASSED
    release = open_release(project.release)
    assert release.engine("targets/tensorrt-rtx/fp32").description.target == "tensorrt-rtx"
    # What was chosen by measurements says where; what the recipe said needs no place.
    places = {target.target: target.selected_on for target in release.description.targets}
    assert places == {"onnxruntime": Fingerprint.read().name, "tensorrt-rtx": None}


def test_int8_for_another_machine_ships_only_within_the_budget(project: Project) -> None:
    put_student_beside(project)
    metric = "def height(outputs, labels):\n    return float(outputs.mean())\n"
    (project.folder / "metric.py").write_text(metric, "utf-8")
    rtx = "{target: tensorrt-rtx, compute_capability: [8.6], verify: elsewhere}"
    common = (f"targets=[{rtx}]", "quantize.budget.accuracy_drop=0", "gates=null")
    lone = ("teacher=null", "distill=null", "student.weights=weights.safetensors")
    drops, shipped = {}, {}
    for better in ("bigger", "smaller"):
        metric = f"metric={{function: metric.py:height, better: {better}}}"
        (result,) = project.run(*common, *lone, metric).targets
        assert result.reasons["int8"].endswith("budget 0, as ONNX in ONNX Runtime")
        # The device's own choice rests on it too.
        (released,) = open_release(project.release).description.targets
        assert released.shipped == result.shipped
        assert set(released.drops) == {"int8"}
        drops[better], shipped[better] = released.drops["int8"].value, set(result.shipped)
    (asked,) = project.store.glob("objects/*/*/result/tensorrt")
    before, after = (
        numpy.load(asked.parent / name / "validation" / "outputs" / "0.npy").mean()
        for name in ("fp32", "tensorrt")
    )
    assert drops["bigger"] == pytest.approx(before - after)
    assert drops["smaller"] == -drops["bigger"] != 0
    # What is lost one way is gained the other way.
    lost = max(drops, key=lambda better: drops[better])
    assert shipped.pop(lost) == {"fp32", "fp16"}
    assert list(shipped.values()) == [{"fp32", "fp16", "int8"}]


def test_a_target_that_has_to_run_here_and_cannot_ends_before_any_work(
    new_project: Project,
) -> None:
    rtx = "{target: tensorrt-rtx, precision: fp32, compute_capability: [8.6]}"
    with pytest.raises(DeviceError, match=r"tensorrt-rtx cannot run here .* verify: elsewhere"):
        new_project.run(f"targets=[{rtx}]")
    assert not new_project.store.exists() or not list(new_project.store.glob("objects/*/*"))


@pytest.mark.parametrize("options", ["", ", max_batch: 4"])
def test_without_a_gpu_it_has_to_be_said_which_one_is_built_for(
    new_project: Project, options: str
) -> None:
    if get_target("tensorrt-rtx").probe().can_run:
        pytest.skip("there is a GPU")
    rtx = f"{{target: tensorrt-rtx, precision: fp32, verify: elsewhere{options}}}"
    with pytest.raises(UsageError) as raised:
        new_project.run(f"targets=[{rtx}]", "gates=null")
    assert str(raised.value) == (
        f"{new_project.recipe}: targets[0]: there is no GPU here that tensorrt-rtx could build "
        "for. Say which GPUs it is for, such as compute_capability: [8.6, 8.9]"
    )


def test_only_the_targets_that_are_asked_for(project: Project) -> None:
    both = "targets=[onnxruntime, openvino]"
    report = project.run(both, targets=("openvino",))
    assert [target.target for target in report.targets] == ["openvino"]
    words = r"recipe\.yaml: the recipe has no target 'openvin'\. Did you mean 'openvino'\?"
    with pytest.raises(UsageError, match=words):
        project.run(both, targets=("openvin",))


def test_a_recipe_may_start_with_a_trained_model_and_no_teacher(project: Project) -> None:
    put_student_beside(project)
    report = project.run(
        "teacher=null",
        "distill=null",
        "student.weights=weights.safetensors",
        "gates.accuracy={drop_vs: student, at_most: 90pp}",
    )
    assert [model.origin for model in report.models] == ["loaded"]
    assert report.targets[0].baseline is None
    assert report.exit_code is ExitCode.PASSED
    assert "The student came trained" in report.notes[0]


def test_a_recipe_may_start_with_an_onnx_file_and_leave_the_rest_out(project: Project) -> None:
    student = project.release / "model" / "model.onnx"
    (project.folder / "student.onnx").write_bytes(student.read_bytes())
    report = project.run(
        "teacher=null",
        "distill=null",
        "student={onnx: student.onnx}",
        "quantize=null",
        "gates={size: {at_most: 1 MB}}",
    )
    assert [model.origin for model in report.models] == ["adopted"]
    assert [candidate.name for candidate in report.targets[0].candidates] == ["fp32"]
    # It is the model of the run before, and answers as that did.
    scores = {hop.name: hop.score for hop in report.hops}
    assert scores["student onnx"] == scores["onnxruntime fp32"]
    assert report.exit_code is ExitCode.PASSED


def test_without_targets_the_release_holds_the_onnx_model(project: Project) -> None:
    report = project.run("targets=null", "quantize=null", "gates=null")
    assert report.verdict is Verdict.NOT_RUN
    assert report.exit_code is ExitCode.PASSED
    assert "model/model.onnx" in read_manifest(project.release)


def test_a_metric_of_the_users_own_chooses_and_gates(project: Project) -> None:
    metric = "def error(outputs, labels):\n    return float((outputs.argmax(1) != labels).mean())\n"
    (project.folder / "metric.py").write_text(metric, "utf-8")
    report = project.run(
        "metric={function: metric.py:error, better: smaller}",
        "gates={score: {drop_vs: teacher, at_most: 0.9}}",
        "quantize={budget: {accuracy_drop: 0.5}}",
    )
    (shipped,) = report.targets[0].shipped
    assert verdicts(report) == {f"score on onnxruntime {shipped}": Verdict.PASS}
    assert "code/metric.py" in read_manifest(project.release)
    scores = {hop.name: hop.score for hop in report.hops}
    labels = numpy.load(project.release / "evaluation" / "labels.npy")
    answers = numpy.load(project.release / "references" / "student" / "outputs" / "0.npy")
    assert scores["student onnx"] == pytest.approx((answers.argmax(1) != labels).mean())


def test_a_folder_that_is_no_release_is_refused_before_any_work(new_project: Project) -> None:
    new_project.release.mkdir()
    (new_project.release / "thesis.tex").write_text("years of work", "utf-8")
    with pytest.raises(UsageError, match="the output folder is not empty and not a release"):
        new_project.run()
    assert not list(new_project.store.glob("objects/*/*"))
    assert (new_project.release / "thesis.tex").read_text("utf-8") == "years of work"


def test_an_error_of_a_step_names_the_step_and_keeps_what_was_done(new_project: Project) -> None:
    with new_project.arrays() as arrays:
        arrays["image"] = arrays["image"].astype(numpy.float32)
        arrays["image"][7, 0, 0, 0] = numpy.nan
    with pytest.raises(DataError, match=r"data: .*image has NaN or Inf in 1 sample.* sample 7"):
        new_project.run()


def test_an_application_loads_the_shipped_engine(finished: tuple[Project, Report]) -> None:
    project, report = finished
    session = edgestill.load(project.release)
    images = numpy.load(project.release / "evaluation" / "inputs" / "image.npy")
    (name,) = [spec.name for spec in session.signature.inputs]
    logits = session.run({name: images[:5]})[session.signature.prediction]
    (shipped,) = report.targets[0].shipped
    answers = numpy.load(project.release / "references" / "student" / "outputs" / "0.npy")
    tolerance = 1e-4 if shipped == "fp32" else 1.0
    numpy.testing.assert_allclose(logits, answers[:5], atol=tolerance)
    (alone,) = session.run(images[:5]).values()
    numpy.testing.assert_array_equal(alone, logits)
    with pytest.raises(UsageError) as raised:
        session.run({name: images[:5].tolist()})
    assert str(raised.value) == (
        f"the input {name} is a list, not a numpy array. Give numpy.asarray(..., dtype='uint8')"
    )
    with pytest.raises(UsageError, match="the input image is a list, not a numpy array"):
        session.run(images[:5].tolist())
    session.close()
    session.close()
    with pytest.raises(UsageError, match="the session is closed"):
        session.run(images[:5])
    with edgestill.load(project.release) as again:
        (repeated,) = again.run(images[:5]).values()
    numpy.testing.assert_array_equal(repeated, logits)
    with pytest.raises(
        UsageError, match=r"the release has no target 'openvino'.*Its targets: onnxruntime"
    ):
        edgestill.load(project.release, "openvino")


def test_the_report_is_plain_json(finished: tuple[Project, Report]) -> None:
    content = json.loads((finished[0].release / "report.json").read_text("utf-8"))
    assert content["exit_code"] == 0
    assert content["device"]["cores"] >= 1
    assert content["versions"]["torch"].startswith("2.")
    assert all(step["seconds"] >= 0 for step in content["steps"])


def test_a_recipe_may_have_an_onnx_file_as_its_teacher(
    finished: tuple[Project, Report], project: Project, steps: Callable[[Report], set[str]]
) -> None:
    """It is asked before the first training, teaches, and is what the student is compared with."""
    exported = [
        file.parent / "model.onnx" for file in project.store.glob("objects/*/*/result/onnx.json")
    ]
    teacher = max(exported, key=lambda file: file.stat().st_size)
    (project.folder / "teacher.onnx").write_bytes(teacher.read_bytes())
    old = '{model: "model.py:teacher", normalize: {range: 255}, train: {epochs: 3, batch_size: 32}}'
    project.replace("recipe.yaml", old, "{onnx: teacher.onnx}")
    report = project.run()
    hops = {hop.name: hop for hop in report.hops}
    assert hops["student torch"].parent == "teacher onnx"
    assert hops["teacher onnx"].parent is None
    # As good as the one that the teacher taught in PyTorch.
    (other,) = [hop for hop in finished[1].hops if hop.name == "student torch"]
    assert hops["student torch"].score == pytest.approx(other.score, abs=0.05)
    assert {"record teacher", "student"} <= steps(project.run("distill.cache={}"))
    again = steps(project.run("distill.cache={}", "distill.epochs=2"))
    assert "student" in again and "record teacher" not in again


def test_a_student_learns_from_its_teacher_alone_where_train_has_no_labels(
    project: Project,
) -> None:
    put_teacher_beside(project)
    with numpy.load(project.folder / "data.npz") as archive:
        image, label = archive["image"], archive["label"]
    numpy.savez(project.folder / "train.npz", image=image[:250])
    for role, rows in (("validation", slice(250, 320)), ("test", slice(320, 400))):
        numpy.savez(project.folder / f"{role}.npz", image=image[rows], label=label[rows])
    sources = "{train: train.npz, validation: validation.npz, test: test.npz}"
    free = (
        f"data={{source: {sources}}}",
        "teacher={onnx: teacher.onnx}",
        "distill={epochs: 8, batch_size: 32}",
    )
    report = project.run(*free)
    (student,) = [hop for hop in report.hops if hop.name == "student torch"]
    assert student.score is not None and student.score > 0.8  # a third by chance
    history = next(
        file
        for file in project.store.glob("objects/*/*/result/log/history.jsonl")
        if len(file.read_text("utf-8").splitlines()) == 8
    )
    terms = [json.loads(line)["losses"] for line in history.read_text("utf-8").splitlines()]
    assert {tuple(term) for term in terms} == {("kd",)}
    with pytest.raises(ModelError) as error:
        project.run(*free, "distill.losses=[ce, kd]")
    assert str(error.value) == (
        "check: student: the loss ce reads labels, and the train split has none. Give train "
        "labels, or learn from a teacher alone, such as by kd, dist or mse"
    )


def test_a_run_that_fails_keeps_the_release_that_passed(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    assert project.run().exit_code == 0
    assert "which passed" not in capfd.readouterr().err
    assert project.run("gates.latency.at_most=1 ns").exit_code == 1
    passed = project.release.with_name("release.passed")
    told = f"the release before, which passed, is kept in {os.path.relpath(passed)}\n"
    assert told in capfd.readouterr().err
    assert read_report(project.release / "report.json").verdict is Verdict.FAIL
    assert read_report(passed / "report.json").verdict is Verdict.PASS
