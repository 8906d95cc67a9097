"""Activations as s8 with zero point 0, which is what TensorRT reads."""

from __future__ import annotations

from typing import Any

import numpy

from edgestill.extras import require

LARGEST_S8 = 127


def make_signed(model: Any) -> None:
    """Replace every u8 quantizer of the ONNX `model` by an s8 one that covers the same range.

    With scale s and zero point z, u8 reaches from -z s to (255 - z) s; symmetric s8 has to reach
    the farther end: its scale is s max(z, 255 - z) / 127.
    """
    numpy_helper = require("onnx.numpy_helper", extra="build")
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    done: set[str] = set()
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or len(node.input) < 3:
            continue
        scale_name, zero_name = node.input[1], node.input[2]
        zero_point = numpy_helper.to_array(initializers[zero_name])
        if zero_point.dtype != numpy.uint8:
            continue
        if scale_name not in done:
            farther = numpy.maximum(zero_point, 255 - zero_point).astype(numpy.float32)
            scale = numpy_helper.to_array(initializers[scale_name]) * (farther / LARGEST_S8)
            _replace(initializers[scale_name], scale.astype(numpy.float32), scale_name)
            done.add(scale_name)
        # Zero points may be shared between quantizers, so each gets its own signed one.
        signed_name = f"{scale_name}_signed_zero_point"
        if signed_name not in initializers:
            signed = numpy_helper.from_array(numpy.zeros_like(zero_point, numpy.int8), signed_name)
            model.graph.initializer.append(signed)
            initializers[signed_name] = model.graph.initializer[-1]
        node.input[2] = signed_name
    # Noted types of quantized values would still say u8.
    model.graph.ClearField("value_info")
    used = {name for node in model.graph.node for name in node.input}
    unused = [tensor for tensor in model.graph.initializer if tensor.name not in used]
    for tensor in unused:
        model.graph.initializer.remove(tensor)


def _replace(tensor: Any, array: Any, name: str) -> None:
    numpy_helper = require("onnx.numpy_helper", extra="build")
    tensor.CopyFrom(numpy_helper.from_array(array, name))
