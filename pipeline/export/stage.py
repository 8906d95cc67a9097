"""From PyTorch to ONNX: dynamic batch, device input, named outputs, checked against torch."""

from __future__ import annotations

from collections.abc import Mapping
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
)
from edgestill.data.arrays import load_inputs
from edgestill.errors import ExportError
from edgestill.export.config import ExportConfig, ExportStep
from edgestill.export.modules import name_by_module
from edgestill.export.parity import require_parity
from edgestill.export.refusal import refused
from edgestill.extras import require
from edgestill.models.wrapper import DeviceModel
from edgestill.onnx_file import read_model, tensor_specs, write_model
from edgestill.step import StepContext
from edgestill.train.stage import restore

PARITY_SAMPLES = 64

Arrays = Mapping[str, NDArray[Any]]


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
    signature = write_onnx(model, arrays, config.export, out)
    return OnnxModel.seal(out, OnnxDescription(signature, precision="fp32"))


def write_onnx(model: DeviceModel, arrays: Arrays, config: ExportConfig, folder: Path) -> Signature:
    """Write `model.onnx` of a model in eval mode, and compare it with torch on `arrays`.

    Raises:
        ExportError: an operation cannot be exported, or ONNX Runtime answers otherwise than torch.
    """
    program = _to_onnx(model, arrays, config)
    name_by_module(program)
    write_model(program, folder)
    graph = read_model(folder / "model.onnx").graph
    signature = Signature(
        inputs=tensor_specs(graph.input),
        outputs=tensor_specs(graph.output),
        prediction=model.output_names[model.prediction_index],
    )
    _require_batch(signature, config)
    require_parity(folder / "model.onnx", model, arrays, signature, config.tolerance)
    return signature


def _to_onnx(model: DeviceModel, arrays: Arrays, config: ExportConfig) -> Any:
    """The `onnx.ModelProto` of a model in eval mode, its example taken from real samples."""
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
        raise refused(error, model) from error
    assert program is not None
    return program.model_proto


def _require_batch(signature: Signature, config: ExportConfig) -> None:
    """The exporter makes a constant of a batch size that forward takes for a number."""
    wanted = None if config.batch == "dynamic" else config.batch
    for spec in (*signature.inputs, *signature.outputs):
        if spec.shape[:1] == (wanted,):
            continue
        size = spec.shape[0] if spec.shape else "none"
        raise ExportError(
            f"the batch of {spec.name} should be {wanted or 'free'} in the export, and is {size}",
            fix="Look in forward for len(x), int(x.shape[0]) and sizes written as numbers, or "
            "say which batch the device will use, such as export: {batch: 1}",
        )
