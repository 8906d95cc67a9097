"""Post-training quantization of an ONNX model with NNCF, in the scheme of a family of targets.

cpu       u8 asymmetric activations, s8 per-channel weights (OpenVINO, ONNX Runtime)
tensorrt  s8 symmetric activations with zero point 0, s8 per-channel weights, float bias
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
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
from edgestill.quantize.fidelity import Feeds, Outputs, answers, output_error
from edgestill.quantize.kept_float import (
    keep_empty_ranges,
    keep_joined_to_constants,
    keep_masks,
    keep_patches,
    keep_sequence_sums,
)
from edgestill.quantize.layers import layer_errors
from edgestill.quantize.signed import make_signed, make_unsigned
from edgestill.reference import describe
from edgestill.step import StepContext

_SHOWN = 5
_FIX = "Leave out quantize: in the recipe to ship the float model"


@dataclass(frozen=True)
class Way:
    """Settings of NNCF between which the calibration samples decide.

    Attributes:
        correct_bias: whether biases make up for the mean error of their layer.
        widest: whether a range holds every value that was seen; else it is the mean of the
            samples' own ranges, which cuts off outliers and all of the more extreme samples.
    """

    correct_bias: bool
    widest: bool

    @property
    def name(self) -> str:
        ranges = "widest" if self.widest else "mean"
        return f"{ranges}-{'corrected' if self.correct_bias else 'plain'}"


WAYS = tuple(Way(bias, widest) for widest in (True, False) for bias in (True, False))


@dataclass(frozen=True)
class QuantizeInputs:
    """The float model, and the samples that give the ranges."""

    model: OnnxModel
    calibration: Dataset


def quantize(
    config: QuantizeStep, inputs: QuantizeInputs, out: Path, context: StepContext
) -> OnnxModel:
    """An int8 ONNX model with Q/DQ pairs.

    It is made in several ways, each of which is right for some models and spoils others; the
    one that answers the calibration samples most like the float model is kept.

    Raises:
        ExportError: NNCF cannot quantize the graph, or found nothing to quantize.
    """
    description = inputs.model.description
    feeds = _feeds(config, inputs)
    expected = answers(inputs.model.model_path, feeds)
    if not all(numpy.isfinite(output).all() for output in expected):
        raise ExportError("the float model's answers are not finite on the calibration samples")
    errors: dict[Path, float] = {}
    for way in WAYS:
        folder = context.work / way.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        quantized = _quantized(config, inputs, feeds, way)
        floats = _fit(quantized, config.scheme)
        write_model(quantized, folder)
        errors[folder] = _error(folder / "model.onnx", feeds, expected)
        context.progress(len(errors) / len(WAYS), f"{way.name}, output error {errors[folder]:.1%}")
    if floats:
        context.say(f"constant or infinite on all calibration samples, left float: {_few(floats)}")
    nearest = min(errors, key=lambda folder: errors[folder])
    if errors[nearest] == float("inf"):
        raise ExportError(
            "the int8 model's answers are not finite on the calibration samples", fix=_FIX
        )
    for file in nearest.iterdir():
        file.rename(out / file.name)
    layers = layer_errors(inputs.model.model_path, out / "model.onnx", feeds)
    return OnnxModel.seal(
        out, OnnxDescription(description.signature, "int8", config.scheme, layers)
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


def _error(model: Path, feeds: Feeds, expected: Outputs) -> float:
    try:
        return output_error(answers(model, feeds), expected)
    except Exception as error:
        raise ExportError(
            f"ONNX Runtime cannot run the int8 model ({describe(error)})", fix=_FIX
        ) from error


def _quantized(config: QuantizeStep, inputs: QuantizeInputs, feeds: Feeds, way: Way) -> Any:
    nncf = require("nncf", extra="build")
    advanced_parameters = require("nncf.quantization.advanced_parameters", extra="build")
    ranges = require("nncf.quantization.range_estimator", extra="build")
    estimators = ranges.RangeEstimatorParametersSet
    # PERFORMANCE asks for symmetric activations, which is all that TensorRT takes.
    symmetric = config.scheme == "tensorrt"
    preset = nncf.QuantizationPreset.PERFORMANCE if symmetric else nncf.QuantizationPreset.MIXED
    advanced = nncf.AdvancedQuantizationParameters(
        disable_bias_correction=not way.correct_bias,
        # By default depthwise convolutions get a scale per channel, which no runtime can run.
        activations_quantization_params=advanced_parameters.QuantizationParameters(
            per_channel=False
        ),
        activations_range_estimator_params=(
            estimators.MINMAX if way.widest else estimators.MEAN_MINMAX
        ),
    )
    try:
        quantized = nncf.quantize(
            read_model(inputs.model.model_path),
            nncf.Dataset(feeds),
            subset_size=len(feeds),
            preset=preset,
            advanced_parameters=advanced,
        )
    except Exception as error:
        double = "tensor(double)" in str(error)
        raise ExportError(
            f"NNCF could not quantize the model ({describe(error)})",
            fix="It computes in float64, which has no int8: return module.float()"
            if double
            else _FIX,
        ) from error
    return quantized


def _fit(quantized: Any, scheme: str) -> tuple[str, ...]:
    """Make what NNCF gave fit the targets; the activations that stay float for want of a range."""
    floats = keep_empty_ranges(quantized)
    keep_masks(quantized)
    if scheme == "tensorrt":
        make_signed(quantized)
    else:
        keep_sequence_sums(quantized)
        keep_joined_to_constants(quantized)
        keep_patches(quantized)
        make_unsigned(quantized)
    if not any(node.op_type == "QuantizeLinear" for node in quantized.graph.node):
        raise ExportError("NNCF found no layer that can be quantized", fix=_FIX)
    return floats


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
