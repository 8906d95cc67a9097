"""Where a compiled model departs from the ONNX model that it was compiled from.

An engine's layers cannot be run one by one, and what a runtime fuses depends on what it has to give
out. So the ONNX model is compiled anew with one more output at a time, by the same target with the
same options, and the layers are searched by bisecting: half of what could be at fault is ruled out
with each engine, and the inputs of what is found in the end are looked at too.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from edgestill.artifact import Dataset, DatasetDescription, OnnxModel, TensorSpec
from edgestill.departures.graph import Graph
from edgestill.departures.result import LARGEST_ERROR, Departure
from edgestill.departures.search import in_parts, observer, relative_error
from edgestill.errors import DeviceError, ExportError
from edgestill.onnx_file import read_model, write_model
from edgestill.targets.base import Target
from edgestill.targets.measure import Workers, predict

Array = NDArray[Any]
Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Compiling:
    """How an engine was made.

    Attributes:
        options: the target's own options type.
    """

    target: Target
    precision: str
    options: Any
    threads: int


def search_engine(
    model: OnnxModel, compiling: Compiling, feeds: Arrays, tolerance: float, work: Path
) -> Departure | None:
    """The first layer that a target computes otherwise than ONNX Runtime does from the same file.

    Only tensors with one row a sample are looked at, since that is what an engine gives. In int8,
    where rounding alone moves every tensor, one departs that has a third of the answer's error.

    Args:
        feeds: a few samples, by input.
        tolerance: the relative error from which on an answer departs, and in float a tensor.
        work: where engines lie while they are asked.

    Returns:
        None where a model that is compiled anew, here and now, answers as it should.

    Raises:
        ExportError: ONNX Runtime cannot run the model, or the target not compile it.
    """
    graph = Graph(read_model(model.model_path))
    names = [layer.tensor for layer in graph.layers]
    observe = observer(graph, names, feeds)
    rows = len(next(iter(feeds.values())))
    by_row = {
        name
        for part in in_parts(observe, names)
        for name, array in part.items()
        if array.shape[:1] == (rows,)
    }
    layers = {layer.tensor: layer for layer in graph.layers if layer.tensor in by_row}
    answer = model.description.signature.prediction
    if answer not in layers:
        raise ExportError(f"the output {answer} has no row of floating-point numbers a sample")
    errors: dict[str, float] = {}

    with Workers() as workers:
        tapping = _Tapping(graph, model, compiling, _dataset(feeds, work), work, workers)

        def departs(name: str) -> bool:
            if name not in errors:
                errors[name] = tapping.error(name, observe([name])[name])
            return errors[name] > limit

        limit = tolerance
        if not departs(answer):
            return None
        if compiling.precision == "int8":
            limit = max(tolerance, errors[answer] / 3)
        while True:
            sources = {name: graph.sources(name, layers) & layers.keys() for name in layers}
            try:
                layer = layers[bisect(answer, sources, departs)]
                break
            except _RefusedError as refused:  # it becomes a part of the layers that read it
                del layers[refused.tensor]
    return Departure(
        node=layer.node,
        operator=layer.operator,
        module=layer.module,
        before=max((errors[name] for name in sources[layer.tensor]), default=0.0),
        after=errors[layer.tensor],
        own=None,
        typical=None,
        alone=True,
        compared=len(errors),
    )


def bisect(
    departing: str, sources: Mapping[str, frozenset[str]], departs: Callable[[str], bool]
) -> str:
    """A tensor that departs although none of its sources does, asking as few as possible.

    Of all that leads to a departing tensor, the one that halves it best is asked: if it departs,
    what leads to it is left, else all but that (as `git bisect` does). A tensor that hides a
    departure before it may mislead; then a source of what is found departs, and the search goes on
    from there.
    """
    leading = _leading(sources)
    while True:
        left = leading[departing]
        while len(left) > 1:
            middle = max(
                sorted(left - {departing}),
                key=lambda name: min(len(leading[name] & left), len(left - leading[name])),
            )
            if departs(middle):
                departing, left = middle, left & leading[middle]
            else:
                left -= leading[middle]
        misled = next((name for name in sorted(sources[departing]) if departs(name)), None)
        if misled is None:
            return departing
        departing = misled


def _leading(sources: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Each tensor with all that it is computed from; sources come before what reads them."""
    leading: dict[str, frozenset[str]] = {}
    for name, read in sources.items():
        leading[name] = frozenset({name}).union(*(leading[source] for source in read))
    return leading


class _RefusedError(ExportError):
    """A target cannot give a tensor."""

    def __init__(self, tensor: str, error: ExportError) -> None:
        self.tensor = tensor
        super().__init__(error.what, where=error.where, fix=error.fix)


@dataclass(frozen=True)
class _Tapping:
    """Engines of a model with one more output each."""

    graph: Graph
    model: OnnxModel
    compiling: Compiling
    dataset: Dataset
    work: Path
    workers: Workers

    def error(self, tensor: str, expected: Array) -> float:
        """How far an engine is from `expected` at a tensor.

        Raises:
            _RefusedError: no engine can give it.
        """
        folder = self.work / "tapped"
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("onnx", "engine", "answers"):
            (folder / name).mkdir(parents=True)
        how = self.compiling
        try:
            tapped = self._tapped(tensor, expected, folder / "onnx")
            engine = how.target.compile(tapped, how.precision, how.options, folder / "engine")
        except ExportError as error:
            raise _RefusedError(tensor, error) from error
        try:
            answers = predict(
                engine,
                self.dataset,
                folder / "answers",
                threads=how.threads,
                batch=self.dataset.description.count,
                workers=self.workers,
            )
        except DeviceError:
            return LARGEST_ERROR
        return relative_error(expected, numpy.load(answers.output_path(tensor)))

    def _tapped(self, tensor: str, expected: Array, folder: Path) -> OnnxModel:
        """The model that gives a tensor too, of sizes that are free but for a fixed batch."""
        description = self.model.description
        batch = description.signature.inputs[0].shape[0]
        shape = (batch, *[None] * (expected.ndim - 1))
        outputs = description.signature.outputs
        if tensor not in [spec.name for spec in outputs]:
            outputs = (*outputs, TensorSpec(tensor, expected.dtype.name, shape))
        write_model(self.graph.tapped({spec.name: spec for spec in outputs}), folder)
        signature = replace(description.signature, outputs=outputs)
        return OnnxModel.seal(folder, replace(description, signature=signature))


def _dataset(feeds: Arrays, work: Path) -> Dataset:
    """The samples as workers read them."""
    folder = work / "samples"
    (folder / "inputs").mkdir(parents=True, exist_ok=True)
    for name, array in feeds.items():
        numpy.save(folder / "inputs" / f"{name}.npy", array)
    specs = tuple(
        TensorSpec(name, array.dtype.name, (None, *array.shape[1:]))
        for name, array in feeds.items()
    )
    count = len(next(iter(feeds.values())))
    return Dataset.seal(folder, DatasetDescription("departure", count, "custom", specs))
