"""A release that was touched is refused before anything in it is opened."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

from edgestill.api.run import run_recipe
from edgestill.digest import digest_file, digest_value
from edgestill.errors import DamagedRelease, ExitCode, UsageError
from edgestill.release import Release, open_release, read_manifest

AGAIN = "Fetch the release again from where it was built"
FILES = (
    "code/score.py",
    "evaluation/dataset.json",
    "evaluation/ids.npy",
    "evaluation/inputs/order.json",
    "evaluation/inputs/x.npy",
    "evaluation/labels.npy",
    "model/model.onnx",
    "model/onnx.json",
    "recipe.yaml",
    "references/student/outputs/0.npy",
    "references/student/predictions.json",
    "references/teacher/outputs/0.npy",
    "references/teacher/predictions.json",
    "release.json",
    "report.html",
    "report.json",
    "report.md",
    "targets/onnxruntime/fp32/engine.json",
    "targets/onnxruntime/fp32/model.onnx",
    "targets/onnxruntime/teacher/engine.json",
    "targets/onnxruntime/teacher/model.onnx",
)
RECIPE = """\
name: small
data: {source: data.npz, split: {train: 0.4, calibration: 0.1, validation: 0.1, test: 0.4}}
teacher: {onnx: teacher.onnx}
student: {onnx: student.onnx}
metric: {function: "score.py:mine", better: bigger}
threads: 1
targets: [{target: onnxruntime}]
measure: {rounds: 1, block: 1 ms}
gates: {size: {at_most: 1 MB}}
"""
SCORE = "def mine(outputs, labels):\n    return float((outputs.argmax(1) == labels).mean())\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release that a run wrote, of two finished models."""
    onnx = pytest.importorskip("onnx", reason="pip install 'edgestill[build]'")
    pytest.importorskip("onnxruntime", reason="pip install 'edgestill[onnxruntime]'")
    folder = tmp_path_factory.mktemp("project")
    rng = numpy.random.default_rng(0)
    x, weights = rng.normal(size=(200, 4)).astype("float32"), rng.normal(size=(4, 3))
    numpy.savez(folder / "data.npz", x=x, label=(x @ weights).argmax(1))
    for name, shift in (("teacher", 0.0), ("student", 0.05)):
        graph = onnx.helper.make_graph(
            [onnx.helper.make_node("MatMul", ["x", "w"], ["logits"])],
            name,
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 4])],
            [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", 3])],
            [onnx.numpy_helper.from_array((weights + shift).astype("float32"), "w")],
        )
        opset = onnx.helper.make_opsetid("", 20)
        model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
        onnx.save(model, folder / f"{name}.onnx")
    (folder / "score.py").write_text(SCORE)
    (folder / "recipe.yaml").write_text(RECIPE)
    place = folder / "dist" / "small"
    run_recipe(str(folder / "recipe.yaml"), out=place, store=folder / "store")
    return place


@pytest.fixture
def release(built: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(built, tmp_path / "small"))


def seal(release: Path, files: dict[str, Any] | None = None, *, format_: int = 1) -> None:
    """Write a manifest that agrees with itself, and with the files where none are given."""
    if files is None:
        found = sorted(f for f in release.rglob("*") if f.is_file() and f.name != "manifest.json")
        files = {
            file.relative_to(release).as_posix(): {
                "sha256": digest_file(file),
                "bytes": file.stat().st_size,
            }
            for file in found
        }
    content: dict[str, Any] = {"format": format_, "files": files}
    text = json.dumps({**content, "sha256": digest_value(content)}, indent=1, sort_keys=True)
    (release / "manifest.json").write_text(text + "\n", encoding="utf-8")


def describe(release: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the description as one could who can make a manifest."""
    file = release / "release.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content), encoding="utf-8")
    seal(release)


def refusal(release: Path) -> str:
    with pytest.raises(DamagedRelease) as raised:
        open_release(release)
    assert raised.value.exit_code is ExitCode.ENVIRONMENT == 3
    return str(raised.value)


def test_the_files_of_a_release(built: Path) -> None:
    assert tuple(sorted(read_manifest(built))) == FILES
    seal_before = (built / "manifest.json").read_bytes()
    seal(built)
    assert (built / "manifest.json").read_bytes() == seal_before


def test_an_intact_release_opens_wherever_it_lies(
    release: Path, built: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "other" / "name"
    moved.parent.mkdir()
    release.rename(moved)
    link = tmp_path / "latest"
    link.symlink_to(moved)
    for place in (moved, link):
        opened = open_release(place)
        assert opened.description == open_release(built).description
        assert_whole(opened)


def assert_whole(release: Release) -> None:
    assert release.description.name == "small"
    count = len(numpy.load(release.evaluation.labels_path))
    assert 60 < count < 100
    assert release.evaluation.description.count == count
    assert release.reference("teacher").description.count == count
    (target,) = release.description.targets
    assert target.shipped == ("fp32",)
    assert release.engine(target.candidates["fp32"]).size_bytes > 100
    assert target.baseline is not None
    assert release.engine(target.baseline).description.target == "onnxruntime"


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_in_any_file_is_named(release: Path, name: str) -> None:
    file = release / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert refusal(release) == f"{file}: the file was changed. {AGAIN}"


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(release: Path, name: str) -> None:
    (release / name).unlink()
    assert refusal(release) == f"{release / name}: the file is missing. {AGAIN}"


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "targets/onnxruntime/fp32/model.bin"])
def test_an_added_file_is_named(release: Path, name: str) -> None:
    (release / name).write_text("")
    assert refusal(release) == (
        f"{release / name}: the file is not in the manifest. Remove it, or fetch the release "
        "again from where it was built"
    )


@pytest.mark.parametrize("name", ["model/model.onnx", "evaluation", "manifest.json"])
def test_a_link_is_refused_even_to_the_same_content(
    release: Path, tmp_path: Path, name: str
) -> None:
    away = tmp_path / "away"
    (release / name).rename(away)
    (release / name).symlink_to(away)
    assert refusal(release) == f"{release / name}: a link does not belong in a release. {AGAIN}"


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b"\n",
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.replace(b'"bytes": ', b'"bytes":  ', 1),
        lambda data: data.replace(b'"bytes": ', b'"bytes": 1', 1),
        lambda data: data.replace(b'"format": 1', b'"format": 2'),
        lambda data: data.replace(b"report.md", b"report.MD"),
        lambda data: data[:-10],
        lambda data: b"",
        lambda data: b"[]",
        lambda data: b"{}",
        lambda data: b"\xff\xfe",
        lambda data: json.dumps(json.loads(data)).encode(),
    ],
)
def test_a_changed_manifest_is_refused(release: Path, change: Callable[[bytes], bytes]) -> None:
    file = release / "manifest.json"
    file.write_bytes(change(file.read_bytes()))
    assert refusal(release) == f"{file}: the manifest was changed. {AGAIN}"


def test_another_format_is_refused(release: Path) -> None:
    seal(release, format_=2)
    assert refusal(release) == (
        f"{release / 'manifest.json'}: format 2 is of another version of edgestill"
    )


@pytest.mark.parametrize("absolute", [False, True])
def test_a_manifest_that_leads_outside_is_refused(
    release: Path, tmp_path: Path, absolute: bool
) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("not of this release")
    name = str(outside) if absolute else "../outside.txt"
    files = {**read_manifest(release), name: {"sha256": digest_file(outside), "bytes": 19}}
    seal(release, files)
    assert refusal(release) == f"{release / name}: the file is missing. {AGAIN}"


def with_engine(place: str) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["targets"][0]["candidates"].update(fp32=place)


def with_baseline(place: str) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["targets"][0].update(baseline=place)


def with_shipped(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["targets"][0].update(shipped=[name])


def with_reference(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.update(references=[name])


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (with_engine("../small/targets/onnxruntime/fp32"), "../small/targets/onnxruntime/fp32"),
        (with_engine("targets/onnxruntime/int8"), "targets/onnxruntime/int8"),
        (with_engine("targets/onnxruntime/fp"), "targets/onnxruntime/fp"),
        (with_baseline("/engine"), "/engine"),
        (with_shipped("int8"), "int8"),
        (with_reference("../evaluation"), "references/../evaluation"),
    ],
)
def test_a_description_that_leads_outside_the_manifest_is_refused(
    release: Path, change: Callable[[dict[str, Any]], None], part: str
) -> None:
    describe(release, change)
    assert refusal(release) == (
        f"{release / 'release.json'}: it names {part}, which is not in the release. {AGAIN}"
    )


def test_a_description_of_another_version_is_refused(release: Path) -> None:
    describe(release, lambda content: content.pop("threads"))
    words = refusal(release)
    assert words.startswith(f"{release / 'release.json'}: it was not written by this version")
    assert words.endswith("Verify it with the version in its report, or build it again")


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ("nowhere", "there is no such folder"),
        ("small/model", "not a release"),
        ("small/report.md", "not a release"),
    ],
)
def test_what_is_no_release_is_a_wrong_call(release: Path, place: str, what: str) -> None:
    path = release.parent / place
    with pytest.raises(UsageError) as raised:
        open_release(path)
    assert raised.value.exit_code is ExitCode.USAGE == 2
    assert str(raised.value) == (
        f"{path}: {what}. Give the folder that `edgestill run` wrote, such as dist/digits"
    )


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


def test_no_file_knows_where_it_was_built(built: Path) -> None:
    for file in built.rglob("*"):
        if file.suffix == ".json":
            content = json.loads(file.read_text(encoding="utf-8"))
            assert [text for text in strings(content) if Path(text).is_absolute()] == []
        if file.is_file():
            assert str(built.parents[1]).encode() not in file.read_bytes()


COMMANDS = """
import sys
from edgestill.cli import run
print(run(["verify", sys.argv[1]]))
import edgestill
try:
    edgestill.load(sys.argv[1])
except edgestill.EdgestillError as error:
    print(int(error.exit_code))
print(*sorted({"onnxruntime", "onnx", "openvino", "torch"} & set(sys.modules)))
"""


def test_no_runtime_is_loaded_for_a_damaged_release(release: Path) -> None:
    engine = release / "targets" / "onnxruntime" / "fp32" / "model.onnx"
    with engine.open("ab") as file:
        file.write(b"\0")
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, release],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["3", "3", ""]
    assert f"{engine}: the file was changed" in done.stderr


UNREADABLE = """
import os, sys
from pathlib import Path
from edgestill.errors import DamagedRelease
from edgestill.release import open_release
release = Path(sys.argv[1])
open_release(release)
(release / "report.md").chmod(0)
if os.getuid() == 0:
    os.setuid(65534)
try:
    open_release(release)
except DamagedRelease as error:
    print(error)
"""


def test_a_file_that_may_not_be_read_is_named(built: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        release = Path(shutil.copytree(built, Path(folder) / "small"))
        done = subprocess.run(
            [sys.executable, "-c", UNREADABLE, release],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    assert done.stdout.strip() == f"{release / 'report.md'}: it cannot be read (Permission denied)"
