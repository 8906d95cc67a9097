"""How far each layer of an int8 model answers from the same layer of the float model.

Both are run as they are, so that an error has those of former layers in it: this is how an error
grows on its way through the model. Which layer is wrong by itself `edgestill.departures` searches.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from edgestill.artifact import LayerError
from edgestill.departures.graph import Graph
from edgestill.departures.search import Tapped
from edgestill.onnx_file import LARGEST_SINGLE_FILE, read_model
from edgestill.quantize.fidelity import Feeds, output_error

_WEIGHED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_FEEDS = 8  # an error that matters is seen in a few answers, and all of them are held at once


def layer_errors(model: Path, quantized: Path, feeds: Feeds) -> tuple[LayerError, ...]:
    """The error at the output of every layer with weights, in the order of the graph.

    NNCF keeps the names of tensors, so that a layer's output is found by its name in both. None of
    a model that is too large for one file, which ONNX Runtime would not take with more outputs.
    """
    models = [read_model(path) for path in (model, quantized)]
    if any(found.ByteSize() > LARGEST_SINGLE_FILE for found in models):
        return ()
    reference, candidate = (Graph(found) for found in models)
    shared = {layer.tensor for layer in candidate.layers}
    nodes = {
        node.output[0]: node
        for node in reference.model.graph.node
        if node.op_type in _WEIGHED and node.output[0] in shared
    }
    expected, found = (
        _answers(graph, list(nodes), feeds[:_FEEDS]) for graph in (reference, candidate)
    )
    weights = {tensor.name for tensor in reference.model.graph.initializer}
    return tuple(
        LayerError(
            _name(node, weights), node.op_type, output_error([found[name]], [expected[name]])
        )
        for name, node in nodes.items()
        if name in expected and name in found
    )


def _answers(graph: Graph, names: Sequence[str], feeds: Feeds) -> dict[str, NDArray[Any]]:
    """These tensors, where they are of floating-point numbers, each for all feeds in a row."""
    tapped = Tapped(graph, names)
    by_feed = [tapped(names, feed) for feed in feeds]
    return {name: numpy.concatenate([part[name] for part in by_feed]) for name in by_feed[0]}


def _name(node: Any, weights: set[str]) -> str:
    """Where its weights are in the PyTorch module, such as `body.2.0`; else the node's own name."""
    read = next((name for name in node.input if name in weights and "weight" in name), node.name)
    return str(read).removeprefix("module.").removesuffix(".weight")
