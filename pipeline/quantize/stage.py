"""Post-training quantization of an ONNX model with NNCF, in the scheme of a family of targets.

cpu       u8 asymmetric activations, s8 per-channel weights (OpenVINO, ONNX Runtime)
tensorrt  s8 symmetric activations with zero point 0, s8 per-channel weights, float bias
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from edgestill.artifact import Dataset, OnnxDescription, OnnxModel
from edgestill.data.arrays import load_inputs
from edgestill.errors import ExportError
from edgestill.extras import require
from edgestill.onnx_file import read_model, write_model
from edgestill.quantize.config import QuantizeStep
from edgestill.quantize.signed import make_signed
from edgestill.step import StepContext


@dataclass(frozen=True)
class QuantizeInputs:
    """The float model, and the samples that give the ranges."""

    model: OnnxModel
    calibration: Dataset


def quantize(
    config: QuantizeStep, inputs: QuantizeInputs, out: Path, context: StepContext
) -> OnnxModel:
    """An int8 ONNX model with Q/DQ pairs.

    Raises:
        ExportError: NNCF cannot quantize the graph, or found nothing to quantize.
    """
    del context  # NNCF tells nothing on its way
    nncf = require("nncf", extra="build")
    description = inputs.model.description
    arrays = load_inputs(inputs.calibration)
    count = min(config.samples, inputs.calibration.description.count)
    batch = description.signature.inputs[0].shape[0] or 1
    feeds = [
        {name: numpy.array(_rows(array, start, batch)) for name, array in arrays.items()}
        for start in range(0, count, batch)
    ]
    preset = nncf.QuantizationPreset.MIXED
    if config.scheme == "tensorrt":
        preset = nncf.QuantizationPreset.PERFORMANCE
    try:
        quantized = nncf.quantize(
            read_model(inputs.model.model_path),
            nncf.Dataset(feeds),
            subset_size=len(feeds),
            preset=preset,
        )
    except Exception as error:
        raise ExportError(
            f"NNCF could not quantize the model ({type(error).__name__}: {error})",
            where=f"quantize {config.scheme}",
            fix="Leave out quantize: in the recipe to ship the float model",
        ) from error
    if not any(node.op_type == "QuantizeLinear" for node in quantized.graph.node):
        raise ExportError(
            "NNCF found no layer that can be quantized",
            where=f"quantize {config.scheme}",
            fix="Leave out quantize: in the recipe to ship the float model",
        )
    if config.scheme == "tensorrt":
        make_signed(quantized)
    write_model(quantized, out)
    return OnnxModel.seal(
        out, OnnxDescription(description.signature, precision="int8", scheme=config.scheme)
    )


def _rows(array: Any, start: int, batch: int) -> Any:
    """`batch` rows from `start`, going round at the end."""
    return array.take(range(start, start + batch), axis=0, mode="wrap")
