"""Whether ONNX Runtime answers as torch does, in a batch and alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from edgestill.artifact import Signature
from edgestill.errors import EdgestillError, ExportError
from edgestill.export.modules import first_departing
from edgestill.extras import require
from edgestill.models.wrapper import DeviceModel
from edgestill.reference import describe
from edgestill.train.predict import predict

# So many samples are asked about one by one too: most devices have a batch of one.
ALONE = 3

Arrays = Mapping[str, NDArray[Any]]
Outputs = Sequence[NDArray[Any]]

_UNSTEADY = (
    "Look in forward for randomness, for state that it changes, for branches on the batch's size, "
    "and for statistics over the batch (BatchNorm without running statistics)"
)
_UNLIKE = "Look in forward for branches on shapes or values, or raise export.tolerance"


def require_parity(
    path: Path, model: DeviceModel, arrays: Arrays, signature: Signature, tolerance: float
) -> None:
    """Run the module and its ONNX file on the same samples.

    Raises:
        ExportError: an output differs by more than `tolerance` times the output's largest value.
    """
    names = model.output_names
    count = len(next(iter(arrays.values())))
    expected = predict(model, arrays, torch.device("cpu"))
    for name, output in zip(names, expected, strict=True):
        if not numpy.isfinite(output).all():
            raise ExportError(
                f"output {name} has NaN or infinite values on real samples",
                fix="Look at normalize: and at the model's weights",
            )
    for row in range(min(count, ALONE)):
        alone = predict(model, _rows(arrays, [row]), torch.device("cpu"))
        what = "between a batch of samples and one of them alone, in torch"
        _require_close(names, [e[[row]] for e in expected], alone, tolerance, what, _UNSTEADY)
    session = _session(path)
    fixed = signature.inputs[0].shape[0]
    batches = [range(start, start + fixed) for start in range(0, count, fixed)] if fixed else []
    if not fixed:
        batches = [range(count), *(range(row, row + 1) for row in range(min(count, ALONE)))]
    for batch in batches:
        rows = [row % count for row in batch]
        feeds = _rows(arrays, rows)
        answered = session.run(list(names), feeds)
        what = f"between ONNX and torch for a batch of {len(rows)}"
        try:
            _require_close(names, [e[rows] for e in expected], answered, tolerance, what, _UNLIKE)
        except ExportError as unlike:
            unlike.what += _departing(path, model, feeds)
            raise


def _departing(path: Path, model: DeviceModel, feeds: Arrays) -> str:
    """Where the two part, as words to follow the error; empty where that cannot be told."""
    try:
        departure = first_departing(path, model, feeds)
    except EdgestillError:  # it explains an error, and must not take its place
        return ""
    return f". It {departure}" if departure else ""


def _rows(arrays: Arrays, rows: list[int]) -> dict[str, NDArray[Any]]:
    return {name: numpy.ascontiguousarray(array[rows]) for name, array in arrays.items()}


def _session(path: Path) -> Any:
    runtime = require("onnxruntime", extra="build")
    try:
        return runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ExportError(
            f"ONNX Runtime cannot load the exported model ({describe(error)})",
            fix="Use float32 and operations that it has",
        ) from error


def _require_close(
    names: Sequence[str],
    expected: Outputs,
    found: Outputs,
    tolerance: float,
    what: str,
    fix: str,
) -> None:
    for name, reference, output in zip(names, expected, found, strict=True):
        if reference.shape != output.shape:
            raise ExportError(
                f"output {name} has other shapes {what}: "
                f"{list(reference.shape)}, {list(output.shape)}",
                fix=fix,
            )
        largest = float(numpy.abs(reference).max(initial=0.0)) or 1.0
        difference = float(numpy.abs(reference - output).max(initial=0.0))
        if not difference <= tolerance * largest:
            raise ExportError(
                f"output {name} differs by {difference:.3g} {what} "
                f"(largest value {largest:.3g}, allowed {tolerance * largest:.3g})",
                fix=fix,
            )
