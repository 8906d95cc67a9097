"""What the tests of export share: datasets of a few samples, and a context."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.artifact import Dataset, DatasetDescription, TensorSpec
from edgestill.step import StepContext

MakeDataset = Callable[..., Dataset]


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """Writes a dataset of the given arrays."""

    def make(
        inputs: Mapping[str, NDArray[Any]],
        labels: NDArray[Any] | None = None,
        task: str = "classification",
        classes: int = 0,
        name: str = "data",
    ) -> Dataset:
        folder = tmp_path / name
        (folder / "inputs").mkdir(parents=True)
        for key, array in inputs.items():
            np.save(folder / "inputs" / f"{key}.npy", array)
        if labels is not None:
            np.save(folder / "labels.npy", labels)
        specs = tuple(
            TensorSpec(key, array.dtype.name, (None, *array.shape[1:]))
            for key, array in inputs.items()
        )
        names = tuple(str(number) for number in range(classes))
        count = len(next(iter(inputs.values())))
        np.save(folder / "ids.npy", np.arange(count, dtype=np.uint64))
        return Dataset.seal(folder, DatasetDescription("train", count, task, specs, names))

    return make


@pytest.fixture
def context(tmp_path: Path) -> StepContext:
    """A step whose recipe lies in `tmp_path`."""
    return StepContext(tmp_path, tmp_path / "work", lambda share, words: None, lambda line: None)
