"""ONNX files: read, strip, write the same bytes for the same model, and describe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgestill.artifact import TensorSpec
from edgestill.errors import ExportError
from edgestill.extras import require
from edgestill.user_files import FETCH, POINTER, is_pointer

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
        model = onnx.load(str(path))
    except (decode_error, OSError, ValueError, onnx.checker.ValidationError) as error:
        if path.is_file() and is_pointer(path):
            raise ExportError(POINTER, where=str(path), fix=FETCH) from error
        raise ExportError(f"not a readable ONNX file ({error})", where=str(path)) from error
    if not model.graph.output:  # protobuf takes an empty file for an empty message
        raise ExportError("not a readable ONNX file (it holds no graph)", where=str(path))
    return model


def external_files(path: Path) -> set[str]:
    """The files beside an ONNX file that hold its weights, by their relative names."""
    onnx = require("onnx", extra="build")
    helper = require("onnx.external_data_helper", extra="build")
    model = onnx.load(str(path), load_external_data=False)
    # In constants and inner graphs too: onnx has no other way to all tensors of a model.
    tensors = (t for t in helper._get_all_tensors(model) if helper.uses_external_data(t))
    return {helper.ExternalDataInfo(tensor).location for tensor in tensors}


def write_model(model: Any, folder: Path) -> None:
    """Write `model.onnx` (and `model.onnx.data` where it is large), stripped and checked.

    Raises:
        ExportError: the graph is not valid ONNX.
    """
    onnx = require("onnx", extra="build")
    strip(model)
    path = folder / "model.onnx"
    weights = folder / "model.onnx.data"
    weights.unlink(missing_ok=True)  # onnx would append to it
    if model.ByteSize() > LARGEST_SINGLE_FILE:
        onnx.save(model, str(path), save_as_external_data=True, location=weights.name)
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
    _strip_notes(model)


def _strip_notes(message: Any) -> None:
    """Clear the notes of a message and of every message in it: graphs, nodes, attributes."""
    for note in ("doc_string", "metadata_props"):
        if note in message.DESCRIPTOR.fields_by_name:
            message.ClearField(note)
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                _strip_notes(part)


def graphs(graph: Any) -> Iterator[Any]:
    """A graph, and those in its nodes: branches and loop bodies, which see its names."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            inner = [attribute.g] if attribute.HasField("g") else []
            for part in (*inner, *attribute.graphs):
                yield from graphs(part)


def rename(graph: Any, name: str, new: str) -> None:
    """Let every node that reads `name` read `new`, in inner graphs too."""
    for part in graphs(graph):
        for node in part.node:
            for index, read in enumerate(node.input):
                if read == name:
                    node.input[index] = new


def names_read(model: Any) -> set[str]:
    """Every name that a node reads or that is an output."""
    read = {name for part in graphs(model.graph) for node in part.node for name in node.input}
    return read | {value.name for part in graphs(model.graph) for value in part.output}


def remove_unused(model: Any) -> None:
    """Remove the weights that nothing reads."""
    read = names_read(model)
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in read]:
        model.graph.initializer.remove(tensor)


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
    sizes = tuple(dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim)
    return TensorSpec(value.name, helper.tensor_dtype_to_np_dtype(tensor.elem_type).name, sizes)
