"""A release on its device: verified, profiled and loaded without the training stack."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import onnx
import pytest
from onnx import numpy_helper

from edgestill.api.profile import profile_model
from edgestill.api.verify import verify_release
from edgestill.artifact import Engine, OnnxModel
from edgestill.cli import run
from edgestill.digest import digest_files
from edgestill.errors import DamagedRelease, DataError, DeviceError, ExitCode, UsageError
from edgestill.release import ReleaseWriter, writing
from edgestill.report.model import read_report
from edgestill.targets.onnxruntime import OnnxRuntime
from edgestill.verdict import Verdict

if TYPE_CHECKING:
    from conftest import Project

    from edgestill.report.model import Report

# A machine without what a device does not need: importing any of it is an error.
DEVICE = """
import sys
for name in ("torch", "onnx", "onnxscript", "nncf", "datasets", "sklearn", "accelerate", "scipy"):
    sys.modules[name] = None
from edgestill.cli import run
raise SystemExit(run(sys.argv[1:]))
"""


@pytest.fixture
def release(finished: tuple[Project, Report], tmp_path: Path) -> Path:
    """A copy of the finished release, somewhere else."""
    return Path(shutil.copytree(finished[0].release, tmp_path / "device" / "small"))


def change(release: Path, edit: Callable[[ReleaseWriter], None]) -> None:
    """Write the release again with something changed, sealed as if it had been built so."""
    with writing(release.with_name("changed")) as writer:
        shutil.copytree(release, writer.folder, dirs_exist_ok=True)
        (writer.folder / "manifest.json").unlink()
        edit(writer)
    shutil.rmtree(release)
    release.with_name("changed").rename(release)


def describe(release: Path, **values: object) -> None:
    """The release with other values in its description."""

    def edit(writer: ReleaseWriter) -> None:
        content = json.loads((writer.folder / "release.json").read_text("utf-8"))
        writer.add_text("release.json", json.dumps({**content, **values}))

    change(release, edit)


def test_a_device_needs_no_training_stack(release: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DEVICE, "verify", str(release)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("PASS")


def test_it_decides_again_and_writes_beside_the_release(
    release: Path, finished: tuple[Project, Report]
) -> None:
    before = digest_files(release)
    report = verify_release(release)
    assert digest_files(release) == before
    assert {path.name for path in release.parent.iterdir()} == {
        "small",
        "small.verify.html",
        "small.verify.json",
        "small.verify.md",
    }
    assert read_report(release.with_name("small.verify.json")) == report
    assert report.exit_code is ExitCode.PASSED
    # The runtime answers here as it did there.
    built = {hop.name: hop.score for hop in finished[1].hops}
    found = {hop.name: hop.score for hop in report.hops}
    assert found["onnxruntime fp32"] == built["onnxruntime fp32"]
    assert found["teacher (from the build)"] == built["teacher torch"]


def test_a_report_is_read_by_its_release_and_not_after_it_was_changed(
    release: Path, finished: tuple[Project, Report]
) -> None:
    import edgestill

    file = release / "report.json"
    for path in (release, str(release), file, str(file)):
        assert edgestill.read_report(path) == finished[1]
    file.write_text(file.read_text("utf-8").replace('"PASS"', '"FAIL"'), "utf-8")
    with pytest.raises(DamagedRelease, match=r"report\.json: the file was changed\. Fetch the rel"):
        edgestill.read_report(release)
    file.unlink()
    with pytest.raises(DamagedRelease, match=r"report\.json: the file is missing"):
        edgestill.read_report(str(release))
    with pytest.raises(UsageError, match=r"evaluation/report\.json: there is no report"):
        edgestill.read_report(release / "evaluation")


def test_gates_are_those_of_the_release(release: Path) -> None:
    describe(release, gates=[["latency", {"at_most": 1e-9, "percentile": 50, "batch": 1}]])
    report = verify_release(release)
    assert [gate.verdict for gate in report.gates] == [Verdict.FAIL]
    assert report.exit_code is ExitCode.GATE_FAILED


def test_a_changed_byte_is_refused_before_any_runtime_opens_a_file(release: Path) -> None:
    engine = release / "targets" / "onnxruntime" / "fp32" / "model.onnx"
    content = bytearray(engine.read_bytes())
    content[-1] ^= 1
    engine.write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "edgestill", "verify", str(release)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "targets/onnxruntime/fp32/model.onnx: the file was changed" in done.stderr
    assert "Traceback" not in done.stderr
    assert "onnxruntime.capi" not in done.stderr
    assert not release.with_name("small.verify.json").exists()


@pytest.mark.parametrize("verb", [verify_release, profile_model, pytest.param(None, id="load")])
def test_every_verb_refuses_a_damaged_release(
    release: Path, verb: Callable[[Path], object]
) -> None:
    import edgestill

    (release / "extra.bin").write_bytes(b"x")
    with pytest.raises(DamagedRelease, match=r"extra\.bin: the file is not in the manifest"):
        (verb or edgestill.load)(release)


def test_a_target_that_cannot_run_here_is_exit_3_and_never_a_pass(release: Path) -> None:
    def add_target(writer: ReleaseWriter) -> None:
        content = json.loads((writer.folder / "release.json").read_text("utf-8"))
        other = {**content["targets"][0], "target": "tensorrt-rtx"}
        content["targets"].append(other)
        writer.add_text("release.json", json.dumps(content))

    change(release, add_target)
    report = verify_release(release)
    assert report.exit_code is ExitCode.ENVIRONMENT
    (failure,) = report.failures
    assert failure.startswith("tensorrt-rtx cannot run here: ")
    assert failure.endswith(" --target onnxruntime verifies what can run here.")
    (skipped,) = [gate for gate in report.gates if gate.target == "tensorrt-rtx"]
    assert skipped.verdict is Verdict.NOT_RUN
    # What was built for another machine is not missed on this one.
    assert verify_release(release, targets=["onnxruntime"]).exit_code is ExitCode.PASSED


def test_a_named_target_has_to_run(release: Path) -> None:
    content = json.loads((release / "release.json").read_text("utf-8"))
    other = {**content["targets"][0], "target": "tensorrt-rtx", "verify": "elsewhere"}
    describe(release, targets=[*content["targets"], other])
    assert verify_release(release).exit_code is ExitCode.PASSED
    with pytest.raises(DeviceError, match="none of the release's targets can run here"):
        verify_release(release, targets=["tensorrt-rtx"])
    with pytest.raises(UsageError) as raised:
        verify_release(release, targets=["onxruntime"])
    assert str(raised.value) == (
        f"{release}: the release has no target 'onxruntime'. Did you mean 'onnxruntime'?"
    )


@pytest.mark.parametrize("verb", [verify_release, profile_model, pytest.param(None, id="load")])
def test_a_release_without_targets_has_nothing_to_run(
    release: Path, verb: Callable[[Path], object] | None
) -> None:
    import edgestill

    describe(release, targets=[])
    with pytest.raises(UsageError) as raised:
        (verb or edgestill.load)(release)
    assert str(raised.value) == (
        f"{release}: the release has no targets. "
        "Run its recipe again with targets, such as --set targets=[onnxruntime]"
    )


def test_the_device_says_when_it_would_choose_otherwise(release: Path) -> None:
    content = json.loads((release / "release.json").read_text("utf-8"))
    (target,) = content["targets"]
    (shipped,) = target["shipped"]
    other = "int8" if shipped == "fp32" else "fp32"
    describe(release, targets=[{**target, "shipped": [other]}])
    (result,) = verify_release(release).targets
    assert result.shipped == (other,)
    # A candidate that lost too much where it was built is not chosen here for its speed.
    drop = {"value": 0.9, "interval": None, "count": 80}
    where = {"drops": {"int8": drop}, "shipped": ["int8"], "selected_on": "Other Board, 4 cores"}
    describe(release, accuracy_drop=0.01, targets=[{**target, **where}])
    (result,) = verify_release(release).targets
    assert "loses 90.00pp" in result.reasons["int8"]
    assert result.would_choose == ("fp32",)
    assert (
        "On this device the choice would be fp32, and the release ships int8, chosen on Other "
        "Board, 4 cores." in release.with_name("small.verify.md").read_text("utf-8")
    )


def test_code_of_a_release_runs_only_when_allowed(release: Path) -> None:
    def add_metric(writer: ReleaseWriter) -> None:
        content = json.loads((writer.folder / "release.json").read_text("utf-8"))
        content["metric"] = {"function": "score.py:share", "better": "bigger"}
        content["gates"] = [["score", {"at_least": 0.1, "at_most": None, "drop_vs": None}]]
        content["accuracy_drop"] = None
        writer.add_text("release.json", json.dumps(content))
        body = (
            "def share(outputs, labels):\n    return float((outputs.argmax(1) == labels).mean())\n"
        )
        writer.add_text("code/score.py", f"open({str(release / 'ran')!r}, 'w').close()\n{body}")

    change(release, add_metric)
    withheld = verify_release(release)
    assert not (release / "ran").exists()
    (gate,) = withheld.gates
    assert gate.verdict is Verdict.NOT_RUN
    assert withheld.exit_code is ExitCode.INCONCLUSIVE
    assert "--allow-code" in gate.advice
    assert all(hop.score is None for hop in withheld.hops)
    allowed = verify_release(release, allow_code=True)
    assert (release / "ran").exists()
    assert [gate.verdict for gate in allowed.gates] == [Verdict.PASS]


@pytest.mark.parametrize(
    ("file", "edit", "described", "words"),
    [
        (
            "inputs/image.npy",
            lambda images: numpy.pad(images, ((0, 0), (0, 0), (0, 1), (0, 0))),
            {"shape": [None, 1, 9, 8]},
            "it has image uint8 [?, 1, 9, 8], and the model takes image uint8 [?, 1, 8, 8]",
        ),
        (
            "inputs/image.npy",
            lambda images: images.astype(numpy.float32),
            {"dtype": "float32"},
            "it has image float32 [?, 1, 8, 8], and the model takes image uint8 [?, 1, 8, 8]",
        ),
        (
            "inputs/image.npy",
            lambda images: images,
            {"name": "picture"},
            "it has picture uint8 [?, 1, 8, 8], and the model takes image uint8 [?, 1, 8, 8]",
        ),
        ("labels.npy", lambda labels: labels[:-5], {}, "it has 132 samples, and 127 labels"),
        (
            "labels.npy",
            lambda labels: numpy.where(labels == 2, 7, labels),
            {},
            "it has the label 7, and the model has 3 classes",
        ),
    ],
    ids=["shape", "type", "name", "count", "classes"],
)
def test_an_evaluation_set_that_does_not_belong_to_the_model_is_refused_first(
    release: Path, file: str, edit: Callable[[Any], Any], described: dict[str, Any], words: str
) -> None:
    def exchange(writer: ReleaseWriter) -> None:
        folder = writer.folder / "evaluation"
        numpy.save(folder / file, edit(numpy.load(folder / file)))
        content = json.loads((folder / "dataset.json").read_text("utf-8"))
        content["inputs"][0] |= described
        (folder / "dataset.json").write_text(json.dumps(content), "utf-8")

    change(release, exchange)
    with pytest.raises(DataError) as raised:
        verify_release(release)
    assert str(raised.value) == (
        f"{release / 'evaluation'}: the evaluation set does not belong to the model: {words}. "
        "Build the release again, with samples of the data that the model was made for"
    )


def test_a_file_that_an_evaluation_set_lacks_is_named(release: Path) -> None:
    change(release, lambda writer: (writer.folder / "evaluation" / "ids.npy").unlink())
    with pytest.raises(DataError, match=r"ids\.npy cannot be read \(FileNotFoundError: "):
        verify_release(release)


def test_answers_to_other_samples_are_no_reference(release: Path) -> None:
    def cut(writer: ReleaseWriter) -> None:
        file = writer.folder / "references" / "teacher" / "predictions.json"
        content = json.loads(file.read_text("utf-8"))
        file.write_text(json.dumps({**content, "count": 99}), "utf-8")

    change(release, cut)
    with pytest.raises(DataError, match=r"it has 132 samples, and 99 answers of the teacher\. Bui"):
        verify_release(release)


def negate(file: Path) -> None:
    """The same ONNX model with one weight of the opposite sign."""
    model = onnx.load(file)
    tensor = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(-array, tensor.name))
    onnx.save(model, file)


def test_an_engine_that_answers_otherwise_than_where_it_was_built_is_looked_into(
    release: Path,
) -> None:
    hops = {hop.name: hop for hop in verify_release(release).hops}
    assert not any(hop.departure or hop.unfound for hop in hops.values())
    change(release, lambda writer: negate(writer.folder / "targets/onnxruntime/fp32/model.onnx"))
    hops = {hop.name: hop for hop in verify_release(release).hops}
    # The model is right, and so is the runtime: it is the engine itself.
    why = "compiled here anew, the model answers as it should"
    assert (hops["onnxruntime fp32"].departure, hops["onnxruntime fp32"].unfound) == (None, why)
    assert (
        "Where onnxruntime fp32 departs from student (from the build) is not known: compiled here "
        "anew, the model answers as it should." in release.with_name("small.verify.md").read_text()
    )
    assert not hops["onnxruntime int8"].unfound


def test_an_int8_engine_is_compared_with_its_own_onnx_model(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime that gets a layer wrong on this device, and did not where it was built."""
    compile_right = OnnxRuntime.compile

    def compile_wrong(self: OnnxRuntime, model: OnnxModel, *given: Any) -> Engine:
        negate(model.model_path)
        return compile_right(self, model, *given)

    monkeypatch.setattr(OnnxRuntime, "compile", compile_wrong)
    change(release, lambda writer: negate(writer.folder / "targets/onnxruntime/int8/model.onnx"))
    hops = {hop.name: hop for hop in verify_release(release).hops}
    found = hops["onnxruntime int8"].departure
    assert found is not None and found.operator in ("Conv", "Gemm") and found.after > 0.3
    assert hops["onnxruntime fp32"].departure is None


def test_without_onnx_a_device_says_what_it_lacks(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(release, lambda writer: negate(writer.folder / "targets/onnxruntime/fp32/model.onnx"))
    monkeypatch.setitem(sys.modules, "onnx", None)
    hops = {hop.name: hop for hop in verify_release(release).hops}
    assert "onnx" in hops["onnxruntime fp32"].unfound
    assert "edgestill[build]" in hops["onnxruntime fp32"].unfound


def test_what_has_to_be_known_of_the_data_is_in_the_report_of_a_device_too(
    release: Path, finished: tuple[Project, Report]
) -> None:
    describe(release, notes=["Data: 3 of 80 samples of test are in train too."])
    assert verify_release(release).notes[0] == "Data: 3 of 80 samples of test are in train too."
    assert "3 of 80 samples of test" in release.with_name("small.verify.md").read_text("utf-8")


def test_a_profile_measures_all_engines_of_a_release_together(release: Path) -> None:
    profile = profile_model(release, rounds=12)
    assert set(profile.latencies) == {"teacher", "fp32", "int8"}
    assert {latency.blocks for latency in profile.latencies.values()} == {12}
    assert all(latency.mismatches == 0 for latency in profile.latencies.values())
    assert profile.notes[0] == "Fed: the evaluation set of the release."


def test_a_profile_without_one_of_the_engines_is_no_success(
    release: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def answer_at_random(writer: ReleaseWriter) -> None:
        file = writer.folder / "targets/onnxruntime/int8/model.onnx"
        model = onnx.load(file)
        output = model.graph.output[0].name
        (last,) = (node for node in model.graph.node if output in node.output)
        last.output[0] = "steady"
        model.graph.node.extend(
            [
                onnx.helper.make_node("RandomNormalLike", ["steady"], ["noise"], scale=100.0),
                onnx.helper.make_node("Add", ["steady", "noise"], [output]),
            ]
        )
        onnx.save(model, file)

    change(release, answer_at_random)
    profile = profile_model(release, rounds=1)
    assert set(profile.latencies) == {"teacher", "fp32"}
    (failure,) = profile.failures
    assert failure.startswith("int8 failed: ") and "were others than in the run" in failure
    assert run(["profile", str(release), "--rounds", "1"]) == ExitCode.ENVIRONMENT
    shown = capfd.readouterr().out
    assert "int8 failed: " in shown and "fp32" in shown


@pytest.mark.parametrize("place", ["targets/onnxruntime/int8", "model/model.onnx", "model"])
def test_a_profile_of_an_engine_or_an_onnx_file_feeds_random_numbers(
    release: Path, place: str
) -> None:
    profile = profile_model(release / place, rounds=2, batch=4)
    # A file is for any target: it is the first that runs here.
    assert profile.target == "onnxruntime"
    (latency,) = profile.latencies.values()
    assert (latency.batch, latency.blocks) == (4, 2)
    assert latency.throughput.interval is None  # two blocks carry none
    compiled = [note for note in profile.notes if note.startswith("Compiled in ")]
    assert len(compiled) == place.startswith("model")
    assert profile.notes[0] == "Fed: random numbers."


def test_a_profile_of_throughput_has_the_best_setting(release: Path) -> None:
    place = release / "targets" / "onnxruntime" / "int8"
    profile = profile_model(place, mode="offline", batch=4, threads=2, rounds=2)
    (found,) = profile.offline.values()
    assert (profile.latencies, profile.paced) == ({}, {})
    assert max(trial.batch for trial in found.trials) <= 4
    assert {trial.streams for trial in found.trials} == {1, 2}
    best = max(found.trials, key=lambda trial: trial.per_second)
    assert (found.batch, found.streams, found.threads) == (best.batch, best.streams, 2)


def test_a_profile_at_a_rate_counts_from_the_arrival(release: Path) -> None:
    place = release / "targets" / "onnxruntime" / "fp32"
    profile = profile_model(place, rate=1000, rounds=2)
    (found,) = profile.paced.values()
    assert (profile.latencies, profile.offline) == ({}, {})
    assert (found.rate, found.batch, found.blocks) == (1000, 1, 2)
    for estimate in found.percentiles_ns.values():
        assert estimate.value >= 0.9 * found.service_ns


@pytest.mark.parametrize(
    ("place", "target", "words"),
    [
        ("model/model.onnx", "onxruntime", "'onxruntime' is not a known.*Did you mean onnxruntime"),
        ("nowhere", None, "there is no such file or folder"),
        ("evaluation", None, "nothing that can be profiled"),
        ("", "openvino", "the release has no target 'openvino'.*Its targets: onnxruntime"),
        ("targets/onnxruntime/fp32", "openvino", "the engine is for onnxruntime, not for openv"),
    ],
)
def test_what_cannot_be_profiled_is_said(
    release: Path, place: str, target: str | None, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        profile_model(release / place, target=target, rounds=1)


def test_a_report_that_has_no_place_is_refused_before_measuring(release: Path) -> None:
    with pytest.raises(UsageError, match=r"a report in the release would be .*--out"):
        verify_release(release, out=release / "report")
    with pytest.raises(UsageError, match=r"the report cannot be written .*--out"):
        verify_release(release, out=release.with_name("none") / "report")


def test_the_name_of_an_onnx_input_is_no_path(release: Path) -> None:
    model = onnx.load(release / "model" / "model.onnx")
    for node in model.graph.node:
        node.input[:] = ["../../escaped" if name == "image" else name for name in node.input]
    model.graph.input[0].name = "../../escaped"
    onnx.save(model, release.parent / "named.onnx")
    profile = profile_model(release.parent / "named.onnx", target="onnxruntime", rounds=1)
    assert [latency.blocks for latency in profile.latencies.values()] == [1]


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        ("20", "--rate: '20' has no unit. Write it as 100/s (units: /s, /min)"),
        ("20 Hz", "--rate: '20 Hz' has the unit 'Hz'. Known units: /s, /min"),
    ],
)
def test_a_rate_is_written_as_in_a_recipe(
    rate: str, words: str, release: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = str(release / "targets" / "onnxruntime" / "fp32")
    assert run(["profile", place, "--rate", rate]) == ExitCode.USAGE
    assert capfd.readouterr().err == f"error: {words}\n"
    assert run(["profile", place, "--rate", "60000/min", "--rounds", "1"]) == ExitCode.PASSED
    assert "fp32, requests at 1000/s" in " ".join(capfd.readouterr().out.split())


def test_options_of_another_version_are_refused_before_anything_is_timed(
    release: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def edit(writer: ReleaseWriter) -> None:
        place = "targets/onnxruntime/int8/engine.json"
        content = json.loads((writer.folder / place).read_text("utf-8"))
        writer.add_text(place, json.dumps({**content, "options": {"provider": "npu"}}))

    change(release, edit)
    assert run(["verify", str(release)]) == ExitCode.USAGE
    err = capfd.readouterr().err
    assert "options that onnxruntime does not have in this version" in err
    assert "(provider: npu)" in err and "evaluate onnxruntime" not in err
