"""Activations that stay float, though NNCF quantizes them."""

from __future__ import annotations

from typing import Any

import numpy

from edgestill.extras import require
from edgestill.onnx_file import names_read, remove_unused

# NNCF widens a range below 16e-4 to that: one of 254 steps is as long as this.
FINEST_SCALE = 6.3e-6
# What is as many times as coarse as what it is added to leaves it few bits of a float's 24.
COARSER = 1024
_IMAGE_CHANNELS = 4
_REDUCTIONS = ("ReduceSum", "ReduceMean")
_REARRANGES = {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Identity"}
_REPEATS = {"Expand", "Tile", "QuantizeLinear", "DequantizeLinear"}


def keep_empty_ranges(model: Any) -> tuple[str, ...]:
    """Take out the quantizers of the ONNX `model` whose scale says nothing; what stays float.

    An attention mask of -inf, or of the lowest float, has no finite range; a mask of samples
    without padding has none at all. Quantized, it would mask nothing. The same goes for an input
    that is zero in all samples: another value would be lost.
    """
    numpy_helper = require("onnx.numpy_helper", extra="build")
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    empty: list[str] = []
    for quantizer, dequantizer in _pairs(model):
        scale = numpy_helper.to_array(initializers[quantizer.input[1]])
        if not numpy.isfinite(scale).all() or scale.max() <= FINEST_SCALE:
            empty.append(quantizer.input[0])
            del dequantizer.input[:], dequantizer.attribute[:]
            dequantizer.op_type = "Identity"
            dequantizer.input.append(quantizer.input[0])
    _remove_unread(model)
    return tuple(dict.fromkeys(empty))


def keep_masks(model: Any) -> None:
    """Let what is added to much finer values, as an attention mask is, stay float in the ONNX
    `model`.

    OpenVINO sums integers in units of the coarser scale: beside a mask of -1e9 nothing is left of
    the scores, those that are not masked included.
    """
    numpy_helper = require("onnx.numpy_helper", extra="build")
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    pairs = {dequantizer.output[0]: quantizer for quantizer, dequantizer in _pairs(model)}
    for node in model.graph.node:
        quantizers = [pairs.get(name) for name in node.input]
        if node.op_type not in ("Add", "Sub") or None in quantizers:
            continue
        scales = [float(numpy_helper.to_array(initializers[q.input[1]])) for q in quantizers if q]
        coarser = int(numpy.argmax(scales))
        if scales[coarser] > COARSER * min(scales):
            node.input[coarser] = pairs[node.input[coarser]].input[0]
    _remove_unread(model)


def keep_sequence_sums(model: Any) -> None:
    """Let sums and means of `[n, t, c]` along t read floats in the ONNX `model`.

    OpenVINO 2026.4 gives wrong ones of quantized values once n is more than 1. Other sums stay:
    a convolution before them is int8 only if its result is.
    """
    onnx = require("onnx", extra="build")
    inferred = onnx.shape_inference.infer_shapes(model).graph
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*inferred.input, *inferred.value_info)
        if value.type.tensor_type.HasField("shape")
    }
    graph = _Rearranged(model)
    for node in model.graph.node:
        sums = node.op_type in _REDUCTIONS and ranks.get(node.input[0], 3) == 3
        if sums and _reduces_second(node, model):
            graph.read_float(node, 0)
    _remove_unread(model)


def keep_joined_to_constants(model: Any) -> None:
    """Let what is concatenated with a constant of the batch's size stay float in the ONNX `model`.

    As patches with the class token of a vision transformer: OpenVINO 2026.4 drops the bias of the
    layer before them if its result is quantized.
    """
    graph = _Rearranged(model)
    for join in [node for node in model.graph.node if node.op_type == "Concat"]:
        if any(map(graph.is_repeated_constant, join.input)):
            for index in range(len(join.input)):
                graph.read_float(join, index)
    _remove_unread(model)


def keep_patches(model: Any) -> None:
    """Let convolutions that cut a map of features into patches read floats in the ONNX `model`.

    Where stride and kernel are one, of 4 or more, OpenVINO 2026.4 gives wrong results of int8 on
    processors with AMX: of 16 channels in large batches, of 32 and 48 always. The patches of an
    image, of few channels, are right.
    """
    tensors = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    weights = {
        node.output[0]: tensors[node.input[0]]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in tensors
    }
    graph = _Rearranged(model)
    for node in [node for node in model.graph.node if node.op_type == "Conv"]:
        shape = weights.get(node.input[1])
        strides = [list(a.ints) for a in node.attribute if a.name == "strides"]
        if shape is None or strides != [shape[2:]]:
            continue
        if shape[1] > _IMAGE_CHANNELS and min(shape[2:]) >= 4:
            graph.read_float(node, 0)
    _remove_unread(model)


class _Rearranged:
    """Quantized values as nodes read them: at once, or cut and laid out anew."""

    def __init__(self, model: Any) -> None:
        self._makers = {output: node for node in model.graph.node for output in node.output}
        self._constants = {tensor.name for tensor in model.graph.initializer}
        self._sources = {d.output[0]: quantizer.input[0] for quantizer, d in _pairs(model)}

    def read_float(self, node: Any, index: int) -> None:
        """Let an input of a node, if it is a quantized value, be what was quantized."""
        while node.input[index] not in self._sources:
            maker = self._makers.get(node.input[index])
            if maker is None or maker.op_type not in _REARRANGES:
                return
            node, index = maker, 0
        node.input[index] = self._sources[node.input[index]]

    def is_repeated_constant(self, name: str) -> bool:
        maker = self._makers.get(name)
        if maker is None:
            return name in self._constants
        if maker.op_type in _REARRANGES | _REPEATS:
            return self.is_repeated_constant(maker.input[0])
        return bool(maker.op_type in ("Constant", "ConstantOfShape"))


def _reduces_second(node: Any, model: Any) -> bool:
    """Whether a reduction of three axes includes the second."""
    numpy_helper = require("onnx.numpy_helper", extra="build")
    axes = [
        axis for attribute in node.attribute if attribute.name == "axes" for axis in attribute.ints
    ]
    if len(node.input) > 1:
        tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        constant = tensors.get(node.input[1])
        axes = [1] if constant is None else numpy_helper.to_array(constant).tolist()
    return not axes or any(axis in (1, -2) for axis in axes)


def _pairs(model: Any) -> list[tuple[Any, Any]]:
    """Each quantizer of an activation with a dequantizer that reads it."""
    quantizers = {n.output[0]: n for n in model.graph.node if n.op_type == "QuantizeLinear"}
    return [
        (quantizers[node.input[0]], node)
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in quantizers
    ]


def _remove_unread(model: Any) -> None:
    """Remove the quantizers, dequantizers and constants that nothing reads any more."""
    for kind in ("DequantizeLinear", "QuantizeLinear"):
        read = names_read(model)
        for node in [n for n in model.graph.node if n.op_type == kind]:
            if node.output[0] not in read:
                model.graph.node.remove(node)
    # Noted types of quantized values would be those of nodes that are gone.
    model.graph.ClearField("value_info")
    remove_unused(model)
