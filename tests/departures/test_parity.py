"""Whether an engine agrees with its model, and the samples on which it agrees least."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from edgestill.artifact import (
    Dataset,
    DatasetDescription,
    OnnxModel,
    Predictions,
    PredictionsDescription,
    TensorSpec,
)
from edgestill.departures.parity import allowed_error, answers_error, least_alike
from edgestill.targets.options import OnnxRuntimeOptions, OpenVinoOptions

Array = NDArray[Any]
ROWS = 20


@pytest.fixture
def predictions(tmp_path: Path) -> Callable[[Array], Predictions]:
    def make(logits: Array) -> Predictions:
        folder = tmp_path / f"predictions{len(list(tmp_path.iterdir()))}"
        (folder / "outputs").mkdir(parents=True)
        np.save(folder / "outputs" / "0.npy", logits)
        described = PredictionsDescription("numpy", len(logits), ("logits",), "logits")
        return Predictions.seal(folder, described)

    return make


@pytest.fixture
def samples(tmp_path: Path) -> Dataset:
    """Row n is filled with n."""
    images = np.zeros((ROWS, 6, 5, 5), np.float32) + np.arange(ROWS)[:, None, None, None]
    folder = tmp_path / "samples"
    (folder / "inputs").mkdir(parents=True)
    np.save(folder / "inputs" / "x.npy", images.astype(np.float32))
    spec = TensorSpec("x", "float32", (None, 6, 5, 5))
    return Dataset.seal(folder, DatasetDescription("test", ROWS, "custom", (spec,)))


@pytest.mark.parametrize(
    ("precision", "options", "quantization", "allowed"),
    [
        ("fp32", OnnxRuntimeOptions(), 0.0, 1e-3),
        ("fp32", OpenVinoOptions("bf16"), 0.0, 3e-2),
        ("fp16", None, 0.0, 1e-2),
        ("int8", OpenVinoOptions(), 0.001, 1e-2),
        ("int8", OpenVinoOptions(), 0.08, 0.08),
    ],
)
def test_what_an_engine_may_differ_by(
    precision: str, options: Any, quantization: float, allowed: float
) -> None:
    assert allowed_error(precision, options, quantization) == allowed


def test_answers_of_another_shape_cannot_be_compared(
    predictions: Callable[[Array], Predictions],
) -> None:
    first = predictions(np.full((ROWS, 3), 2.0))
    assert answers_error(first, predictions(np.full((ROWS, 3), 2.5))) == 0.25
    assert answers_error(first, predictions(np.full((ROWS, 4), 2.5))) == 0.0


def test_the_samples_that_differ_most_come_first(
    predictions: Callable[[Array], Predictions],
    samples: Dataset,
    make_model: Callable[..., Any],
    sealed: Callable[..., OnnxModel],
) -> None:
    before = np.zeros((ROWS, 3))
    after = before.copy()
    after[[4, 17, 9], [0, 1, 2]] = [0.5, -2.0, 1.0]
    answers = predictions(before), predictions(after)
    model = make_model([helper.make_node("Relu", ["x"], ["logits"], "relu")], {})
    rows = least_alike(sealed(model), samples, *answers)["x"][:, 0, 0, 0].tolist()
    assert rows[:3] == [17, 9, 4] and len(rows) == 8
    # A fixed batch is filled, from the start again where the samples do not suffice.
    for batch in (2, ROWS + 1):
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
        rows = least_alike(sealed(model), samples, *answers)["x"][:, 0, 0, 0].tolist()
        assert (
            len(rows) == batch
            and rows[:2] == [17, 9]
            and rows[ROWS:] == rows[: max(0, batch - ROWS)]
        )
