"""Post-training quantization of an ONNX model with NNCF, in the scheme of a family of targets.

cpu       u8 asymmetric activations, s8 per-channel weights (OpenVINO, ONNX Runtime)
tensorrt  s8 symmetric activations with zero point 0, s8 per-channel weights, float bias
"""

from __future__ import annotations

import shutil
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
from edgestill.quantize.fidelity import Feeds, answers, output_error
from edgestill.quantize.signed import make_signed
from edgestill.step import StepContext

_FIX = "Leave out quantize: in the recipe to ship the float model"


@dataclass(frozen=True)
class QuantizeInputs:
    """The float model, and the samples that give the ranges."""

    model: OnnxModel
    calibration: Dataset


def quantize(
    config: QuantizeStep, inputs: QuantizeInputs, out: Path, context: StepContext
) -> OnnxModel:
    """An int8 ONNX model with Q/DQ pairs.

    It is made with and without NNCF's correction of biases, which saves some models and spoils
    others; the one that answers the calibration samples more like the float model is kept.

    Raises:
        ExportError: NNCF cannot quantize the graph, or found nothing to quantize.
    """
    description = inputs.model.description
    feeds = _feeds(config, inputs)
    expected = answers(inputs.model.model_path, feeds)
    errors: dict[Path, float] = {}
    for correct_bias, name in ((True, "corrected"), (False, "plain")):
        folder = context.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        write_model(_quantized(config, inputs, feeds, correct_bias), folder)
        errors[folder] = output_error(answers(folder / "model.onnx", feeds), expected)
        context.progress(len(errors) / 2, f"biases {name}, output error {errors[folder]:.1%}")
    nearest = min(errors, key=lambda folder: errors[folder])
    for file in nearest.iterdir():
        file.rename(out / file.name)
    return OnnxModel.seal(
        out, OnnxDescription(description.signature, precision="int8", scheme=config.scheme)
    )


def _feeds(config: QuantizeStep, inputs: QuantizeInputs) -> Feeds:
    arrays = load_inputs(inputs.calibration)
    count = min(config.samples, inputs.calibration.description.count)
    batch = inputs.model.description.signature.inputs[0].shape[0] or 1
    return [
        {
            name: numpy.array(array.take(range(start, start + batch), axis=0, mode="wrap"))
            for name, array in arrays.items()
        }
        for start in range(0, count, batch)
    ]


def _quantized(
    config: QuantizeStep, inputs: QuantizeInputs, feeds: Feeds, correct_bias: bool
) -> Any:
    nncf = require("nncf", extra="build")
    # PERFORMANCE asks for symmetric activations, which is all that TensorRT takes.
    symmetric = config.scheme == "tensorrt"
    preset = nncf.QuantizationPreset.PERFORMANCE if symmetric else nncf.QuantizationPreset.MIXED
    advanced = nncf.AdvancedQuantizationParameters(disable_bias_correction=not correct_bias)
    try:
        quantized = nncf.quantize(
            read_model(inputs.model.model_path),
            nncf.Dataset(feeds),
            subset_size=len(feeds),
            preset=preset,
            advanced_parameters=advanced,
        )
    except Exception as error:
        raise ExportError(
            f"NNCF could not quantize the model ({type(error).__name__}: {error})",
            where=f"quantize {config.scheme}",
            fix=_FIX,
        ) from error
    if not any(node.op_type == "QuantizeLinear" for node in quantized.graph.node):
        raise ExportError(
            "NNCF found no layer that can be quantized",
            where=f"quantize {config.scheme}",
            fix=_FIX,
        )
    if symmetric:
        make_signed(quantized)
    return quantized
