"""Networks of many layers as ONNX, made by hand, with one weight that can be altered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgestill.artifact import OnnxDescription, OnnxModel, Signature
from edgestill.onnx_file import tensor_specs, write_model

Array = NDArray[Any]
WIDTH = 6


def _model(nodes: list[Any], weights: dict[str, Array], outputs: tuple[str, ...]) -> Any:
    """A model of images `[n, 6, 5, 5]`, with outputs of any rank."""
    given = helper.make_tensor_value_info("x", 1, ["n", WIDTH, 5, 5])
    answers = [helper.make_tensor_value_info(name, 1, None) for name in outputs]
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "graph", [given], answers, tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(made)


def _residual(blocks: int) -> Any:
    """One convolution, residual blocks of two, a mean and a Gemm."""
    rng = np.random.default_rng(0)
    nodes, weights, at = [], {}, "x"

    def convolution(name: str, read: str) -> str:
        size = 0.05 if name.endswith("second") else 0.19  # so that activations keep their size
        weights[f"{name}.weight"] = rng.normal(0, size, (WIDTH, WIDTH, 3, 3)).astype(np.float32)
        read_all = [read, f"{name}.weight"]
        nodes.append(helper.make_node("Conv", read_all, [name], f"{name}/Conv", pads=[1, 1, 1, 1]))
        return name

    def relu(read: str) -> str:
        nodes.append(helper.make_node("Relu", [read], [f"{read}.relu"], f"{read}/Relu"))
        return f"{read}.relu"

    at = convolution("stem", at)
    for index in range(blocks):
        inner = relu(convolution(f"blocks.{index}.first", at))
        added = f"blocks.{index}.added"
        read = [at, convolution(f"blocks.{index}.second", inner)]
        nodes.append(helper.make_node("Add", read, [added], f"blocks.{index}/Add"))
        at = relu(added)
    nodes.append(helper.make_node("GlobalAveragePool", [at], ["pooled"], "pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"))
    weights["head.weight"] = rng.normal(size=(WIDTH, 4)).astype(np.float32)
    nodes.append(helper.make_node("Gemm", ["flat", "head.weight"], ["logits"], "head/Gemm"))
    return _model(nodes, weights, ("logits",))


@pytest.fixture(scope="session")
def residual() -> Any:
    """50 layers with weights, in 24 residual blocks."""
    return _residual(24)


@pytest.fixture(scope="session")
def shallow() -> Any:
    """Ten layers with weights, in four residual blocks."""
    return _residual(4)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Any]:
    """A model of these nodes and weights, whose answer is `logits`."""
    return lambda nodes, weights: _model(nodes, weights, ("logits",))


@pytest.fixture(scope="session")
def feeds() -> dict[str, Array]:
    images = np.random.default_rng(1).normal(size=(4, WIDTH, 5, 5))
    return {"x": images.astype(np.float32)}


@pytest.fixture(scope="session")
def altered() -> Callable[..., Any]:
    """A copy of a model in which one weight is another."""

    def alter(model: Any, weight: str, change: Callable[[Array], Array] = np.negative) -> Any:
        copy = type(model)()
        copy.CopyFrom(model)
        tensor = next(tensor for tensor in copy.graph.initializer if tensor.name == weight)
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(change(array).astype(array.dtype), weight))
        return copy

    return alter


@pytest.fixture
def sealed(tmp_path: Path) -> Callable[..., OnnxModel]:
    """A model as an artifact."""

    def seal(model: Any, precision: str = "fp32", scheme: str | None = None) -> OnnxModel:
        folder = tmp_path / f"model{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        copy = type(model)()
        copy.CopyFrom(model)
        write_model(copy, folder)
        graph = model.graph
        signature = Signature(tensor_specs(graph.input), tensor_specs(graph.output), "logits")
        return OnnxModel.seal(folder, OnnxDescription(signature, precision, scheme))

    return seal
