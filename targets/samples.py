"""The samples of a dataset as feeds of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy
from numpy.typing import NDArray

from edgestill.artifact import Dataset, Signature
from edgestill.errors import DataError

Feeds = dict[str, NDArray[Any]]


def open_inputs(dataset: Dataset, signature: Signature) -> Mapping[str, NDArray[Any]]:
    """Each input of the model, `[n, ...]`, mapped from disk.

    Raises:
        DataError: the dataset lacks one.
    """
    arrays = {}
    for spec in signature.inputs:
        path = dataset.input_path(spec.name)
        if not path.is_file():
            found = ", ".join(str(item) for item in dataset.description.inputs)
            raise DataError(
                f"the model's input {spec} is not in the data, which has {found}",
                where=str(dataset.path),
            )
        arrays[spec.name] = numpy.load(path, mmap_mode="r")
    return arrays


def take(arrays: Mapping[str, NDArray[Any]], rows: NDArray[numpy.intp]) -> Feeds:
    """Copies of some rows, each C-contiguous."""
    return {name: numpy.ascontiguousarray(array[rows]) for name, array in arrays.items()}
