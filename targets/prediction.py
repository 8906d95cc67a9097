"""All samples of a dataset through a model: what a worker process does for `predict`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from edgestill.artifact import TensorSpec
from edgestill.errors import DeviceError
from edgestill.targets.jobs import PredictJob, open_dataset
from edgestill.targets.samples import open_inputs, take

_SIGN_OF_LIFE_S = 0.5


def predict_all(job: PredictJob, alive: Callable[[], None]) -> None:
    """Write each output as `out/outputs/<n>.npy` `[count, ...]`.

    Args:
        alive: called now and then, so that slow is not taken for hung.

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
    told = time.monotonic()
    for start in range(0, count, batch):
        stop = min(start + batch, count)
        # A fixed batch is filled up with the last sample, and its answers are dropped.
        fed = batch if fixed is not None else stop - start
        outputs = session.run(
            take(inputs, numpy.minimum(numpy.arange(start, start + fed), stop - 1))
        )
        for index, spec in enumerate(signature.outputs):
            output = outputs[spec.name]
            _require_valid(output[: stop - start], spec, start, fed, output)
            if written[index] is None:
                written[index] = _create(folder / f"{index}.npy", count, output)
            written[index][start:stop] = output[: stop - start]
        if time.monotonic() - told > _SIGN_OF_LIFE_S:
            alive()
            told = time.monotonic()
    for array in written:
        array.flush()


def _create(path: Path, count: int, output: NDArray[Any]) -> Any:
    shape = (count, *output.shape[1:])
    return numpy.lib.format.open_memmap(path, mode="w+", dtype=output.dtype, shape=shape)


def _require_valid(
    rows: NDArray[Any], spec: TensorSpec, start: int, fed: int, output: NDArray[Any]
) -> None:
    expected = (fed, *spec.shape[1:])
    fits = len(output.shape) == len(expected) and all(
        size in (None, given) for size, given in zip(expected, output.shape, strict=True)
    )
    if not fits or output.dtype.name != spec.dtype:
        found = TensorSpec(spec.name, output.dtype.name, output.shape)
        raise DeviceError(
            f"the output is {found} for {fed} samples, expected {spec}", where=f"sample {start}"
        )
    if not numpy.issubdtype(rows.dtype, numpy.inexact):
        return
    bad = ~numpy.isfinite(rows)
    if bad.any():
        row = int(numpy.argwhere(bad)[0][0])
        value = rows[row][bad[row]].ravel()[0]
        raise DeviceError(f"the output {spec.name} has {value}", where=f"sample {start + row}")
