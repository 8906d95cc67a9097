"""How far each layer of an int8 model answers from the same layer of the float model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgestill.artifact import LayerError
from edgestill.extras import require
from edgestill.onnx_file import LARGEST_SINGLE_FILE, read_model, write_model
from edgestill.quantize.fidelity import Feeds, Outputs, answers, output_error

_WEIGHED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_FEEDS = 8  # an error that matters is seen in a few answers, and all of them are held at once


def layer_errors(model: Path, quantized: Path, feeds: Feeds, work: Path) -> tuple[LayerError, ...]:
    """The error at the output of every layer with weights, in the order of the graph.

    NNCF keeps the names of tensors, so that a layer's output is found by its name in both. None of
    a model that is too large for one file: it would be written twice more.
    """
    graphs = [_typed(read_model(path)) for path in (model, quantized)]
    if any(graph is None for graph in graphs):
        return ()
    shared = set.intersection(*(set(_floats(graph)) for graph in graphs))
    layers = {
        node.output[0]: node
        for node in graphs[0].graph.node
        if node.op_type in _WEIGHED and node.output[0] in shared
    }
    expected, found = (
        _outputs(graph, list(layers), feeds[:_FEEDS], work / f"layers-{place}")
        for place, graph in zip(("float", "int8"), graphs, strict=True)
    )
    weights = {tensor.name for tensor in graphs[0].graph.initializer}
    return tuple(
        LayerError(_name(node, weights), node.op_type, output_error([answer], [reference]))
        for node, answer, reference in zip(layers.values(), found, expected, strict=True)
    )


def _typed(model: Any) -> Any:
    """The model with the types of its inner tensors; None where it is too large."""
    if model.ByteSize() > LARGEST_SINGLE_FILE:
        return None
    return require("onnx.shape_inference", extra="build").infer_shapes(model)


def _floats(model: Any) -> Mapping[str, Any]:
    """The inner tensors and outputs that hold floating-point numbers, by name."""
    kinds = require("onnx", extra="build").TensorProto
    return {
        value.name: value
        for value in (*model.graph.value_info, *model.graph.output)
        if value.type.tensor_type.elem_type in (kinds.FLOAT, kinds.FLOAT16, kinds.DOUBLE)
    }


def _outputs(model: Any, names: Sequence[str], feeds: Feeds, folder: Path) -> Outputs:
    """What the model has at these tensors, each with the answers to all feeds in a row."""
    floats = _floats(model)
    values = [floats[name] for name in names]
    del model.graph.output[:]
    model.graph.output.extend(values)
    folder.mkdir(parents=True, exist_ok=True)
    write_model(model, folder)
    return answers(folder / "model.onnx", feeds)


def _name(node: Any, weights: set[str]) -> str:
    """Where its weights are in the PyTorch module, such as `body.2.0`; else the node's own name."""
    read = next((name for name in node.input if name in weights and "weight" in name), node.name)
    return str(read).removeprefix("module.").removesuffix(".weight")
