"""An ONNX file from elsewhere, made to take the device input that the data gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from edgestill.artifact import Dataset, OnnxDescription, OnnxModel, Signature, TensorSpec
from edgestill.data.arrays import label_shape, load_inputs
from edgestill.errors import EdgestillError, ModelError
from edgestill.export.config import AdoptStep
from edgestill.extras import require
from edgestill.models.config import NormalizeConfig
from edgestill.models.interface import (
    normalized_input,
    prediction_name,
    require_classes,
    require_positions,
    scale_and_shift,
)
from edgestill.onnx_file import external_files, read_model, rename, tensor_specs, write_model
from edgestill.step import StepContext

OLDEST_OPSET = 13  # Q/DQ with a scale per channel
OLDEST_IR = 8  # from 4 on, weights need not stand among the inputs


@dataclass(frozen=True)
class AdoptInputs:
    """Real samples, which the model has to take."""

    samples: Dataset


def adopt(config: AdoptStep, inputs: AdoptInputs, out: Path, context: StepContext) -> OnnxModel:
    """The model with inputs named and typed as the data's, normalised inside, run on samples.

    Raises:
        ModelError: the file's inputs do not fit the data, or the runtime refuses it.
        ExportError: it is not a valid ONNX file.
    """
    assert config.model.onnx is not None
    where = config.model.onnx
    try:
        model = read_model(context.base / where)
        _require_declared(config, context.base)
        _upgrade(model)
        data = inputs.samples.description
        _name_inputs(model, data.inputs)
        normalized = normalized_input(config.model.normalize, data.inputs)
        for spec in data.inputs:
            normalize = config.model.normalize if spec.name == normalized else None
            _take_device_input(model, spec, normalize)
        _complete_shapes(model)
        prediction = prediction_name([v.name for v in model.graph.output], config.model.output)
        if config.model.classes == "last":
            _move_classes(model, prediction)
        write_model(model, out)
        signature, predicted = _tried(out / "model.onnx", inputs.samples, prediction)
        require_classes(predicted, data, label_shape(inputs.samples), config.model.classes)
    except EdgestillError as error:
        error.where = where
        raise
    return OnnxModel.seal(out, OnnxDescription(signature, precision="fp32"))


def _require_declared(config: AdoptStep, base: Path) -> None:
    """Refuse weights in files that the key of this step knows nothing of."""
    assert config.model.onnx is not None
    file = base / config.model.onnx
    declared = {(base / name).resolve() for name in config.model.files}
    weights = {(file.parent / name).resolve(): name for name in external_files(file)}
    hidden = sorted(
        name
        for path, name in weights.items()
        if path not in declared
        and not (path.parent == file.parent.resolve() and path.name.startswith(file.name))
    )
    if hidden:
        names = ", ".join(str(Path(config.model.onnx).parent / name) for name in hidden)
        raise ModelError(
            f"its weights lie in {', '.join(hidden)}, where a change would go unnoticed",
            fix=f"Declare it beside onnx:, as files: [{names}]",
        )


def _upgrade(model: Any) -> None:
    """An operator set that can hold Q/DQ, no weights among the inputs."""
    onnx = require("onnx", extra="build")
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if version < OLDEST_OPSET:
        converter = require("onnx.version_converter", extra="build")
        try:
            model.CopyFrom(converter.convert_version(model, OLDEST_OPSET))
        except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
            raise ModelError(
                f"opset {version} cannot be raised to {OLDEST_OPSET} "
                f"({str(error).rpartition(' failed: ')[2]})",
                fix="Export the model again with a newer opset",
            ) from error
    model.ir_version = max(model.ir_version, OLDEST_IR)
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in [value for value in model.graph.input if value.name in weights]:
        model.graph.input.remove(value)


def _name_inputs(model: Any, data_inputs: Sequence[TensorSpec]) -> None:
    """Rename the graph's inputs to the data's, by name where they match, else one for one."""
    specs = tensor_specs(model.graph.input)
    names, wanted = [spec.name for spec in specs], [spec.name for spec in data_inputs]
    if set(names) == set(wanted):
        return
    if len(names) != 1 or len(wanted) != 1:
        raise ModelError(
            f"it takes {', '.join(map(str, specs))}; "
            f"the data has {', '.join(map(str, data_inputs))}",
            fix="Name the arrays of the data as the model's inputs, or choose with data.inputs",
        )
    rename(model.graph, names[0], wanted[0])
    model.graph.input[0].name = wanted[0]


def _take_device_input(model: Any, spec: TensorSpec, normalize: NormalizeConfig | None) -> None:
    """Let the input `spec.name` have the data's type and sizes; cast and normalise behind it."""
    helper = require("onnx.helper", extra="build")
    numpy_helper = require("onnx.numpy_helper", extra="build")
    tensor = next(v.type.tensor_type for v in model.graph.input if v.name == spec.name)
    for dim, size in zip(tensor.shape.dim[1:], spec.shape[1:], strict=False):
        if dim.dim_value <= 0 and size is not None:
            dim.dim_value = size
    wanted = tensor.elem_type
    given = helper.np_dtype_to_tensor_dtype(numpy.dtype(spec.dtype))
    if given == wanted and normalize is None:
        return
    dtype = helper.tensor_dtype_to_np_dtype(wanted)
    inner = f"{spec.name}_as_trained"
    rename(model.graph, spec.name, inner)
    nodes = [helper.make_node("Cast", [spec.name], [f"{spec.name}_cast"], to=wanted)]
    if normalize is None:
        nodes[-1].output[0] = inner
    elif not numpy.issubdtype(dtype, numpy.floating):
        raise ModelError(
            f"its input {spec.name} is {dtype.name}, which cannot hold normalised values",
            fix="Leave normalize out: the model has to normalise by itself",
        )
    else:
        names = f"{spec.name}_scale", f"{spec.name}_shift"
        for name, array in zip(names, scale_and_shift(normalize, spec), strict=True):
            model.graph.initializer.append(numpy_helper.from_array(array.astype(dtype), name))
        nodes.append(helper.make_node("Mul", [f"{spec.name}_cast", names[0]], [f"{inner}_scaled"]))
        nodes.append(helper.make_node("Add", [f"{inner}_scaled", names[1]], [inner]))
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    tensor.elem_type = given


def _move_classes(model: Any, prediction: str) -> None:
    """Make the last axis of an output its first one after the batch."""
    helper = require("onnx.helper", extra="build")
    value = next(value for value in model.graph.output if value.name == prediction)
    shape = value.type.tensor_type.shape
    dims = [type(dim).FromString(dim.SerializeToString()) for dim in shape.dim]
    require_positions([dim.dim_value for dim in dims[1:]])
    inner = f"{prediction}_classes_last"
    rename(model.graph, prediction, inner)
    for node in model.graph.node:
        for index, name in enumerate(node.output):
            if name == prediction:
                node.output[index] = inner
    order = [0, len(dims) - 1, *range(1, len(dims) - 1)]
    model.graph.node.append(helper.make_node("Transpose", [inner], [prediction], perm=order))
    shape.ClearField("dim")
    shape.dim.extend(dims[axis] for axis in order)


def _complete_shapes(model: Any) -> None:
    """No free size that is written as 0 or -1, no output without a shape."""
    onnx = require("onnx", extra="build")
    model.graph.ClearField("value_info")
    for value in (*model.graph.input, *model.graph.output):
        for index, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.HasField("dim_value") and dim.dim_value <= 0:
                dim.dim_param = f"{value.name}_{index}"
    if not all(value.type.tensor_type.HasField("shape") for value in model.graph.output):
        model.CopyFrom(onnx.shape_inference.infer_shapes(model))


def _tried(path: Path, samples: Dataset, prediction: str) -> tuple[Signature, tuple[int, ...]]:
    """The signature of the model, and what it predicts for one real sample, without the batch.

    Raises:
        ModelError: ONNX Runtime refuses the model or the samples, or an output is no row per
            sample.
    """
    graph = read_model(path).graph
    inputs, outputs = tensor_specs(graph.input), tensor_specs(graph.output)
    fixed = inputs[0].shape[0] if inputs[0].shape else None
    # Alone and together: a batch of one may stand somewhere in the graph.
    for count in (1, 3) if fixed is None else (fixed,):
        found = _answers(path, samples, count)
        for spec, answer in zip(outputs, found, strict=True):
            if answer.shape[:1] != (count,):
                raise ModelError(
                    f"output {spec.name} is {list(answer.shape)} for {count} "
                    f"sample{'s' * (count > 1)}: its first axis is not the batch",
                    fix="Take that output out of the graph, or export the model for any batch",
                )
    # The graph need not tell the sizes of its outputs.
    shapes = {spec.name: answer.shape[1:] for spec, answer in zip(outputs, found, strict=True)}
    return Signature(inputs, outputs, prediction), shapes[prediction]


def _answers(path: Path, samples: Dataset, count: int) -> list[NDArray[Any]]:
    runtime = require("onnxruntime", extra="build")
    feeds = {
        name: numpy.array(array.take(range(count), axis=0, mode="wrap"))
        for name, array in load_inputs(samples).items()
    }
    try:
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return session.run(None, feeds)  # type: ignore[no-any-return]
    except Exception as error:
        raise ModelError(
            f"ONNX Runtime cannot run it on {count} sample{'s' * (count > 1)} of the data "
            f"({str(error).splitlines()[0]})",
            fix="Compare the shapes and types of the data with the model's inputs",
        ) from error
