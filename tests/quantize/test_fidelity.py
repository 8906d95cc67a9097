"""How far int8 answers from float, on known numbers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import ArrayLike
from onnx import TensorProto, helper

from edgestill.quantize.fidelity import answers, output_error


def arrays(*values: ArrayLike) -> list[np.ndarray]:
    return [np.array(value, np.float32) for value in values]


@pytest.mark.parametrize(
    ("found", "expected", "error"),
    [
        (arrays([0, 2]), arrays([0, 2]), 0.0),
        # Everything is one standard deviation off.
        (arrays([1, 3]), arrays([0, 2]), 1.0),
        (arrays([0, 4]), arrays([0, 2]), math.sqrt(2)),
        # The unit of the outputs has no say.
        (arrays([0, 400]), arrays([0, 200]), math.sqrt(2)),
        # The worst of several outputs.
        (arrays([0, 2], [0, 4]), arrays([0, 2], [0, 2]), math.sqrt(2)),
        # A constant has no deviation: the error itself.
        (arrays([5, 7]), arrays([5, 5]), math.sqrt(2)),
        (arrays([0, math.nan]), arrays([0, 2]), math.inf),
        (arrays([0, math.inf]), arrays([0, 2]), math.inf),
        (arrays([0, math.nan], [0, 2]), arrays([0, 2], [0, 2]), math.inf),
        ([], [], 0.0),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_the_error_of_outputs(
    found: list[np.ndarray], expected: list[np.ndarray], error: float
) -> None:
    assert output_error(found, expected) == pytest.approx(error, rel=1e-6)


def test_large_half_precision_values_do_not_overflow() -> None:
    found, expected = np.array([6e4, 0], np.float16), np.array([-6e4, 0], np.float16)
    assert output_error([found], [expected]) == pytest.approx(2 * math.sqrt(2), rel=1e-3)


def test_answers_come_in_the_order_of_the_feeds_and_without_integers(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["x", "x"], ["twice"]),
        helper.make_node("ArgMax", ["x"], ["best"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [
            helper.make_tensor_value_info("best", TensorProto.INT64, ["n"]),
            helper.make_tensor_value_info("twice", TensorProto.FLOAT, ["n", 2]),
        ],
    )
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "m.onnx")
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    (twice,) = answers(tmp_path / "m.onnx", [{"x": x[:1]}, {"x": x[1:]}])
    np.testing.assert_array_equal(twice, 2 * x)
