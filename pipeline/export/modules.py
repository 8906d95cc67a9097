"""Which PyTorch module each ONNX node came from, and where the two part.

The exporter's notes are stripped from the file, so the module goes into the node's name:
`stages.1.conv/Conv_7`. Quantizers and runtimes keep that name.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgestill.departures.graph import Graph, Layer
from edgestill.departures.result import Departure
from edgestill.departures.search import search
from edgestill.models.wrapper import DeviceModel
from edgestill.onnx_file import read_model
from edgestill.train.predict import predict

_SCOPES = "pkg.torch.onnx.name_scopes"
_USERS = "module"  # the user's module in `DeviceModel`

Arrays = Mapping[str, NDArray[Any]]


def name_by_module(model: Any) -> None:
    """Put the path of its module before the name of each node of an export."""
    for node in model.graph.node:
        notes = {note.key: note.value for note in node.metadata_props}
        # The scopes that it lies in, from the outermost to the operation itself.
        scopes = ast.literal_eval(notes.get(_SCOPES, "[]"))
        module = scopes[-2].removeprefix(_USERS).removeprefix(".") if len(scopes) > 1 else ""
        name = node.name.removeprefix("node_")
        node.name = f"{module}/{name}" if module else name


def first_departing(path: Path, model: DeviceModel, feeds: Arrays) -> Departure | None:
    """The first module that its ONNX nodes do not compute; None where none can be told.

    A module counts that is called once and whose last node gives what it returns.

    Raises:
        ExportError: ONNX Runtime cannot run the graph in parts.
    """
    graph = Graph(read_model(path))
    last: dict[str, Layer] = {}
    for layer in graph.layers:
        parts = layer.module.split(".")
        last |= {".".join(parts[: count + 1]): layer for count in range(len(parts))}
    returned = _returned(model, feeds)
    # Of a module and what it consists of, the innermost is named.
    places = {last[name].tensor: name for name in sorted(returned, key=len) if name in last}
    found = {tensor: returned[name] for tensor, name in places.items()}
    layers = [layer for layer in graph.layers if layer.tensor in found]
    return search(lambda names: {name: found[name] for name in names}, graph, layers, feeds)


def _returned(model: DeviceModel, feeds: Arrays) -> dict[str, NDArray[Any]]:
    """What each module that is called once returns, by its path; of several tensors the first."""
    calls: dict[str, list[NDArray[Any]]] = {}

    def hook(name: str) -> Any:
        def note(_module: nn.Module, _given: Any, returned: Any) -> None:
            value = returned[0] if isinstance(returned, (tuple, list)) and returned else returned
            if isinstance(value, Tensor) and value.is_floating_point():
                # A copy: what follows may change it in place.
                calls.setdefault(name, []).append(value.detach().clone().numpy())

        return note

    handles = [
        part.register_forward_hook(hook(name))
        for name, part in model.module.named_modules()
        if name
    ]
    try:
        predict(model, feeds, torch.device("cpu"))
    finally:
        for handle in handles:
            handle.remove()
    return {name: arrays[0] for name, arrays in calls.items() if len(arrays) == 1}
