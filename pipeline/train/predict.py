"""What a PyTorch model answers on a dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgestill.models.wrapper import DeviceModel, require_rows

Arrays = Mapping[str, NDArray[numpy.generic]]

BATCH = 256


def placed(array: NDArray[Any], device: torch.device) -> Tensor:
    """A copy of an array on `device`."""
    # A memory-mapped file is read-only; torch wants an array that it may write to.
    tensor = torch.from_numpy(numpy.array(array))
    if device.type != "cuda":
        return tensor.to(device)
    # From memory that the system may move, a copy would wait for all that the GPU has to do.
    return tensor.pin_memory().to(device, non_blocking=True)


def to_tensors(
    arrays: Arrays, rows: NDArray[numpy.int64] | slice, device: torch.device
) -> list[Tensor]:
    """The given rows of each array, in order, on `device`."""
    return [placed(array[rows], device) for array in arrays.values()]


def predict(
    model: DeviceModel, inputs: Arrays, device: torch.device
) -> list[NDArray[numpy.float32]]:
    """Every output of `model` in eval mode on all samples, each `[n, ...] float32`.

    Raises:
        ModelError: an output has not one row per sample.
    """
    batches = list(predict_batches(model, inputs, device))
    return [numpy.concatenate(column) for column in zip(*batches, strict=True)]


def predict_batches(
    model: DeviceModel, inputs: Arrays, device: torch.device
) -> Iterator[list[NDArray[numpy.float32]]]:
    count = len(next(iter(inputs.values())))
    was_training = model.training
    model.eval()
    # Not inference mode: a model that keeps a mask would be left with one that cannot be trained.
    with torch.no_grad():
        for start in range(0, count, BATCH):
            fed = to_tensors(inputs, slice(start, start + BATCH), device)
            outputs = model(*fed)
            for name, output in zip(model.output_names, outputs, strict=True):
                require_rows(name, output, len(fed[0]))
            yield [output.float().cpu().numpy() for output in outputs]
    model.train(was_training)
