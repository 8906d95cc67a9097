"""How far a quantized model answers from the float model that it came from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from edgestill.extras import require

Feeds = Sequence[dict[str, NDArray[Any]]]
Outputs = list[NDArray[Any]]


def answers(model: Path, feeds: Feeds) -> Outputs:
    """The floating-point outputs of an ONNX file, each with the answers to all feeds in a row."""
    runtime = require("onnxruntime", extra="build")
    session = runtime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    by_feed = [session.run(None, feed) for feed in feeds]
    outputs = [numpy.concatenate(parts) for parts in zip(*by_feed, strict=True)]
    return [output for output in outputs if numpy.issubdtype(output.dtype, numpy.floating)]


def output_error(found: Outputs, expected: Outputs) -> float:
    """The largest error of an output: root mean square difference over the standard deviation.

    Infinite where an answer is not finite.
    """
    errors = []
    for output, reference in zip(found, expected, strict=True):
        difference = numpy.subtract(output, reference, dtype=numpy.float64)
        root_mean_square = float(numpy.sqrt(numpy.mean(numpy.square(difference))))
        errors.append(root_mean_square / (float(numpy.std(reference, dtype=numpy.float64)) or 1.0))
    largest = max(errors, default=0.0)
    return largest if numpy.isfinite(largest) else float("inf")
