"""TensorRT for RTX builds for GPUs that are not here, and says what it will not do."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgestill.artifact import Engine, OnnxDescription, OnnxModel, TensorSpec
from edgestill.errors import DeviceError, ExportError, MissingExtra
from edgestill.targets import TARGETS, get_target
from edgestill.targets.base import Availability
from edgestill.targets.cuda import Gpu
from edgestill.targets.options import TensorRtOptions, TensorRtRtxOptions
from edgestill.targets.tensorrt import to_fp16
from edgestill.targets.tensorrt_session import TensorRtSession, deserialize

trt = pytest.importorskip("tensorrt_rtx", reason="pip install 'edgestill[tensorrt-rtx]'")
onnx = pytest.importorskip("onnx", reason="pip install 'edgestill[build]'")

MakeOnnx = Callable[..., OnnxModel]

RTX = get_target("tensorrt-rtx")
FOR_BOTH = TensorRtRtxOptions(compute_capability=(8.6, 8.9))
PROBE = RTX.probe()
needs_no_gpu = pytest.mark.skipif(PROBE.can_run, reason="there is a GPU")

X, Y = TensorSpec("x", "float32", (None, 4)), TensorSpec("y", "float32", (None, 4))


def relu(make_onnx: MakeOnnx, x: TensorSpec = X) -> OnnxModel:
    return make_onnx([("Relu", "x", "y", {})], [x], [replace(x, name="y")])


@pytest.fixture
def engine(make_onnx: MakeOnnx, tmp_path: Path) -> Engine:
    out = tmp_path / "engine"
    out.mkdir()
    return RTX.compile(relu(make_onnx), "fp32", FOR_BOTH, out)


@pytest.mark.parametrize("capabilities", [(8.6,), (8.9,), (8.6, 8.9)])
@pytest.mark.parametrize("precision", TARGETS["tensorrt-rtx"].precisions)
def test_it_builds_for_gpus_that_are_not_here(
    capabilities: tuple[float, ...],
    precision: str,
    image_model: OnnxModel,
    quantized: Callable[[str], OnnxModel],
    tmp_path: Path,
) -> None:
    model = quantized("tensorrt") if precision == "int8" else image_model
    options = TensorRtRtxOptions(compute_capability=capabilities, max_batch=4)
    engine = RTX.compile(model, precision, options, tmp_path)
    found = engine.description
    assert found.built_on["compute_capability"] == ", ".join(map(str, capabilities))
    assert found.built_on["version"] == trt.__version__
    assert found.options == {"compute_capability": list(capabilities), "max_batch": 4}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["engine.json", "model.plan"]
    assert engine.size_bytes == (tmp_path / "model.plan").stat().st_size > 0


def test_half_precision_halves_the_weights(make_onnx: MakeOnnx, tmp_path: Path) -> None:
    weights = {"w": np.random.default_rng(0).normal(size=(4, 50_000)).astype(np.float32)}
    y = TensorSpec("y", "float32", (None, 50_000))
    model = make_onnx([("MatMul", "x w", "y", {})], [X], [y], weights)
    sizes = {}
    for precision in ("fp32", "fp16"):
        out = tmp_path / precision
        out.mkdir()
        sizes[precision] = RTX.compile(model, precision, FOR_BOTH, out).size_bytes
    assert sizes["fp32"] > weights["w"].nbytes
    assert sizes["fp32"] - sizes["fp16"] == pytest.approx(weights["w"].nbytes / 2, rel=0.1)


def test_half_precision_keeps_inputs_and_outputs(token_model: OnnxModel, tmp_path: Path) -> None:
    to_fp16(token_model, tmp_path / "fp16.onnx")
    graph = onnx.load(str(tmp_path / "fp16.onnx")).graph
    kinds = [value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)]
    types = onnx.TensorProto
    assert kinds == [types.INT64, types.FLOAT, types.FLOAT, types.INT64]
    assert {tensor.data_type for tensor in graph.initializer} == {types.FLOAT16}


@pytest.mark.parametrize("number", [5.0, 9.0, 8.65, 86.0])
def test_a_compute_capability_that_it_does_not_build_for_is_refused(
    number: float, make_onnx: MakeOnnx, tmp_path: Path
) -> None:
    options = TensorRtRtxOptions(compute_capability=(8.6, number))
    with pytest.raises(ExportError) as raised:
        RTX.compile(relu(make_onnx), "fp32", options, tmp_path)
    text = str(raised.value)
    start = f"compute_capability: tensorrt-rtx does not build for compute capability {number}. "
    assert text.startswith(start + "Supported: ")
    assert {"8.6", "8.9"} <= set(text.rpartition(": ")[2].split(", "))


@needs_no_gpu
def test_without_a_gpu_it_has_to_be_told_which_one(make_onnx: MakeOnnx, tmp_path: Path) -> None:
    with pytest.raises(ExportError) as raised:
        RTX.compile(relu(make_onnx), "fp32", TensorRtRtxOptions(), tmp_path)
    assert str(raised.value) == (
        f"tensorrt-rtx has no GPU here to build for ({PROBE.reason}). "
        "Say what it is for, such as compute_capability: [8.6, 8.9]"
    )


def test_activations_with_a_zero_point_are_refused(
    quantized: Callable[[str], OnnxModel], tmp_path: Path
) -> None:
    unsigned = quantized("cpu")
    with pytest.raises(ExportError, match="the scheme cpu, tensorrt-rtx needs tensorrt"):
        RTX.compile(unsigned, "int8", FOR_BOTH, tmp_path)
    # An adopted file does not say its scheme: then it is the parser's warning that counts.
    folder = Path(shutil.copytree(unsigned.path, tmp_path / "adopted"))
    signature = unsigned.description.signature
    adopted = OnnxModel.seal(folder, OnnxDescription(signature, precision="int8"))
    with pytest.raises(ExportError) as raised:
        RTX.compile(adopted, "int8", FOR_BOTH, tmp_path)
    text = str(raised.value)
    assert text.startswith(f"{adopted.model_path}: tensorrt-rtx would compute in another type: ")
    assert text.endswith(". Quantize the model with scheme tensorrt")


def test_a_model_that_is_free_in_more_than_its_batch_is_refused(
    make_onnx: MakeOnnx, tmp_path: Path
) -> None:
    model = relu(make_onnx, TensorSpec("x", "float32", (None, None)))
    with pytest.raises(ExportError) as raised:
        RTX.compile(model, "fp32", FOR_BOTH, tmp_path)
    assert str(raised.value) == (
        f"{model.model_path}: the input x float32 [?, ?] is free in more than its batch. "
        "Export it with fixed sizes, such as inputs padded to one length"
    )


@pytest.mark.parametrize("shape", [(), (3,), (2, 4)])
def test_a_model_without_a_free_batch_is_built(
    shape: tuple[int, ...], make_onnx: MakeOnnx, tmp_path: Path
) -> None:
    model = relu(make_onnx, TensorSpec("x", "float32", shape))
    engine = RTX.compile(model, "fp32", FOR_BOTH, tmp_path)
    assert engine.description.signature.inputs[0].shape == shape


def test_an_operation_that_it_does_not_know_is_named(make_onnx: MakeOnnx, tmp_path: Path) -> None:
    nodes = [("NonZero", "x", "y", {"name": "which"})]
    model = make_onnx(nodes, [X], [TensorSpec("y", "int64", (2, None))])
    with pytest.raises(ExportError) as raised:
        RTX.compile(model, "fp32", FOR_BOTH, tmp_path)
    start = f"{model.model_path}: tensorrt-rtx cannot read the model: NonZero 'which': "
    assert str(raised.value).startswith(start)


def test_a_model_that_cannot_be_halved_names_the_file(make_onnx: MakeOnnx, tmp_path: Path) -> None:
    model = relu(make_onnx)
    model.model_path.write_bytes(b"no model at all")
    with pytest.raises(ExportError) as raised:
        RTX.compile(model, "fp16", FOR_BOTH, tmp_path)
    start = f"{model.model_path}: the model cannot be converted to fp16 (DecodeError: "
    assert str(raised.value).startswith(start)


@needs_no_gpu
def test_running_without_a_gpu_says_what_is_missing(engine: Engine) -> None:
    with pytest.raises(DeviceError) as raised:
        RTX.load(engine, threads=1)
    if "libcuda" in PROBE.reason:
        assert str(raised.value) == (
            "there is no CUDA driver (libcuda.so.1). "
            "Run it on a machine with an NVIDIA GPU and its driver"
        )
    assert raised.value.what == PROBE.reason


def test_an_engine_of_another_version_is_refused_before_it_is_opened(engine: Engine) -> None:
    file = engine.path / "engine.json"
    content: dict[str, Any] = json.loads(file.read_text())
    content["built_on"]["version"] = "1.3.0"
    file.write_text(json.dumps(content))
    with pytest.raises(DeviceError) as raised:
        RTX.load(Engine(engine.path, ""), threads=1)
    assert str(raised.value) == (
        f"{engine.path}: the engine was built by tensorrt-rtx 1.3.0, here is {trt.__version__}. "
        "Compile it with the version that runs it"
    )


def test_an_engine_for_other_gpus_is_refused_before_it_is_opened(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "edgestill.targets.tensorrt.find_gpu", lambda: Gpu("NVIDIA T4", "7.5", "13.0")
    )
    with pytest.raises(DeviceError) as raised:
        RTX.load(engine, threads=1)
    assert str(raised.value) == (
        f"{engine.path}: the engine was built for compute capability 8.6 and 8.9, "
        "NVIDIA T4 has 7.5. Compile it for 7.5"
    )


@pytest.mark.parametrize("capability", ["5.3", "8.7", "9.0", "10.0"])
def test_a_gpu_that_is_not_among_those_that_it_runs_on_is_as_none(
    capability: str,
    engine: Engine,
    make_onnx: MakeOnnx,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = Gpu("NVIDIA H100", capability, "13.0")
    monkeypatch.setattr("edgestill.targets.tensorrt.find_gpu", lambda: gpu)
    what = (
        f"NVIDIA H100 has compute capability {capability}, and tensorrt-rtx runs on 7.5, 8.0, "
        "8.6, 8.9, 12.0, 12.1 and later ones"
    )
    fix = "Use the target tensorrt there"
    assert RTX.probe() == Availability(what, fix, trt.__version__, can_compile=True)
    with pytest.raises(DeviceError) as raised:
        RTX.load(engine, threads=1)
    assert str(raised.value) == f"{what}. {fix}"
    with pytest.raises(ExportError, match=re.escape(f"no GPU here to build for ({what})")):
        RTX.compile(relu(make_onnx), "fp32", TensorRtRtxOptions(), tmp_path)


@pytest.mark.parametrize("capability", ["7.5", "8.9", "12.0", "13.0"])
def test_a_gpu_that_it_runs_on(capability: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu("NVIDIA RTX", capability, "13.0")
    monkeypatch.setattr("edgestill.targets.tensorrt.find_gpu", lambda: gpu)
    assert RTX.probe() == Availability("", "", trt.__version__, can_compile=True, can_run=True)


def test_a_plan_that_cannot_be_opened_says_what_tensorrt_says(engine: Engine) -> None:
    file = engine.path / "model.plan"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DeviceError) as raised:
        deserialize(trt, engine)
    assert str(raised.value).startswith(f"{engine.path}: TensorRT cannot load the engine: ")
    assert not str(raised.value).endswith("no reason given")


def test_a_session_that_cannot_be_opened_gives_its_stream_back(
    engine: Engine, cuda_driver: Callable[..., Any]
) -> None:
    driver = cuda_driver()
    file = engine.path / "model.plan"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DeviceError, match="TensorRT cannot load the engine"):
        TensorRtSession(trt, engine)
    assert driver.calls.count("cuStreamCreate") == driver.calls.count("cuStreamDestroy_v2") == 1
    assert driver.calls[-1] == "cuDevicePrimaryCtxRelease_v2"


def test_a_session_has_no_other_beside_it() -> None:
    session = TensorRtSession.__new__(TensorRtSession)  # opening one takes a GPU
    with pytest.raises(DeviceError) as raised:
        session.another()
    assert str(raised.value) == (
        "TensorRT serves one call at a time. Measure it with one stream and larger batches"
    )


def test_the_other_tensorrt_needs_its_own_package(make_onnx: MakeOnnx, tmp_path: Path) -> None:
    target = get_target("tensorrt")
    if target.probe().version:
        pytest.skip("tensorrt is installed")
    with pytest.raises(MissingExtra, match="tensorrt is not installed") as raised:
        target.compile(relu(make_onnx), "fp32", TensorRtOptions(), tmp_path)
    assert "pip install 'edgestill[tensorrt]'" in str(raised.value)
