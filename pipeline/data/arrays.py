"""The arrays of a dataset artifact, mapped from disk: nothing is read before it is used."""

from __future__ import annotations

from typing import Any

import numpy
from numpy.typing import NDArray

from edgestill.artifact import Dataset

IDS_FILE = "ids.npy"


def load_inputs(dataset: Dataset) -> dict[str, NDArray[Any]]:
    """Each input by name, in the model's order, `[n, ...]`, read-only."""
    specs = dataset.description.inputs
    return {spec.name: numpy.load(dataset.input_path(spec.name), mmap_mode="r") for spec in specs}


def load_labels(dataset: Dataset) -> NDArray[Any] | None:
    """`[n] int64` class numbers (`[n, ...]` where positions are classified), `[n, k] float32` zeros
    and ones for multi-label tasks, `[n, ...] float32` for regression; None where there are none."""
    if not dataset.labels_path.is_file():
        return None
    labels: NDArray[Any] = numpy.load(dataset.labels_path, mmap_mode="r")
    return labels


def label_shape(dataset: Dataset) -> tuple[int, ...] | None:
    """The shape of a sample's label, `()` for a class number; None where the data has no labels."""
    labels = load_labels(dataset)
    return None if labels is None else labels.shape[1:]


def load_ids(dataset: Dataset) -> NDArray[numpy.uint64]:
    """Each sample's hash, `[n] uint64`, ascending; equal samples have equal ones."""
    ids: NDArray[numpy.uint64] = numpy.load(dataset.path / IDS_FILE, mmap_mode="r")
    return ids
