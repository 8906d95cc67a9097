"""An ONNX file from elsewhere, made to take the device input that the data gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from edgestill.artifact import Dataset, OnnxDescription, OnnxModel, Signature, TensorSpec
from edgestill.data.arrays import load_inputs
from edgestill.errors import ModelError
from edgestill.export.config import AdoptStep
from edgestill.extras import require
from edgestill.models.config import NormalizeConfig
from edgestill.onnx_file import read_model, tensor_specs, write_model
from edgestill.step import StepContext

OLDEST_OPSET = 13  # Q/DQ with a scale per channel


@dataclass(frozen=True)
class AdoptInputs:
    """Real samples, which the model has to take."""

    samples: Dataset


def adopt(config: AdoptStep, inputs: AdoptInputs, out: Path, context: StepContext) -> OnnxModel:
    """The model with inputs named and typed as the data's, normalised inside, run once.

    Raises:
        ModelError: the file's inputs do not fit the data, or the runtime refuses it.
        ExportError: it is not a valid ONNX file.
    """
    assert config.model.onnx is not None
    where = config.model.onnx
    model = read_model(context.base / where)
    _upgrade(model, where)
    data_inputs = inputs.samples.description.inputs
    _name_inputs(model, data_inputs, where)
    for spec in data_inputs:
        _take_device_input(model, spec, _normalization(config.model.normalize, spec, data_inputs))
    write_model(model, out)
    written = read_model(out / "model.onnx")
    outputs = tensor_specs(written.graph.output)
    names = [spec.name for spec in outputs]
    prediction = config.model.output or names[0]
    if prediction not in names or (len(names) > 1 and not config.model.output):
        raise ModelError(
            f"it is not clear which output metrics read: {', '.join(names)}",
            where=where,
            fix=f"Say which one, such as output: {names[0]}",
        )
    _try(out / "model.onnx", inputs.samples, where)
    signature = Signature(tensor_specs(written.graph.input), outputs, prediction)
    return OnnxModel.seal(out, OnnxDescription(signature, precision="fp32"))


def _upgrade(model: Any, where: str) -> None:
    converter = require("onnx.version_converter", extra="build")
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if version < OLDEST_OPSET:
        try:
            model.CopyFrom(converter.convert_version(model, OLDEST_OPSET))
        except RuntimeError as error:
            raise ModelError(
                f"opset {version} cannot be raised to {OLDEST_OPSET} ({error})",
                where=where,
                fix="Export the model again with a newer opset",
            ) from error


def _name_inputs(model: Any, data_inputs: Sequence[TensorSpec], where: str) -> None:
    """Rename the graph's inputs to the data's, by name where they match, else one for one."""
    # Files of old list their weights among the inputs.
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in [value for value in model.graph.input if value.name in weights]:
        model.graph.input.remove(value)
    specs = tensor_specs(model.graph.input)
    names, wanted = [spec.name for spec in specs], [spec.name for spec in data_inputs]
    if set(names) == set(wanted):
        return
    if len(names) != 1 or len(wanted) != 1:
        raise ModelError(
            f"it takes {', '.join(map(str, specs))}; "
            f"the data has {', '.join(map(str, data_inputs))}",
            where=where,
            fix="Name the arrays of the data as the model's inputs, or choose with data.inputs",
        )
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == names[0]:
                node.input[index] = wanted[0]
    model.graph.input[0].name = wanted[0]


def _normalization(
    normalize: NormalizeConfig | None, spec: TensorSpec, data_inputs: Sequence[TensorSpec]
) -> NormalizeConfig | None:
    if normalize is None:
        return None
    chosen = normalize.input or data_inputs[0].name
    return normalize if chosen == spec.name else None


def _take_device_input(model: Any, spec: TensorSpec, normalize: NormalizeConfig | None) -> None:
    """Let the input `spec.name` have the data's type; cast and normalise behind it."""
    helper = require("onnx.helper", extra="build")
    numpy_helper = require("onnx.numpy_helper", extra="build")
    value = next(value for value in model.graph.input if value.name == spec.name)
    wanted = value.type.tensor_type.elem_type
    given = helper.np_dtype_to_tensor_dtype(numpy.dtype(spec.dtype))
    if given == wanted and normalize is None:
        return
    inner = f"{spec.name}_as_trained"
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == spec.name:
                node.input[index] = inner
    nodes = [helper.make_node("Cast", [spec.name], [f"{spec.name}_cast"], to=wanted)]
    if normalize is None:
        nodes[-1].output[0] = inner
    else:
        dtype = helper.tensor_dtype_to_np_dtype(wanted)
        rank = len(value.type.tensor_type.shape.dim)
        mean, std = numpy.array(normalize.mean), numpy.array(normalize.std)
        shape = (-1,) if mean.size == std.size == 1 else (-1, *[1] * (rank - 2))
        constants = {
            f"{spec.name}_scale": (1 / (normalize.range * std)).reshape(shape),
            f"{spec.name}_shift": (-mean / std).reshape(shape),
        }
        scale, shift = constants
        for name, array in constants.items():
            model.graph.initializer.append(numpy_helper.from_array(array.astype(dtype), name))
        nodes.append(helper.make_node("Mul", [f"{spec.name}_cast", scale], [f"{inner}_scaled"]))
        nodes.append(helper.make_node("Add", [f"{inner}_scaled", shift], [inner]))
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    value.type.tensor_type.elem_type = given


def _try(path: Path, samples: Dataset, where: str) -> None:
    """One call on real samples.

    Raises:
        ModelError: ONNX Runtime refuses the model or the samples.
    """
    runtime = require("onnxruntime", extra="build")
    try:
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        sizes = {spec.name: spec.shape[0] for spec in session.get_inputs()}
        feeds = {
            name: numpy.array(
                array.take(
                    range(sizes[name] if isinstance(sizes[name], int) else 1), axis=0, mode="wrap"
                )
            )
            for name, array in load_inputs(samples).items()
        }
        session.run(None, feeds)
    except Exception as error:
        raise ModelError(
            f"ONNX Runtime cannot run it on the data ({str(error).splitlines()[0]})",
            where=where,
            fix="Compare the shapes and types of the data with the model's inputs",
        ) from error
