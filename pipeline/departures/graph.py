"""The layers of an ONNX graph: which tensors lie between them, and each layer cut out by itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy
from numpy.typing import NDArray

from edgestill.artifact import TensorSpec
from edgestill.extras import require
from edgestill.onnx_file import graphs

Arrays = Mapping[str, NDArray[Any]]

# Given to what a layer computes, while its place in the graph is taken by what is fed there.
_OWN = "/own"


@dataclass(frozen=True)
class Layer:
    """A node, and its first output, which stands for what it computes."""

    node: str
    operator: str
    tensor: str

    @property
    def module(self) -> str:
        """The scope in the node's name, which our export puts there."""
        return self.node.rpartition("/")[0]


class Graph:
    """An `onnx.ModelProto` read as layers; it is never changed."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.inputs = {value.name for value in model.graph.input}
        self._nodes = list(model.graph.node)
        self._producers = {
            name: index for index, node in enumerate(self._nodes) for name in node.output if name
        }
        self._read = [_read_by(node) for node in self._nodes]

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """All that depend on the inputs, in the order of computation."""
        fed, found = set(self.inputs), []
        for index, node in enumerate(self._nodes):
            if fed.isdisjoint(self._read[index]) or not node.output[0]:
                continue
            fed.update(node.output)
            name = node.name or f"{node.op_type} {index}"
            found.append(Layer(name, node.op_type, node.output[0]))
        return tuple(found)

    def sources(self, tensor: str, compared: Collection[str]) -> frozenset[str]:
        """The inputs and the tensors of `compared` that a layer reads; what lies between is its."""
        return frozenset(self._cut(tensor, compared)[1])

    def tapped(self, tensors: Mapping[str, TensorSpec | None]) -> Any:
        """A copy of the model that gives these tensors too; without a spec, of whatever type."""
        helper = require("onnx.helper", extra="build")
        copy = self._copy()
        given = {value.name for value in copy.graph.output}
        for name, spec in tensors.items():
            if name in given:
                continue
            if spec is None:
                copy.graph.output.add(name=name)
                continue
            kind = helper.np_dtype_to_tensor_dtype(numpy.dtype(spec.dtype))
            sizes = [f"{name}/{axis}" if n is None else n for axis, n in enumerate(spec.shape)]
            copy.graph.output.append(helper.make_tensor_value_info(name, kind, sizes))
        return copy

    def apart(self, tensors: Sequence[str], compared: Collection[str], examples: Arrays) -> Any:
        """A model in which each of `tensors` is computed from what is fed for those before it.

        Its outputs are named by `own_name`.

        Args:
            compared: the tensors that are fed, where a layer reads them.
            examples: an array of each, which has its type.
        """
        helper = require("onnx.helper", extra="build")
        kept: set[int] = set()
        fed: set[str] = set()
        for tensor in tensors:
            nodes, read = self._cut(tensor, compared)
            kept |= nodes
            fed |= read
        copy = self._copy()
        replaced = fed | set(tensors)
        part = [node for index, node in enumerate(copy.graph.node) if index in kept]
        for node in part:
            node.output[:] = [own_name(n) if n in replaced else n for n in node.output]
        inputs = [value for value in copy.graph.input if value.name in fed]
        for name in sorted(fed - self.inputs):
            kind = helper.np_dtype_to_tensor_dtype(examples[name].dtype)
            inputs.append(helper.make_tensor_value_info(name, kind, None))
        outputs = [helper.make_empty_tensor_value_info(own_name(name)) for name in tensors]
        made = helper.make_graph(part, "apart", inputs, outputs)
        made.initializer.extend(copy.graph.initializer)
        copy.graph.CopyFrom(made)
        return copy

    def _cut(self, tensor: str, compared: Collection[str]) -> tuple[set[int], set[str]]:
        """The nodes that compute a tensor from those of `compared`, and what of these they read."""
        nodes: set[int] = set()
        fed: set[str] = set()
        waiting = [self._producers[tensor]]
        while waiting:
            index = waiting.pop()
            if index in nodes:
                continue
            nodes.add(index)
            for name in self._read[index]:
                if name in self.inputs or name in compared:
                    fed.add(name)
                elif name in self._producers:
                    waiting.append(self._producers[name])
        return nodes, fed

    def _copy(self) -> Any:
        copy = type(self.model)()
        copy.CopyFrom(self.model)
        return copy


def own_name(tensor: str) -> str:
    """What a layer's own output is called in a model whose layers are apart."""
    return f"{tensor}{_OWN}"


def _read_by(node: Any) -> set[str]:
    """The names that a node reads, those of the outer graph in its branches and bodies included."""
    read = set(node.input)
    for attribute in node.attribute:
        inner = [attribute.g] if attribute.HasField("g") else []
        for graph in (*inner, *attribute.graphs):
            for part in graphs(graph):
                read |= {name for each in part.node for name in each.input}
                read |= {value.name for value in part.output}
    return read - {""}
