"""Whether two models that should agree do, and the samples on which they agree least."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy
from numpy.typing import NDArray

from edgestill.artifact import Dataset, OnnxModel, Predictions
from edgestill.data.arrays import load_inputs
from edgestill.departures.search import SAMPLES, relative_error

Array = NDArray[Any]
Arrays = Mapping[str, Array]

# What rounding may do to a model's answers, relative to them, by what it is computed in.
_ALLOWED = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 3e-2, "int8": 1e-2}


def allowed_error(precision: str, options: Any, quantization: float = 0.0) -> float:
    """How far an engine's answers may be from those of its ONNX model.

    Runtimes round int8 in ways of their own, and one step of a value that lies between two is a
    large step: an int8 engine may add as much as quantization itself did.

    Args:
        options: the target's own.
        quantization: how far the answers of an int8 model are from the float one's.
    """
    narrow = getattr(options, "inference_precision", "") == "bf16"
    return max(_ALLOWED["bf16" if narrow else precision], quantization)


def answers_error(reference: Predictions, candidate: Predictions) -> float:
    """The relative error of a candidate's answers; 0 where the two have other shapes."""
    first, second = prediction(reference), prediction(candidate)
    return relative_error(first, second) if first.shape == second.shape else 0.0


def least_alike(
    model: OnnxModel, samples: Dataset, reference: Predictions, candidate: Predictions
) -> Arrays:
    """The few samples whose answers differ most, by input: as many as a fixed batch has."""
    first, second = prediction(reference), prediction(candidate)
    difference = numpy.abs(first.astype(numpy.float64) - second)
    largest = difference.reshape(len(first), -1).max(axis=1)
    count = model.description.signature.inputs[0].shape[0] or min(SAMPLES, len(first))
    rows = numpy.resize(numpy.argsort(-largest, kind="stable")[:count], count)
    return {name: numpy.array(array[rows]) for name, array in load_inputs(samples).items()}


def prediction(predictions: Predictions) -> Array:
    """The output that metrics read, `[n, ...]`."""
    name = predictions.description.prediction
    array: Array = numpy.load(predictions.output_path(name), mmap_mode="r")
    return array
