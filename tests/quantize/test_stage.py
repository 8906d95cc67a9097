"""The quantization stage, on real models: schemes, fidelity, what must stay float."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from edgestill.artifact import Dataset, OnnxModel
from edgestill.errors import ExportError
from edgestill.quantize.config import QuantizeStep
from edgestill.quantize.fidelity import answers, output_error
from edgestill.quantize.stage import WAYS, QuantizeInputs, quantize
from edgestill.step import StepContext

# NNCF computes with the infinities that it sees.
pytestmark = pytest.mark.filterwarnings(
    "ignore:invalid value encountered:RuntimeWarning",
    "ignore:overflow encountered:RuntimeWarning",
)

Arrays = dict[str, NDArray[Any]]
MakeModel = Callable[..., OnnxModel]
MakeDataset = Callable[[Arrays], Dataset]
RNG = np.random.default_rng(0)


def normal(*shape: int, scale: float = 1.0) -> NDArray[np.float32]:
    return (np.random.default_rng(sum(shape)).normal(size=shape) * scale).astype(np.float32)


def conv_net(make_model: MakeModel, batch: int | str = "n") -> OnnxModel:
    """A convolution, a depthwise one, and a linear layer."""
    nodes = [
        ("Conv", ["x", "w1", "b1"], "c1", {"pads": [1] * 4}),
        ("Relu", ["c1"], "r1", {}),
        ("Conv", ["r1", "w2", "b2"], "c2", {"pads": [1] * 4, "group": 8}),
        ("Relu", ["c2"], "r2", {}),
        ("ReduceMean", ["r2", "axes"], "mean", {"keepdims": 0}),
        ("Gemm", ["mean", "w3", "b3"], "logits", {}),
    ]
    weights = {
        "w1": normal(8, 3, 3, 3, scale=0.3) * np.geomspace(0.5, 2, 8)[:, None, None, None],
        "b1": normal(8, scale=0.1),
        "w2": normal(8, 1, 3, 3, scale=0.3) * np.geomspace(2, 0.5, 8)[:, None, None, None],
        "b2": normal(8, scale=0.1),
        "axes": np.array([2, 3]),
        "w3": normal(8, 4),
        "b3": normal(4),
    }
    weights = {k: a if k == "axes" else a.astype(np.float32) for k, a in weights.items()}
    return make_model(nodes, {"x": ("f", batch, 3, 6, 6)}, weights, ("f", batch, 4))


def images(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Some dark and some bright: the range of each is far from that of all."""
    rng = np.random.default_rng(seed)
    light = rng.uniform(-2, 2, (count, 1, 1, 1))
    return (light + rng.normal(size=(count, 3, 6, 6)) * 0.3).astype(np.float32)


def quantized(
    model: OnnxModel,
    dataset: Dataset,
    folder: Path,
    scheme: str = "cpu",
    samples: int = 300,
    said: list[str] | None = None,
    told: list[str] | None = None,
) -> OnnxModel:
    out = folder / f"int8-{scheme}"
    out.mkdir()
    context = StepContext(
        folder,
        folder / f"work-{scheme}",
        lambda share, words: (told if told is not None else []).append(words),
        (said if said is not None else []).append,
    )
    return quantize(QuantizeStep(samples, scheme), QuantizeInputs(model, dataset), out, context)


def error_of(model: OnnxModel, reference: OnnxModel, feeds: Arrays) -> float:
    batch = reference.description.signature.inputs[0].shape[0] or 1
    count = len(next(iter(feeds.values())))
    parts = [{k: a[i : i + batch] for k, a in feeds.items()} for i in range(0, count, batch)]
    return output_error(answers(model.model_path, parts), answers(reference.model_path, parts))


def quantizers(model: OnnxModel) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    """Each Q or DQ: what it reads, its scale and its zero point."""
    graph = onnx.load(model.model_path).graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            yield f"{node.op_type} {node.input[0]}", tensors[node.input[1]], tensors[node.input[2]]


@pytest.fixture(scope="module", params=["cpu", "tensorrt"])
def conv(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    make_model: MakeModel,
    make_dataset: MakeDataset,
) -> tuple[OnnxModel, OnnxModel, list[str]]:
    """The float model, the int8 one of a scheme, and what was told of the ways tried."""
    told: list[str] = []
    model, dataset = conv_net(make_model), make_dataset({"x": images(40)})
    folder = tmp_path_factory.mktemp("conv")
    return model, quantized(model, dataset, folder, request.param, told=told), told


def test_the_scheme_of_activations_and_weights(
    conv: tuple[OnnxModel, OnnxModel, list[str]],
) -> None:
    _, model, _ = conv
    scheme = model.description.scheme
    kinds = dict.fromkeys(["QuantizeLinear", "DequantizeLinear"], 0)
    for read, scale, zero_point in quantizers(model):
        kinds[read.split()[0]] += 1
        weight = re.search(r"w\d", read)
        if weight:
            # One scale per output channel: of Conv the first axis of four, of Gemm the second.
            assert scale.shape == {"w1": (8,), "w2": (8,), "w3": (4,)}[weight.group()]
        else:
            # No runtime runs activations with a scale per channel.
            assert scale.size == 1
        signed = weight or scheme == "tensorrt"
        assert zero_point.dtype == (np.int8 if signed else np.uint8)
        assert not (signed and zero_point.any())
    # A bias that is quantized would be one more dequantizer.
    assert kinds["DequantizeLinear"] == kinds["QuantizeLinear"] + 3
    assert kinds["QuantizeLinear"] >= 3


def test_int8_answers_nearly_as_float(conv: tuple[OnnxModel, OnnxModel, list[str]]) -> None:
    model, int8, _ = conv
    assert int8.description.precision == "int8"
    assert int8.description.signature == model.description.signature
    # The mean of each sample's range, NNCF's own choice, cuts off dark and bright ones: 10 %.
    assert 0 < error_of(int8, model, {"x": images(100, seed=1)}) < 0.02


def test_the_error_of_every_layer_is_told(conv: tuple[OnnxModel, OnnxModel, list[str]]) -> None:
    _, int8, _ = conv
    layers = int8.description.layers
    assert [(layer.name, layer.operator) for layer in layers] == [
        ("node_c1", "Conv"), ("node_c2", "Conv"), ("node_logits", "Gemm"),
    ]  # fmt: skip
    assert all(0 < layer.error < 0.1 for layer in layers)


def test_the_way_nearest_to_float_is_kept(conv: tuple[OnnxModel, OnnxModel, list[str]]) -> None:
    model, int8, told = conv
    found = [re.fullmatch(r"(\S+), output error ([\d.]+)%", words) for words in told]
    errors = {m.group(1): float(m.group(2)) / 100 for m in found if m}
    assert list(errors) == [way.name for way in WAYS]
    assert len(set(errors.values())) > 1
    kept = error_of(int8, model, {"x": images(40)})
    assert kept == pytest.approx(min(errors.values()), abs=0.001)
    assert min(errors.values()) < max(errors.values()) / 2


SCRIPT = """
import sys
from pathlib import Path
from edgestill.artifact import Dataset, OnnxModel
from edgestill.quantize.config import QuantizeStep
from edgestill.quantize.stage import QuantizeInputs, quantize
from edgestill.step import StepContext
model, dataset, folder, scheme = sys.argv[1:]
folder = Path(folder)
(folder / "out").mkdir()
context = StepContext(folder, folder / "work", lambda share, words: None, lambda line: None)
inputs = QuantizeInputs(OnnxModel(Path(model), ""), Dataset(Path(dataset), ""))
print(quantize(QuantizeStep(300, scheme), inputs, folder / "out", context).digest)
"""


def test_the_same_bytes_in_another_process(
    conv: tuple[OnnxModel, OnnxModel, list[str]], tmp_path: Path, make_dataset: MakeDataset
) -> None:
    model, int8, _ = conv
    dataset = make_dataset({"x": images(40)})
    scheme = int8.description.scheme or ""
    printed = subprocess.run(
        [sys.executable, "-c", SCRIPT, model.path, dataset.path, tmp_path, scheme],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    ).stdout
    assert printed.splitlines()[-1] == int8.digest


def test_a_fixed_batch_and_fewer_samples_than_asked(
    tmp_path: Path, make_model: MakeModel, make_dataset: MakeDataset
) -> None:
    model = conv_net(make_model, batch=4)
    int8 = quantized(model, make_dataset({"x": images(6)}), tmp_path)
    assert int8.description.signature.inputs[0].shape[0] == 4
    assert error_of(int8, model, {"x": images(8)}) < 0.1


def test_no_more_samples_than_asked(
    tmp_path: Path, make_model: MakeModel, make_dataset: MakeDataset
) -> None:
    x = images(20)
    x[8:] *= 100
    int8 = quantized(conv_net(make_model), make_dataset({"x": x}), tmp_path, samples=8)
    scale = next(scale for read, scale, _ in quantizers(int8) if read == "QuantizeLinear x")
    assert scale == pytest.approx(float(np.ptp(x[:8])) / 255, rel=0.1)


def two_inputs(make_model: MakeModel) -> OnnxModel:
    nodes = [
        ("Gemm", ["a", "wa", "ba"], "ha", {}),
        ("Gemm", ["b", "wb", "bb"], "hb", {}),
        ("Concat", ["ha", "hb"], "both", {"axis": 1}),
        ("Relu", ["both"], "r", {}),
        ("Gemm", ["r", "w", "bias"], "logits", {}),
    ]
    weights = {"wa": normal(5, 8), "wb": normal(6, 8), "w": normal(16, 3)}
    weights |= {"ba": normal(8), "bb": normal(8), "bias": normal(3)}
    return make_model(nodes, {"a": ("f", "n", 5), "b": ("f", "n", 6)}, weights, ("f", "n", 3))


@pytest.mark.parametrize("scheme", ["cpu", "tensorrt"])
def test_an_input_that_is_zero_in_every_sample_stays_float(
    tmp_path: Path, make_model: MakeModel, make_dataset: MakeDataset, scheme: str
) -> None:
    model, said = two_inputs(make_model), []
    a, b = normal(40, 5), normal(40, 6)
    int8 = quantized(model, make_dataset({"a": a, "b": b * 0}), tmp_path, scheme, said=said)
    assert said == ["constant or infinite on all calibration samples, left float: b"]
    assert error_of(int8, model, {"a": a, "b": b * 0}) < 0.02
    # The ranges after it know nothing of b; what is small passes.
    assert error_of(int8, model, {"a": a, "b": b * 0.1}) < 0.1
    names = [read for read, *_ in quantizers(int8)]
    assert "QuantizeLinear a" in names
    assert "QuantizeLinear b" not in names


@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, 1e-6])
def test_an_input_that_is_constant(
    tmp_path: Path, make_model: MakeModel, make_dataset: MakeDataset, value: float
) -> None:
    model = two_inputs(make_model)
    feeds = {"a": normal(40, 5), "b": np.full((40, 6), value, np.float32)}
    int8 = quantized(model, make_dataset(feeds), tmp_path)
    assert error_of(int8, model, feeds) < 0.02


def attention(make_model: MakeModel, masked: float, *, fills: bool = False) -> OnnxModel:
    """Attention that adds `masked` where the mask is 0 (or fills it in), and the mean over time."""
    masking = [
        ("Where", ["seen3", "zero", "low"], "bias", {}),
        ("Add", ["scores", "bias"], "biased", {}),
    ]
    if fills:
        masking = [("Where", ["seen3", "scores", "low"], "biased", {})]
    nodes = [
        ("MatMul", ["x", "wq"], "q", {}),
        ("MatMul", ["x", "wk"], "k", {}),
        ("MatMul", ["x", "wv"], "v", {}),
        ("Transpose", ["k"], "kt", {"perm": [0, 2, 1]}),
        ("MatMul", ["q", "kt"], "scores", {}),
        ("Cast", ["mask"], "seen", {"to": 9}),
        ("Unsqueeze", ["seen", "axis"], "seen3", {}),
        *masking,
        ("Softmax", ["biased"], "shares", {"axis": -1}),
        ("MatMul", ["shares", "v"], "mixed", {}),
        ("ReduceMean", ["mixed", "axis"], "mean", {"keepdims": 0}),
        ("MatMul", ["mean", "w"], "logits", {}),
    ]
    weights = {f"w{name}": normal(8, 8, scale=0.4) for name in "qkv"}
    weights |= {"w": normal(8, 3), "axis": np.array([1])}
    weights |= {"zero": np.float32(0)[()], "low": np.float32(masked)[()]}
    inputs = {"x": ("f", "n", 6, 8), "mask": ("i", "n", 6)}
    weights = {name: np.asarray(array) for name, array in weights.items()}
    return make_model(nodes, inputs, weights, ("f", "n", 3))


LOWEST = float(np.finfo(np.float32).min)


def sentences(count: int, padded: bool, seed: int = 0) -> Arrays:
    """What is under the mask is large, so that a lost mask is seen."""
    rng = np.random.default_rng(seed)
    mask = np.ones((count, 6), np.int64)
    if padded:
        mask = (np.arange(6)[None] < rng.integers(2, 6, (count, 1))).astype(np.int64)
    x = rng.normal(size=(count, 6, 8)).astype(np.float32)
    return {"x": x, "mask": mask}


@pytest.mark.parametrize("scheme", ["cpu", "tensorrt"])
@pytest.mark.parametrize("masked", [float("-inf"), LOWEST, -1e9, -1e4])
def test_an_attention_mask_that_is_filled_in_masks(
    tmp_path: Path, make_model: MakeModel, make_dataset: MakeDataset, scheme: str, masked: float
) -> None:
    model = attention(make_model, masked, fills=True)
    int8 = quantized(model, make_dataset(sentences(60, padded=True)), tmp_path, scheme)
    assert error_of(int8, model, sentences(60, padded=True, seed=1)) < 0.06


@pytest.mark.parametrize("scheme", ["cpu", "tensorrt"])
@pytest.mark.parametrize(
    ("masked", "padded"),
    [
        (float("-inf"), True),
        (float("-inf"), False),
        (LOWEST, True),
        (-1e9, True),
        (-1e4, True),
        (-1e4, False),
    ],
    ids=["-inf", "-inf, never padded", "lowest", "-1e9", "-1e4", "-1e4, never padded"],
)
def test_an_attention_mask_masks(
    tmp_path: Path,
    make_model: MakeModel,
    make_dataset: MakeDataset,
    scheme: str,
    masked: float,
    padded: bool,
) -> None:
    model, said = attention(make_model, masked), []
    int8 = quantized(model, make_dataset(sentences(60, padded)), tmp_path, scheme, said=said)
    assert error_of(int8, model, sentences(60, padded=True, seed=1)) < 0.06
    kept = masked in (-1e4, -1e9) and padded
    where = "bias"
    assert said == (
        [] if kept else [f"constant or infinite on all calibration samples, left float: {where}"]
    )


def pooled(make_model: MakeModel) -> OnnxModel:
    """An embedding of a sentence: the mean of what a layer makes of its steps."""
    nodes = [
        ("MatMul", ["x", "w"], "h", {}),
        ("Add", ["h", "x"], "residual", {}),
        ("ReduceMean", ["residual", "axis"], "mean", {"keepdims": 0}),
        ("Tanh", ["mean"], "logits", {}),
    ]
    weights = {"w": normal(8, 8), "axis": np.array([1])}
    return make_model(nodes, {"x": ("f", "n", 6, 8)}, weights, ("f", "n", 8))


def patches(make_model: MakeModel) -> OnnxModel:
    """A class token before the patches of an image, and the mean of what becomes of these."""
    nodes = [
        ("Conv", ["x", "w", "b"], "map", {"strides": [4, 4]}),
        ("Reshape", ["map", "flat"], "columns", {}),
        ("Transpose", ["columns"], "patches", {"perm": [0, 2, 1]}),
        ("Shape", ["x"], "batch", {"end": 1}),
        ("Concat", ["batch", "one", "width"], "shape", {"axis": 0}),
        ("Expand", ["token", "shape"], "tokens", {}),
        ("Concat", ["tokens", "patches"], "sequence", {"axis": 1}),
        ("Add", ["sequence", "positions"], "placed", {}),
        ("MatMul", ["placed", "v"], "mixed", {}),
        ("Slice", ["mixed", "one", "end", "one"], "seen", {}),
        ("ReduceMean", ["seen", "one"], "mean", {"keepdims": 0}),
        ("MatMul", ["mean", "u"], "logits", {}),
    ]
    weights = {
        "w": 0.3 * normal(8, 3, 4, 4),
        "b": 3 * normal(8),
        "flat": np.array([0, 8, -1]),
        "one": np.array([1]),
        "width": np.array([8]),
        "token": normal(1, 1, 8),
        "positions": 0.1 * normal(17, 8),
        "v": normal(8, 8),
        "end": np.array([99]),
        "u": normal(8, 4),
    }
    return make_model(nodes, {"x": ("f", "n", 3, 16, 16)}, weights, ("f", "n", 4))


def reduced(make_model: MakeModel) -> OnnxModel:
    """As an efficient transformer reduces what its attention looks at: patches of features."""
    nodes = [
        ("Conv", ["x", "w1", "b1"], "map", {"pads": [1, 1, 1, 1]}),
        ("Relu", ["map"], "features", {}),
        ("Conv", ["features", "w2", "b2"], "reduced", {"strides": [4, 4]}),
        ("Reshape", ["reduced", "flat"], "columns", {}),
        ("MatMul", ["columns", "v"], "logits", {}),
    ]
    weights = {"w1": normal(32, 3, 3, 3, scale=0.3), "b1": normal(32)}
    weights |= {"w2": normal(32, 32, 4, 4, scale=0.1), "b2": normal(32)}
    weights |= {"flat": np.array([0, 32, 16]), "v": normal(16, 2)}
    return make_model(nodes, {"x": ("f", "n", 3, 16, 16)}, weights, ("f", "n", 32, 2))


def pictures(count: int, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=(count, 3, 16, 16)).astype(np.float32)}


def padded(count: int, seed: int = 0) -> Arrays:
    return sentences(count, padded=True, seed=seed)


@pytest.mark.parametrize(
    ("make", "draw"),
    [
        (lambda make_model: attention(make_model, float("-inf")), padded),
        (lambda make_model: attention(make_model, LOWEST), padded),
        (lambda make_model: attention(make_model, -1e9), padded),
        (lambda make_model: attention(make_model, -65504.0), padded),
        (lambda make_model: attention(make_model, -1e4), padded),
        (lambda make_model: attention(make_model, -1e9, fills=True), padded),
        (pooled, padded),
        (patches, pictures),
        (reduced, pictures),
    ],
    ids=[
        "mask of -inf",
        "mask of lowest",
        "-1e9",
        "-65504",
        "-1e4",
        "filled",
        "pooled",
        "patches",
        "reduced",
    ],
)
def test_openvino_answers_as_onnx_runtime(
    tmp_path: Path,
    make_model: MakeModel,
    make_dataset: MakeDataset,
    make: Callable[[MakeModel], OnnxModel],
    draw: Callable[..., Arrays],
) -> None:
    openvino = pytest.importorskip("openvino", reason="pip install 'edgestill[openvino]'")
    model = make(make_model)
    names = [spec.name for spec in model.description.signature.inputs]
    data = draw(60)
    int8 = quantized(model, make_dataset({name: data[name] for name in names}), tmp_path)
    compiled = openvino.Core().compile_model(
        int8.model_path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    session = onnxruntime.InferenceSession(int8.model_path)
    for count in (1, 7, 32):
        fed = draw(count, seed=2)
        feeds = {name: fed[name] for name in names}
        expected = session.run(None, feeds)[0]
        np.testing.assert_allclose(compiled(feeds)[0], expected, atol=0.02 * expected.std())


def test_nothing_to_quantize(
    tmp_path: Path, make_model: MakeModel, make_dataset: MakeDataset
) -> None:
    nodes = [("Relu", ["x"], "logits", {})]
    model = make_model(nodes, {"x": ("f", "n", 4)}, {}, ("f", "n", 4))
    message = (
        r"^NNCF found no layer that can be quantized. Leave out quantize: in the recipe to ship "
        r"the float model$"
    )
    with pytest.raises(ExportError, match=message):
        quantized(model, make_dataset({"x": normal(5, 4)}), tmp_path)


@pytest.mark.parametrize(
    ("kind", "dtype", "message"),
    [
        ("h", "float16", r"\(Fail: .*float16.*\). Leave out quantize: in the recipe to ship the"),
        ("d", "float64", r"\(.*double.*\). It computes in float64, which has no int8: return mod"),
    ],
)
def test_what_nncf_cannot_quantize(
    tmp_path: Path,
    make_model: MakeModel,
    make_dataset: MakeDataset,
    kind: str,
    dtype: str,
    message: str,
) -> None:
    nodes = [("Gemm", ["x", "w", "b"], "logits", {})]
    weights = {"w": normal(4, 3).astype(dtype), "b": normal(3).astype(dtype)}
    model = make_model(nodes, {"x": (kind, "n", 4)}, weights, (kind, "n", 3))
    with pytest.raises(ExportError, match=r"^NNCF could not quantize the model " + message):
        quantized(model, make_dataset({"x": normal(5, 4).astype(dtype)}), tmp_path)


def logarithms(make_model: MakeModel) -> OnnxModel:
    nodes = [
        ("MatMul", ["x", "w1"], "h", {}),
        ("Relu", ["h"], "r", {}),
        ("MatMul", ["r", "w2"], "y", {}),
        ("Log", ["y"], "logits", {}),
    ]
    weights = {"w1": np.eye(4, dtype=np.float32), "w2": np.ones((4, 3), np.float32)}
    return make_model(nodes, {"x": ("f", "n", 4)}, weights, ("f", "n", 3))


@pytest.mark.parametrize(
    ("smallest", "which"), [(1e-3, "int8"), (-1.0, "float")], ids=["int8", "float"]
)
def test_answers_that_are_not_finite(
    tmp_path: Path,
    make_model: MakeModel,
    make_dataset: MakeDataset,
    smallest: float,
    which: str,
) -> None:
    """Small values become 0 beside a large one, and the logarithm of 0 is not finite."""
    x = np.full((10, 4), smallest, np.float32)
    x[0] = 1000
    message = rf"^the {which} model's answers are not finite on the calibration samples"
    with pytest.raises(ExportError, match=message):
        quantized(logarithms(make_model), make_dataset({"x": x}), tmp_path)
