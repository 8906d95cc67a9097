"""All samples of a dataset through a model: what a worker process does for `predict`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from edgestill.artifact import TensorSpec
from edgestill.errors import DeviceError
from edgestill.targets.base import shape_fits
from edgestill.targets.jobs import PredictJob, open_dataset
from edgestill.targets.samples import open_inputs, take


def predict_all(job: PredictJob, alive: Callable[[], None]) -> None:
    """Write each output as `out/outputs/<n>.npy` `[count, ...]`.

    Args:
        alive: called after each call, so that slow is not taken for hung.

    Raises:
        DeviceError: an output has another shape or type than the model's signature, or is not
            finite.
    """
    dataset = open_dataset(job.dataset)
    signature, count = job.model.signature, dataset.description.count
    inputs = open_inputs(dataset, signature)
    fixed = signature.inputs[0].shape[0]
    batch = min(job.batch, job.model.largest_batch or job.batch) if fixed is None else fixed
    session = job.model.load(job.threads)
    folder = job.out / "outputs"
    folder.mkdir(parents=True)
    written: list[Any] = [None] * len(signature.outputs)
    for start in range(0, count, batch):
        stop = min(start + batch, count)
        # A fixed batch is filled up with the last sample, and its answers are dropped.
        fed = batch if fixed is not None else stop - start
        outputs = session.run(
            take(inputs, numpy.minimum(numpy.arange(start, start + fed), stop - 1))
        )
        for index, spec in enumerate(signature.outputs):
            output = outputs[spec.name]
            # Of sizes that the signature leaves free, the first call's hold for all.
            sizes = spec.shape if written[index] is None else written[index].shape
            _require_valid(output, TensorSpec(spec.name, spec.dtype, (fed, *sizes[1:])), start)
            rows = output[: stop - start]
            _require_finite(rows, spec.name, start)
            if written[index] is None:
                written[index] = _create(folder / f"{index}.npy", count, output)
            written[index][start:stop] = rows
        alive()
    for array in written:
        array.flush()


def _create(path: Path, count: int, output: NDArray[Any]) -> Any:
    shape = (count, *output.shape[1:])
    return numpy.lib.format.open_memmap(path, mode="w+", dtype=output.dtype, shape=shape)


def _require_valid(output: NDArray[Any], expected: TensorSpec, start: int) -> None:
    if output.dtype.name != expected.dtype or not shape_fits(expected.shape, output.shape):
        found = TensorSpec(expected.name, output.dtype.name, output.shape)
        raise DeviceError(f"the output is {found}, expected {expected}", where=f"sample {start}")


def _require_finite(rows: NDArray[Any], name: str, start: int) -> None:
    if not numpy.issubdtype(rows.dtype, numpy.inexact):
        return
    bad = ~numpy.isfinite(rows)
    if bad.any():
        row = int(numpy.argwhere(bad)[0][0])
        value = rows[row][bad[row]].ravel()[0]
        raise DeviceError(f"the output {name} has {value}", where=f"sample {start + row}")
