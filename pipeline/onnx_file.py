"""ONNX files: read, strip, write the same bytes for the same model, and describe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgestill.artifact import TensorSpec
from edgestill.errors import ExportError
from edgestill.extras import require

# protobuf cannot hold more than 2 GiB; beyond this the weights go into a file beside the model.
LARGEST_SINGLE_FILE = 1 << 30


def read_model(path: Path) -> Any:
    """The `onnx.ModelProto` of a file, its external weights included.

    Raises:
        ExportError: it is not an ONNX file.
    """
    onnx = require("onnx", extra="build")
    decode_error = require("google.protobuf.message", extra="build").DecodeError
    try:
        return onnx.load(str(path))
    except (decode_error, OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ExportError(f"not a readable ONNX file ({error})", where=str(path)) from error


def write_model(model: Any, folder: Path) -> None:
    """Write `model.onnx` (and `model.onnx.data` where it is large), stripped and checked.

    Raises:
        ExportError: the graph is not valid ONNX.
    """
    onnx = require("onnx", extra="build")
    strip(model)
    path = folder / "model.onnx"
    if model.ByteSize() > LARGEST_SINGLE_FILE:
        onnx.save(model, str(path), save_as_external_data=True, location="model.onnx.data")
    else:
        path.write_bytes(model.SerializeToString(deterministic=True))
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the graph is not valid ONNX ({error})", where=path.name) from error


def strip(model: Any) -> None:
    """Remove what an exporter notes about itself: paths, stack traces, its version.

    The same model then gives the same bytes wherever it is exported.
    """
    model.ClearField("producer_name")
    model.ClearField("producer_version")
    model.ClearField("doc_string")
    model.ClearField("metadata_props")
    _strip_graph(model.graph)
    for function in model.functions:
        function.ClearField("metadata_props")
        function.ClearField("doc_string")
        for node in function.node:
            _strip_node(node)


def _strip_graph(graph: Any) -> None:
    graph.ClearField("metadata_props")
    graph.ClearField("doc_string")
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
    for node in graph.node:
        _strip_node(node)


def _strip_node(node: Any) -> None:
    node.ClearField("metadata_props")
    node.ClearField("doc_string")
    for attribute in node.attribute:
        if attribute.HasField("g"):
            _strip_graph(attribute.g)
        for graph in attribute.graphs:
            _strip_graph(graph)


def tensor_specs(values: Any) -> tuple[TensorSpec, ...]:
    """The specs of a graph's inputs or outputs (`graph.input`, `graph.output`)."""
    return tuple(_spec(value) for value in values)


def _spec(value: Any) -> TensorSpec:
    helper = require("onnx.helper", extra="build")
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        raise ExportError(
            f"{value.name} is not a tensor", fix="Only tensors can be fed and compared"
        )
    sizes = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
    return TensorSpec(value.name, helper.tensor_dtype_to_np_dtype(tensor.elem_type).name, sizes)
