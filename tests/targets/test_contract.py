"""What every target promises, asked of each of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.artifact import Engine, OnnxModel, TensorSpec
from edgestill.digest import digest_files
from edgestill.errors import DataError, DeviceError, ExportError
from edgestill.onnx_file import LARGEST_SINGLE_FILE
from edgestill.targets import TARGETS, get_target
from edgestill.targets.base import Session, Target

Arrays = Mapping[str, NDArray[Any]]
MakeOnnx = Callable[..., OnnxModel]
Build = Callable[..., Engine]
Answer = Callable[[OnnxModel, Arrays], Arrays]

# Of the largest absolute value of an output. What is rounded to int8 may fall to the other side.
TOLERANCES = {"fp32": 1e-5, "fp16": 1e-2, "int8": 2e-2}

CASES = [(name, precision) for name, spec in TARGETS.items() for precision in spec.precisions]


def usable(name: str, to: str) -> Target:
    """The target; skips with its own words where it cannot compile or run here."""
    target = get_target(name)
    found = target.probe()
    if not getattr(found, f"can_{to}"):
        pytest.skip(f"{name}: {found.reason}. {found.fix}")
    return target


def opened(engine: Engine) -> Session:
    return usable(engine.description.target, "run").load(engine, threads=1)


def image_feeds(batch: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(batch)
    return {"image": rng.integers(0, 256, (batch, 3, 8, 8), np.uint8)}


def token_feeds(batch: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(batch)
    features = rng.normal(size=(batch, 6, 5)).astype(np.float32)
    return {"tokens": rng.integers(0, 20, (batch, 6)), "features": features}


def assert_close(found: Arrays, expected: Arrays, precision: str) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        tolerance = TOLERANCES[precision] * np.abs(array).max()
        np.testing.assert_allclose(found[name], array, rtol=0, atol=tolerance)


@pytest.fixture(params=TARGETS)
def name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def image_engine(name: str, image_model: OnnxModel, built: Build) -> Engine:
    usable(name, "compile")
    return built(name, image_model)


@pytest.fixture
def token_engine(name: str, token_model: OnnxModel, built: Build) -> Engine:
    usable(name, "compile")
    return built(name, token_model)


def test_a_probe_says_what_can_be_done_and_else_why_not_and_what_to_do(name: str) -> None:
    found = get_target(name).probe()
    if found.version is not None:
        assert TARGETS[name].version.startswith(found.version)
    if found.can_compile and found.can_run:
        assert found.version is not None
        assert (found.reason, found.fix) == ("", "")
    else:
        assert found.reason
        assert found.fix


def test_a_probe_of_a_runtime_that_is_not_installed_names_the_extra(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = TARGETS[name]
    monkeypatch.setitem(sys.modules, spec.module, None)
    found = get_target(name).probe()
    assert (found.version, found.can_compile, found.can_run) == (None, False, False)
    assert spec.module in found.reason
    assert f"edgestill[{spec.extra}]" in found.fix


def test_a_probe_of_what_an_uninstall_left_behind_does_not_raise(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A file that is still there, and nothing of what it needs.
    hollow = ModuleType(TARGETS[name].module)
    hollow.__file__ = f"{hollow.__name__}/__init__.py"
    monkeypatch.setitem(sys.modules, hollow.__name__, hollow)
    found = get_target(name).probe()
    assert (found.version, found.can_compile, found.can_run) == (None, False, False)
    assert found.reason.startswith("the runtime cannot be imported (AttributeError: ")
    extra = TARGETS[name].extra
    assert found.fix == f"Reinstall it: pip install --force-reinstall 'edgestill[{extra}]'"


def test_an_engine_keeps_names_order_types_and_sizes(
    name: str, token_model: OnnxModel, token_engine: Engine
) -> None:
    found = token_engine.description
    assert found.signature == token_model.description.signature
    assert (found.target, found.precision, found.scheme) == (name, "fp32", None)
    assert (token_engine.path / found.file).stat().st_size <= token_engine.size_bytes
    assert all(found.built_on.values())


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_it_answers_bytes_as_onnx_runtime_does(
    name: str,
    precision: str,
    image_model: OnnxModel,
    quantized: Callable[[str], OnnxModel],
    built: Build,
    plain_answer: Answer,
) -> None:
    usable(name, "compile")
    model = quantized(TARGETS[name].scheme) if precision == "int8" else image_model
    engine = built(name, model, precision)
    assert engine.description.precision == precision
    assert engine.description.scheme == model.description.scheme
    session = opened(engine)
    for batch in (1, 2, 7, 1):
        feeds = image_feeds(batch)
        assert_close(session.run(feeds), plain_answer(model, feeds), precision)


def test_it_answers_several_inputs_and_outputs_by_name(
    token_engine: Engine, token_model: OnnxModel, plain_answer: Answer
) -> None:
    session = opened(token_engine)
    for batch in (1, 2, 7, 1):
        feeds = token_feeds(batch)
        backwards = dict(reversed(feeds.items()))
        assert_close(session.run(backwards), plain_answer(token_model, feeds), "fp32")


def test_outputs_belong_to_the_caller(token_engine: Engine) -> None:
    session = opened(token_engine)
    first = session.run(token_feeds(2))
    kept = {name: array.copy() for name, array in first.items()}
    second = session.run({name: array[::-1].copy() for name, array in token_feeds(2).items()})
    for name, array in kept.items():
        assert not np.array_equal(second[name], array)
        np.testing.assert_array_equal(first[name], array)
        first[name][:] = 0
    for name, array in session.run(token_feeds(2)).items():
        np.testing.assert_array_equal(array, kept[name])


def test_arrays_of_any_layout_are_taken(image_engine: Engine) -> None:
    session = opened(image_engine)
    image = image_feeds(4)["image"]
    expected = session.run({"image": image})["logits"]
    channels_last = np.ascontiguousarray(image.transpose(0, 2, 3, 1))
    read_only = image.copy()
    read_only.flags.writeable = False
    for same in (channels_last.transpose(0, 3, 1, 2), np.repeat(image, 2, 0)[::2], read_only):
        np.testing.assert_array_equal(session.run({"image": same})["logits"], expected)


def test_feeds_that_do_not_fit_are_refused_and_do_no_harm(token_engine: Engine) -> None:
    session = opened(token_engine)
    feeds = token_feeds(2)
    expected = session.run(feeds)
    tokens, features = feeds["tokens"], feeds["features"]
    swapped = features.astype(features.dtype.newbyteorder())
    for wrong, text in (
        ({"tokens": tokens}, "the model's inputs are tokens, features, fed were tokens"),
        (feeds | {"tokens": tokens[:, :5]}, "fed was tokens int64 [2, 5]"),
        (feeds | {"tokens": tokens.astype(np.int32)}, "fed was tokens int32 [2, 6]"),
        (feeds | {"features": swapped}, "the model's input is features float32 [?, 6, 5]"),
        # OpenVINO would answer with what its memory held before.
        (feeds | token_feeds(3) | {"tokens": tokens}, "the inputs differ in their batch"),
    ):
        with pytest.raises(DataError) as raised:
            session.run(wrong)
        assert text in str(raised.value)
    for name, array in session.run(feeds).items():
        np.testing.assert_array_equal(array, expected[name])


def test_a_closed_session_cannot_be_used(token_engine: Engine) -> None:
    session = opened(token_engine)
    session.close()
    with pytest.raises(DeviceError):
        session.run(token_feeds(1))


@pytest.mark.parametrize(
    ("precision", "scheme", "wanted", "text"),
    [
        ("fp32", None, "int8", "{name} int8 is made from an int8 model, this one is fp32"),
        ("int8", "{scheme}", "fp32", "{name} fp32 is made from an fp32 model, this one is int8"),
        (
            "int8",
            "other",
            "int8",
            "the model is quantized in the scheme other, {name} needs {scheme}. "
            "Quantize it with scheme {scheme}",
        ),
        ("fp32", None, "int4", "'int4' is not supported by {name}. Supported: {precisions}"),
    ],
)
def test_a_model_that_is_not_what_the_precision_is_made_from_is_refused(
    name: str,
    precision: str,
    scheme: str | None,
    wanted: str,
    text: str,
    make_onnx: MakeOnnx,
    build: Build,
) -> None:
    usable(name, "compile")
    spec = TARGETS[name]
    words = {"name": name, "scheme": spec.scheme, "precisions": ", ".join(spec.precisions)}
    scheme = scheme and scheme.format(**words)
    model = make_onnx(*relu(), precision=precision, scheme=scheme)
    with pytest.raises(ExportError) as raised:
        build(name, model, wanted)
    assert str(raised.value) == f"{model.path}: {text.format(**words)}"


def relu() -> tuple[Any, ...]:
    spec = TensorSpec("x", "float32", (None, 3))
    return [("Relu", "x", "y", {})], [spec], [replace(spec, name="y")]


COMPILE = """
import sys
from pathlib import Path
from edgestill.artifact import OnnxModel
from edgestill.targets import TARGETS, get_target

name, model, out = sys.argv[1:]
options = TARGETS[name].options()
print(get_target(name).compile(OnnxModel(Path(model), ""), "fp32", options, Path(out)).digest)
"""


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_the_same_model_gives_the_same_bytes_in_every_process(
    name: str, image_model: OnnxModel, token_model: OnnxModel, build: Build, tmp_path: Path
) -> None:
    usable(name, "compile")
    # A runtime numbers what it makes: the second of each must not know of what came before.
    models = (image_model, token_model, image_model, token_model)
    digests = [build(name, model).digest for model in models]
    assert digests[:2] == digests[2:]
    command = [sys.executable, "-c", COMPILE, name, str(token_model.path), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split()[-1] == digests[1], digest_files(tmp_path)


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_an_engine_does_not_say_where_it_was_made(
    name: str,
    precision: str,
    image_model: OnnxModel,
    quantized: Callable[[str], OnnxModel],
    built: Build,
) -> None:
    usable(name, "compile")
    model = quantized(TARGETS[name].scheme) if precision == "int8" else image_model
    engine = built(name, model, precision)
    places = [engine.path.parent, model.path.parent, Path(__file__).parent]
    files = [file for file in engine.path.rglob("*") if file.is_file()]
    assert files
    for file in files:
        content = file.read_bytes()
        assert not [place for place in places if str(place).encode() in content], file


def test_an_engine_needs_nothing_but_its_folder(
    name: str,
    make_onnx: MakeOnnx,
    monkeypatch: pytest.MonkeyPatch,
    build: Build,
    tmp_path: Path,
) -> None:
    usable(name, "compile")
    # A model above 1 GiB keeps its weights in a file beside it.
    assert LARGEST_SINGLE_FILE == 1 << 30
    monkeypatch.setattr("edgestill.onnx_file.LARGEST_SINGLE_FILE", 0)
    weights = np.arange(3000, dtype=np.float32).reshape(3, 1000)
    x, y = TensorSpec("x", "float32", (None, 3)), TensorSpec("y", "float32", (None, 1000))
    model = make_onnx([("MatMul", "x w", "y", {})], [x], [y], {"w": weights})
    assert (model.path / "model.onnx.data").stat().st_size >= weights.nbytes
    engine = build(name, model)
    shutil.rmtree(model.path)
    moved = Engine(engine.path.rename(tmp_path / "moved"), engine.digest)
    answer = opened(moved).run({"x": np.eye(3, dtype=np.float32)})["y"]
    np.testing.assert_array_equal(answer, weights)


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\x08\x0a\x12\x07garbage"])
def test_what_is_no_model_is_an_error_that_names_the_file(
    name: str, content: bytes, make_onnx: MakeOnnx, build: Build
) -> None:
    usable(name, "compile")
    model = make_onnx(*relu())
    model.model_path.write_bytes(content)
    with pytest.raises(ExportError) as raised:
        build(name, model)
    assert raised.value.where == str(model.model_path)
    # TensorRT's parser takes an empty file for an empty graph.
    assert re.search("cannot (compile|read) the model|inputs are none", raised.value.what)


def test_a_model_that_is_not_what_its_description_says_is_refused(
    name: str, make_onnx: MakeOnnx, build: Build
) -> None:
    usable(name, "compile")
    nodes, inputs, outputs = relu()
    model = make_onnx(nodes, inputs, outputs)
    found = model.description
    renamed = replace(found.signature, outputs=(replace(outputs[0], name="z"),))
    described = OnnxModel.seal(model.path, replace(found, signature=renamed))
    with pytest.raises(ExportError) as raised:
        build(name, described)
    assert str(raised.value) == (
        f"{model.model_path}: {name} changed the model: "
        "outputs are y float32 [?, 3], expected z float32 [?, 3]"
    )


def test_an_engine_that_is_damaged_is_an_error_of_the_device(
    image_engine: Engine, tmp_path: Path
) -> None:
    damaged = Engine(shutil.copytree(image_engine.path, tmp_path / "engine"), "")
    file = damaged.path / damaged.description.file
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DeviceError) as raised:
        opened(damaged)
    assert raised.value.where in (str(file), str(damaged.path))
    assert "cannot load the " in raised.value.what


def test_sessions_of_one_load_answer_at_the_same_time(
    name: str, token_engine: Engine, token_model: OnnxModel, plain_answer: Answer
) -> None:
    target = usable(name, "run")
    if TARGETS[name].gpu:
        pytest.skip("a GPU serves one call at a time")
    first = target.load(token_engine, threads=3, streams=3)
    sessions = [first, first.another(), first.another()]
    feeds = [token_feeds(batch) for batch in (1, 2, 5)]

    def answers(index: int) -> list[Arrays]:
        return [sessions[index].run(feeds[index]) for _ in range(200)]

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(answers, range(3)))
    for index, fed in enumerate(feeds):
        expected = plain_answer(token_model, fed)
        for answer in found[index]:
            assert_close(answer, expected, "fp32")
