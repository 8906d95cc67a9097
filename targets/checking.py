"""Whether the outputs of timed calls are what the model answered when its accuracy was taken."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

from edgestill.artifact import Engine
from edgestill.targets.jobs import Model
from edgestill.targets.samples import Feeds

# How far outputs may lie from the model's own predictions, as a share of the output's largest
# absolute value. Another batch size means other kernels, hence other rounding: in int8 a value on
# the edge between two steps falls to the other side. What is looked for is nonsense.
_TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 5e-2, "int8": 5e-2}


class Check:
    """Holds outputs against references; cheap where a feed is answered as it was before."""

    def __init__(self, references: Sequence[Feeds], tolerance: float) -> None:
        self.checked = 0
        self.mismatches = 0
        self.largest_difference = 0.0
        self._references = references
        self._tolerance = tolerance
        self._scales = {
            name: max(_largest(reference[name]) for reference in references) or 1.0
            for name in references[0]
        }
        self._accepted: dict[int, Feeds] = {}

    def __call__(self, position: int, outputs: Feeds) -> None:
        self.checked += 1
        accepted = self._accepted.get(position)
        if accepted is not None and _equal(outputs, accepted):
            return
        reference = self._references[position]
        difference = max(
            _difference(outputs[name], reference[name], self._scales[name]) for name in reference
        )
        self.largest_difference = max(self.largest_difference, difference)
        if difference <= self._tolerance:
            self._accepted[position] = outputs
        else:
            self.mismatches += 1


def _equal(outputs: Feeds, accepted: Feeds) -> bool:
    for name, array in accepted.items():
        output = outputs[name]
        if output.shape != array.shape or not (output == array).all():
            return False
    return True


def _difference(output: NDArray[Any], reference: NDArray[Any], scale: float) -> float:
    """The largest absolute difference as a share of `scale`; the largest float, which JSON can
    hold, where shapes differ or NaN is met."""
    if output.shape != reference.shape:
        return sys.float_info.max
    difference = _largest(numpy.subtract(output, reference, dtype=numpy.float64)) / scale
    return difference if numpy.isfinite(difference) else sys.float_info.max


def _largest(array: NDArray[Any]) -> float:
    return float(numpy.abs(array.astype(numpy.float64)).max(initial=0.0))


def tolerance_of(model: Model) -> float:
    artifact = model.artifact
    tolerance = _TOLERANCE[artifact.description.precision]
    if isinstance(artifact, Engine):
        computed = artifact.description.options.get("inference_precision", "")
        tolerance = max(tolerance, _TOLERANCE.get(computed, 0.0))
    return tolerance
