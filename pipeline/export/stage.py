"""From PyTorch to ONNX: dynamic batch, device input, named outputs, checked against torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from edgestill.artifact import (
    Checkpoint,
    Dataset,
    OnnxDescription,
    OnnxModel,
    Signature,
    TensorSpec,
)
from edgestill.data.arrays import load_inputs
from edgestill.errors import ExportError
from edgestill.export.config import ExportConfig, ExportStep
from edgestill.extras import require
from edgestill.models.wrapper import DeviceModel
from edgestill.onnx_file import read_model, tensor_specs, write_model
from edgestill.step import StepContext
from edgestill.train.predict import predict
from edgestill.train.stage import restore

PARITY_SAMPLES = 64


@dataclass(frozen=True)
class ExportInputs:
    """The weights, and real samples on which ONNX and torch are compared."""

    checkpoint: Checkpoint
    samples: Dataset


def export(config: ExportStep, inputs: ExportInputs, out: Path, context: StepContext) -> OnnxModel:
    """The model as ONNX.

    Raises:
        ExportError: an operation cannot be exported, or ONNX Runtime answers otherwise than torch.
    """
    model = restore(config.model, inputs.checkpoint, inputs.samples, config.task, context.base)
    arrays = {name: array[:PARITY_SAMPLES] for name, array in load_inputs(inputs.samples).items()}
    write_model(to_onnx(model, arrays, config.export), out)
    written = read_model(out / "model.onnx")
    outputs = tensor_specs(written.graph.output)
    signature = Signature(
        inputs=tensor_specs(written.graph.input),
        outputs=outputs,
        prediction=outputs[model.prediction_index].name,
    )
    require_parity(out / "model.onnx", model, arrays, signature, config.export.tolerance)
    return OnnxModel.seal(out, OnnxDescription(signature, precision="fp32"))


def to_onnx(model: DeviceModel, arrays: dict[str, NDArray[Any]], config: ExportConfig) -> Any:
    """The `onnx.ModelProto` of a model in eval mode, its example taken from real samples.

    Raises:
        ExportError: the exporter refuses; the message names the operation or the line.
    """
    require("onnxscript", extra="build")
    # Two samples where the batch is free: the exporter takes a size of one for a constant.
    size = 2 if config.batch == "dynamic" else config.batch
    example = tuple(
        torch.from_numpy(numpy.array(array.take(range(size), axis=0, mode="wrap")))
        for array in arrays.values()
    )
    dynamic = None
    if config.batch == "dynamic":
        batch = torch.export.Dim("batch", min=1)
        # DeviceModel takes *inputs: one entry, a tuple of one shape per input.
        dynamic = (tuple({0: batch} for _ in example),)
    try:
        program = torch.onnx.export(
            model,
            example,
            dynamo=True,
            dynamic_shapes=dynamic,
            input_names=list(arrays),
            output_names=list(model.output_names),
            opset_version=config.opset,
            verbose=False,
        )
    except Exception as error:
        raise ExportError(_reason(error), where="export", fix=_FIX) from error
    if program is None:
        raise ExportError("the exporter gave no model", where="export", fix=_FIX)
    return program.model_proto


def require_parity(
    path: Path,
    model: DeviceModel,
    arrays: dict[str, NDArray[Any]],
    signature: Signature,
    tolerance: float,
) -> None:
    """Run the ONNX file and the module on the same samples.

    Raises:
        ExportError: an output differs by more than `tolerance` times the output's largest value.
    """
    runtime = require("onnxruntime", extra="build")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = predict(model, arrays, torch.device("cpu"))
    count = len(next(iter(arrays.values())))
    batch = signature.inputs[0].shape[0] or count
    for start in range(0, count - batch + 1, batch):
        rows = slice(start, start + batch)
        answered = session.run(None, {name: array[rows] for name, array in arrays.items()})
        for spec, torch_output, onnx_output in zip(
            signature.outputs, expected, answered, strict=True
        ):
            _require_close(spec, torch_output[rows], onnx_output, tolerance)


def _require_close(
    spec: TensorSpec, torch_output: NDArray[Any], onnx_output: NDArray[Any], tolerance: float
) -> None:
    if torch_output.shape != onnx_output.shape:
        raise ExportError(
            f"output {spec.name} is {list(onnx_output.shape)} in ONNX, "
            f"{list(torch_output.shape)} in torch",
            where="export",
            fix="Look for Python branches or constants that depend on the input's shape",
        )
    largest = float(numpy.abs(torch_output).max(initial=0.0)) or 1.0
    difference = float(numpy.abs(torch_output - onnx_output).max(initial=0.0))
    if not difference <= tolerance * largest:
        raise ExportError(
            f"output {spec.name} differs by {difference:.3g} between ONNX and torch "
            f"(largest value {largest:.3g}, allowed {tolerance * largest:.3g})",
            where="export",
            fix="Look for randomness or in-place state in forward, or raise export.tolerance",
        )


_FIX = "Rewrite that operation in forward with ones that ONNX has, then try `edgestill doctor`"


def _reason(error: BaseException) -> str:
    """The innermost cause in one line, with the user's line where the exporter names it."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and cause not in causes:
        causes.append(cause)
    texts = [str(cause) for cause in causes]
    lines = [line.strip() for line in texts[-1].splitlines() if line.strip()]
    reason = lines[0] if lines else type(causes[-1]).__name__
    for text in texts:
        if operator := re.search(r"(aten|prims|torchvision|[a-z_]+)::?\.?[\w.]+", text):
            if operator.group(0) not in reason:
                reason += f" ({operator.group(0)})"
            break
    for text in texts:
        if place := re.findall(r'File "([^"]+)", line (\d+)', text):
            reason += f" at {Path(place[-1][0]).name}:{place[-1][1]}"
            break
    return f"the model cannot be exported: {reason}"
