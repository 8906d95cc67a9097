"""The type of quantized activations: another one, and no value lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgestill.quantize.signed import make_signed, make_unsigned

SCALES = st.floats(2**-13, 2**10, width=32)


def model(constants: dict[str, NDArray[Any]], quantizers: list[tuple[str, str]]) -> onnx.ModelProto:
    """`x` through one Q/DQ pair for each (scale, zero point), each pair an output, and one
    dequantized weight added to the last."""
    nodes, outputs = [], []
    for index, names in enumerate(quantizers):
        nodes.append(helper.make_node("QuantizeLinear", ["x", *names], [f"q{index}"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"q{index}", *names], [f"d{index}"]))
        outputs.append(helper.make_tensor_value_info(f"d{index}", TensorProto.FLOAT, ["n"]))
    constants = constants | {"w": np.array([3], np.int8), "wz": np.array(0, np.int8)}
    nodes.append(helper.make_node("DequantizeLinear", ["w", "half", "wz"], ["weight"]))
    nodes.append(helper.make_node("Add", [f"d{len(quantizers) - 1}", "weight"], ["sum"]))
    outputs.append(helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["n"]))
    constants["half"] = np.array(0.5, np.float32)
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        outputs,
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(made: onnx.ModelProto, x: NDArray[Any]) -> list[NDArray[Any]]:
    onnx.checker.check_model(made, full_check=True)
    session = onnxruntime.InferenceSession(made.SerializeToString())
    answers: list[NDArray[Any]] = session.run(None, {"x": x.astype(np.float32)})
    return answers


def zero_points(made: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    return {node.output[0]: tensors[node.input[2]] for node in made.graph.node if node.input[2:]}


@given(scale=SCALES, zero_point=st.integers(0, 255))
@settings(deadline=None, max_examples=40)
def test_symmetric_s8_covers_the_range_of_u8(scale: float, zero_point: int) -> None:
    constants = {"s": np.array(scale, np.float32), "z": np.array(zero_point, np.uint8)}
    made = model(constants, [("s", "z")])
    low, high = -zero_point * scale, (255 - zero_point) * scale
    x = np.linspace(low, high, 64)
    before = run(made, x)[0]
    make_signed(made)
    after = run(made, x)[0]
    assert zero_points(made)["q0"].dtype == np.int8
    assert not zero_points(made)["q0"].any()
    # The farther end is 127 steps away: nothing is cut off, and a step is at most twice as long.
    step = scale * max(zero_point, 255 - zero_point) / 127
    assert step <= 2 * scale * 1.01
    np.testing.assert_allclose(after, x, atol=step * 0.501)
    np.testing.assert_allclose(after, before, atol=(step + scale) * 0.501)


@given(scale=SCALES, zero_point=st.integers(-128, 127))
@settings(deadline=None, max_examples=40)
def test_u8_has_the_values_of_s8(scale: float, zero_point: int) -> None:
    constants = {"s": np.array(scale, np.float32), "z": np.array(zero_point, np.int8)}
    made = model(constants, [("s", "z")])
    # Beyond the ends too, where both saturate.
    x = np.linspace(-300 * scale, 300 * scale, 101)
    before = run(made, x)
    make_unsigned(made)
    assert zero_points(made)["q0"].dtype == np.uint8
    assert zero_points(made)["weight"].dtype == np.int8
    for one, other in zip(run(made, x), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("change", [make_signed, make_unsigned])
def test_shared_constants(change: Any) -> None:
    """One scale with two zero points, and one zero point with two scales and types."""
    kind = np.uint8 if change is make_signed else np.int8
    other = np.int8 if change is make_signed else np.uint8
    constants: dict[str, NDArray[Any]] = {
        "s": np.array(0.5, np.float32),
        "t": np.array(0.25, np.float32),
        "z": np.array(10, kind),
        "y": np.array(90, kind),
        "stays": np.array(0, other),
    }
    pairs = [("s", "z"), ("s", "y"), ("t", "z"), ("s", "stays")]
    made = model(constants, pairs)
    x = np.linspace(-2.5, 18, 45)
    before = run(made, x)
    change(made)
    after = run(made, x)
    assert {array.dtype for name, array in zero_points(made).items() if name != "weight"} == {
        np.dtype(other)
    }
    for index, (one, reference) in enumerate(zip(after[:4], before[:4], strict=True)):
        atol = 1.0 if change is make_signed and index < 3 else 0
        np.testing.assert_allclose(one, reference, atol=atol)
    np.testing.assert_array_equal(after[3], before[3])
    # What nothing reads any more is gone.
    read = {name for node in made.graph.node for name in node.input}
    assert {tensor.name for tensor in made.graph.initializer} <= read


def test_half_precision_scales_stay() -> None:
    constants = {"s": np.array(0.5, np.float16), "z": np.array(3, np.uint8)}
    made = model({"s": constants["s"], "z": constants["z"]}, [("s", "z")])
    make_signed(made)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    assert tensors[made.graph.node[0].input[1]].dtype == np.float16
