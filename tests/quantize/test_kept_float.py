"""Activations that stay float: the graph around them, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgestill.quantize.kept_float import (
    keep_empty_ranges,
    keep_joined_to_constants,
    keep_masks,
    keep_patches,
    keep_sequence_sums,
)

STEP = 0.5
PAIR = [
    helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
    helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
]


def model(
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[Any],
    outputs: Sequence[str] = ("y",),
    scale: float = STEP,
    opset: int = 20,
    **constants: NDArray[Any],
) -> onnx.ModelProto:
    tensors = {"scale": np.array(scale, np.float32), "zero": np.array(128, np.uint8)} | constants
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def run(made: onnx.ModelProto, x: NDArray[Any]) -> list[NDArray[Any]]:
    session = onnxruntime.InferenceSession(made.SerializeToString())
    answers: list[NDArray[Any]] = session.run(None, {"x": x})
    return answers


def operations(made: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in made.graph.node]


X = np.array([[0.3, -0.3]], np.float32)


@pytest.mark.parametrize("scale", [float("inf"), float("nan"), 1.2e-7, 3.2e-7, 6.3e-6])
def test_a_scale_that_says_nothing_goes(scale: float) -> None:
    nodes = [*PAIR, helper.make_node("Add", ["d", "d"], ["y"])]
    made = model(nodes, ["n", 2], scale=scale)
    assert keep_empty_ranges(made) == ("x",)
    assert operations(made) == ["Identity", "Add"]
    assert not made.graph.initializer
    np.testing.assert_array_equal(run(made, X)[0], 2 * X)


@pytest.mark.parametrize("scale", [1e-5, 0.5, 78.7, 1e30])
def test_a_scale_that_says_something_stays(scale: float) -> None:
    nodes = [*PAIR, helper.make_node("Add", ["d", "d"], ["y"])]
    made = model(nodes, ["n", 2], scale=scale)
    assert keep_empty_ranges(made) == ()
    assert operations(made) == ["QuantizeLinear", "DequantizeLinear", "Add"]
    assert len(made.graph.initializer) == 2


def test_all_that_reads_it_reads_the_float() -> None:
    """Two readers, an inner graph among them, and the outside."""
    inner = helper.make_graph(
        [helper.make_node("Neg", ["d"], ["inner"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    nodes = [
        *PAIR,
        helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner),
    ]
    made = model(nodes, ["n", 2], ["y", "d"], float("inf"), yes=np.array(True))
    keep_empty_ranges(made)
    negative, plain = run(made, X)
    np.testing.assert_array_equal(negative, -X)
    np.testing.assert_array_equal(plain, X)


SEQUENCE, MAP = np.full((2, 3, 4), 0.3, np.float32), np.full((2, 3, 4, 5), 0.3, np.float32)


@pytest.mark.parametrize(
    ("operation", "axes", "x", "float_read"),
    [
        ("ReduceMean", [1], SEQUENCE, True),
        ("ReduceSum", [1], SEQUENCE, True),
        ("ReduceMean", [-2], SEQUENCE, True),
        ("ReduceMean", [1, 2], SEQUENCE, True),
        ("ReduceMean", [2], SEQUENCE, False),
        ("ReduceMean", [-1], SEQUENCE, False),
        ("ReduceMax", [1], SEQUENCE, False),
        # A convolution before the mean of a map would no longer be int8.
        ("ReduceMean", [2, 3], MAP, False),
        ("ReduceMean", [1], MAP, False),
    ],
)
def test_sums_over_time_read_floats(
    operation: str, axes: list[int], x: NDArray[Any], float_read: bool
) -> None:
    nodes = [*PAIR, helper.make_node(operation, ["d", "axes"], ["y"])]
    made = model(nodes, ["n", *x.shape[1:]], axes=np.array(axes))
    keep_sequence_sums(made)
    assert ("QuantizeLinear" not in operations(made)) is float_read
    share = np.prod([x.shape[axis] for axis in axes]) if operation == "ReduceSum" else 1
    # 0.3 is 0.5 in steps of 0.5.
    np.testing.assert_allclose(run(made, x)[0], (0.3 if float_read else 0.5) * share, rtol=1e-6)


@pytest.mark.parametrize("attributes", [{"axes": [1]}, {}], ids=["axis 1", "all axes"])
def test_axes_of_older_operator_sets(attributes: dict[str, Any]) -> None:
    nodes = [*PAIR, helper.make_node("ReduceMean", ["d"], ["y"], **attributes)]
    made = model(nodes, ["n", 3, 4], opset=13)
    keep_sequence_sums(made)
    assert operations(made) == ["ReduceMean"]


def test_sums_of_a_part_read_floats() -> None:
    """As the mean of a transformer's patches, without its class token."""
    nodes = [
        *PAIR,
        helper.make_node("Slice", ["d", "one", "end", "one"], ["part"]),
        helper.make_node("ReduceMean", ["part", "one"], ["y"]),
    ]
    made = model(nodes, ["n", 3, 4], one=np.array([1]), end=np.array([9]))
    keep_sequence_sums(made)
    assert operations(made) == ["Slice", "ReduceMean"]
    np.testing.assert_allclose(run(made, SEQUENCE)[0], 0.3, rtol=1e-6)


def test_other_readers_keep_the_quantized_value() -> None:
    nodes = [
        *PAIR,
        helper.make_node("ReduceMean", ["d", "axes"], ["y"]),
        helper.make_node("Neg", ["d"], ["z"]),
    ]
    made = model(nodes, ["n", 3, 4], ["y", "z"], axes=np.array([1]))
    keep_sequence_sums(made)
    mean, negative = run(made, SEQUENCE)
    np.testing.assert_allclose(mean, 0.3, rtol=1e-6)
    np.testing.assert_allclose(negative, -0.5)


@pytest.mark.parametrize(
    ("operation", "order", "coarse_scale", "float_read"),
    [
        ("Add", ["d", "coarse"], 4e6, True),
        ("Add", ["coarse", "d"], 4e6, True),
        ("Sub", ["d", "coarse"], 4e6, True),
        ("Mul", ["d", "coarse"], 4e6, False),
        ("Add", ["d", "coarse"], 40.0, False),
    ],
)
def test_what_is_added_to_much_finer_values_is_read_as_float(
    operation: str, order: list[str], coarse_scale: float, float_read: bool
) -> None:
    nodes = [
        *PAIR,
        helper.make_node("Mul", ["x", "large"], ["mask"]),
        helper.make_node("QuantizeLinear", ["mask", "step", "end"], ["mask_q"]),
        helper.make_node("DequantizeLinear", ["mask_q", "step", "end"], ["coarse"]),
        helper.make_node(operation, order, ["y"]),
    ]
    made = model(
        nodes,
        ["n", 2],
        large=np.array(-100 * coarse_scale, np.float32),
        step=np.array(coarse_scale, np.float32),
        end=np.array(255, np.uint8),
    )
    keep_masks(made)
    assert operations(made).count("QuantizeLinear") == 2 - float_read
    # The finer one stays quantized: 0.3 is 0.5 in its steps.
    reads = made.graph.node[-1].input
    assert "d" in reads and ("mask" in reads) is float_read


def expanded(constant: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Shape", ["x"], ["batch"], end=1),
        helper.make_node("Concat", ["batch", "ones"], ["shape"], axis=0),
        helper.make_node("Expand", [constant, "shape"], ["repeated"]),
    ]


@pytest.mark.parametrize(
    ("constant", "joined", "float_read"),
    [
        ("token", ["repeated", "moved"], True),
        ("token", ["moved", "repeated"], True),
        ("x", ["repeated", "moved"], False),
        ("token", ["moved", "moved"], False),
    ],
    ids=["before", "after", "a value of the batch", "no constant"],
)
def test_what_is_joined_to_a_repeated_constant_is_read_as_float(
    constant: str, joined: list[str], float_read: bool
) -> None:
    nodes = [
        *PAIR,
        *expanded(constant),
        helper.make_node("Transpose", ["d"], ["moved"], perm=[0, 2, 1]),
        helper.make_node("Concat", joined, ["y"], axis=1),
        helper.make_node("Neg", ["d"], ["z"]),
    ]
    token = np.zeros((1, 1, 1), np.float32)
    made = model(nodes, ["n", 3, 3], ["y", "z"], ones=np.array([3, 3]), token=token)
    keep_joined_to_constants(made)
    together, negative = run(made, SEQUENCE[:, :, :3])
    # 0.3 is 0.5 in steps of 0.5, for whoever else reads it.
    assert np.isclose(together, 0.3 if float_read else 0.5).any()
    assert np.isclose(together, 0.5).any() is not np.bool_(float_read)
    np.testing.assert_allclose(negative, -0.5)


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "float_read"),
    [(8, 4, 4, True), (8, 8, 8, True), (3, 8, 8, False), (8, 4, 2, False), (8, 2, 2, False)],
)
def test_patches_of_features_are_read_as_float(
    channels: int, kernel: int, stride: int, float_read: bool
) -> None:
    nodes = [
        *PAIR,
        helper.make_node("DequantizeLinear", ["w", "step"], ["weights"]),
        helper.make_node(
            "Conv",
            ["d", "weights"],
            ["y"],
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
        ),
    ]
    made = model(
        nodes,
        ["n", channels, 8, 8],
        w=np.ones((2, channels, kernel, kernel), np.int8),
        step=np.array(1, np.float32),
    )
    keep_patches(made)
    assert ("QuantizeLinear" not in operations(made)) is float_read
    x = np.full((1, channels, 8, 8), 0.3, np.float32)
    value = (0.3 if float_read else 0.5) * channels * kernel**2
    np.testing.assert_allclose(run(made, x)[0], value, rtol=1e-5)
