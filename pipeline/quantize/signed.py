"""The type of quantized activations: u8 for CPUs, s8 with zero point 0 for TensorRT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
from numpy.typing import NDArray

from edgestill.extras import require
from edgestill.onnx_file import remove_unused

LARGEST_S8 = 127
# From a scale and a zero point to others.
Change = Callable[[NDArray[Any], NDArray[Any]], tuple[NDArray[Any], NDArray[Any]]]


def make_signed(model: Any) -> None:
    """Replace every u8 quantizer of the ONNX `model` by an s8 one that covers the same range.

    With scale s and zero point z, u8 reaches from -z s to (255 - z) s; symmetric s8 has to reach
    the farther end: its scale is s max(z, 255 - z) / 127.
    """

    def change(scale: NDArray[Any], zero_point: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        farther = numpy.maximum(zero_point, 255 - zero_point).astype(numpy.float32)
        signed = (scale * (farther / LARGEST_S8)).astype(scale.dtype)
        return signed, numpy.zeros_like(zero_point, numpy.int8)

    _change(model, numpy.uint8, change)


def make_unsigned(model: Any) -> None:
    """Replace every s8 quantizer of an activation by a u8 one of the same values.

    ONNX Runtime and OpenVINO multiply u8 by s8 with one VNNI instruction; for s8 by s8 they need
    more work (ONNX Runtime took 2.6 times as long for a transformer).
    """

    def change(scale: NDArray[Any], zero_point: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        return scale, (zero_point.astype(numpy.int16) + 128).astype(numpy.uint8)

    _change(model, numpy.int8, change)


def _change(model: Any, dtype: type[Any], change: Change) -> None:
    """Give the quantizers whose zero point has `dtype` another scale and zero point."""
    numpy_helper = require("onnx.numpy_helper", extra="build")
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    # A weight has a DequantizeLinear alone: it stays.
    activations = {n.output[0] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    for node in model.graph.node:
        quantizes = node.op_type == "QuantizeLinear"
        if not quantizes and not (
            node.op_type == "DequantizeLinear" and node.input[0] in activations
        ):
            continue
        zero_point = numpy_helper.to_array(initializers[node.input[2]])
        if zero_point.dtype != dtype:
            continue
        scale = numpy_helper.to_array(initializers[node.input[1]])
        # Constants may be shared with quantizers that stay: the new ones have names of their own.
        pair = f"{node.input[1]}_{node.input[2]}"
        for index, array in zip((1, 2), change(scale, zero_point), strict=True):
            name = f"{pair}_as_{array.dtype}"
            if name not in initializers:
                model.graph.initializer.append(numpy_helper.from_array(array, name))
                initializers[name] = model.graph.initializer[-1]
            node.input[index] = name
    # Noted types of quantized values would still be the former.
    model.graph.ClearField("value_info")
    remove_unused(model)
