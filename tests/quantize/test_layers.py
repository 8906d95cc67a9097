"""The error of each layer of an int8 model, against what NumPy makes of the same weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgestill.artifact import LayerError, OnnxModel
from edgestill.quantize.layers import layer_errors

MakeModel = Callable[..., OnnxModel]
RANDOM = np.random.default_rng(0)
FIRST = RANDOM.standard_normal((6, 5)).astype(np.float32)
SECOND = RANDOM.standard_normal((5, 4)).astype(np.float32)
FEEDS = [{"x": RANDOM.standard_normal((1, 6)).astype(np.float32)} for _ in range(8)]
SAMPLES = np.concatenate([feed["x"] for feed in FEEDS])


@pytest.fixture
def two_layers(make_model: MakeModel) -> Callable[..., OnnxModel]:
    def make(first: np.ndarray = FIRST, second: np.ndarray = SECOND) -> OnnxModel:
        return make_model(
            [
                ("MatMul", ("x", "module.body.0.weight"), "hidden", {}),
                ("Relu", ("hidden",), "positive", {}),
                ("MatMul", ("positive", "module.head.weight"), "logits", {}),
            ],
            {"x": ("f", 1, 6)},
            {"module.body.0.weight": first, "module.head.weight": second},
            ("f", 1, 4),
        )

    return make


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(np.mean((found - expected) ** 2)) / expected.std())


def test_a_layer_that_was_altered_has_the_error_and_so_has_what_follows(
    two_layers: Callable[..., OnnxModel],
) -> None:
    altered = FIRST + 0.1
    hidden, other = SAMPLES @ FIRST, SAMPLES @ altered
    logits = np.maximum(hidden, 0) @ SECOND
    found = layer_errors(two_layers().model_path, two_layers(altered).model_path, FEEDS)
    assert found == (
        LayerError("body.0", "MatMul", pytest.approx(relative(other, hidden), rel=1e-4)),
        LayerError(
            "head",
            "MatMul",
            pytest.approx(relative(np.maximum(other, 0) @ SECOND, logits), rel=1e-4),
        ),
    )
    found = layer_errors(two_layers().model_path, two_layers(second=SECOND * 2).model_path, FEEDS)
    assert found[0].error == 0
    assert found[1].error == pytest.approx(relative(2 * logits, logits), rel=1e-4)


def test_the_same_model_has_no_error(two_layers: Callable[..., OnnxModel]) -> None:
    path = two_layers().model_path
    assert [layer.error for layer in layer_errors(path, path, FEEDS)] == [0, 0]


def test_whole_numbers_are_no_layer_of_a_float_model(make_model: MakeModel) -> None:
    path = make_model(
        [
            ("MatMul", ("i", "table"), "counted", {}),
            ("Cast", ("counted",), "x", {"to": 1}),
            ("MatMul", ("x", "module.head.weight"), "logits", {}),
        ],
        {"i": ("i", 1, 2)},
        {"table": np.ones((2, 5), np.int64), "module.head.weight": SECOND},
        ("f", 1, 4),
    ).model_path
    feeds = [{"i": np.array([[1, 2]])}]
    assert [layer.name for layer in layer_errors(path, path, feeds)] == ["head"]


def test_a_model_too_large_for_one_file_has_none(
    two_layers: Callable[..., OnnxModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgestill.quantize.layers.LARGEST_SINGLE_FILE", 10)
    path = two_layers().model_path
    assert layer_errors(path, path, FEEDS) == ()
