"""Two models layer by layer: each layer is fed what the reference has in its place.

A layer's error with inputs of its own model says little: what came before is in it, a residual sum
hides it, and in an int8 graph every layer departs a little. Fed with the reference's tensors, each
shows the error that it makes itself (its *own*), and one pass over the graph shows them all.

The layer that is named is the first whose own error is above

    min(max(TOLERANCE, 10 m), L / 2)

where L is the largest own error and m the median of the others, rounding left out. Between float
graphs m is 0 unless many layers are wrong, so this is TOLERANCE. Between a float graph and its int8
one, where m is near 1 %, it is what stands out from the quantization of the other layers, and there
it has to be above L / 10 too: every layer errs a little, and one that errs more than usual is not
what the answers were lost by where another errs ten times as much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

from edgestill.departures.graph import Graph, Layer, own_name
from edgestill.departures.result import LARGEST_ERROR, Departure
from edgestill.errors import ExportError
from edgestill.extras import require
from edgestill.reference import describe

Array = NDArray[Any]
Arrays = Mapping[str, Array]
# The tensors of these names, as the model has them on the samples that are compared.
Observe = Callable[[Sequence[str]], dict[str, Array]]

TOLERANCE = 1e-4  # one layer in float32 stays below it, however it is computed
SAMPLES = 8
_ROUNDING = 1e-6
_OUTLYING = 10.0
_ALONE = 3.0
# Tensors of both models that are held at a time.
_BYTES = 1 << 28
# What computes nothing, and may stand in one of two graphs that are otherwise alike.
_PASSING = frozenset(("QuantizeLinear", "DequantizeLinear", "Identity", "Cast"))


def search_onnx(reference: Any, candidate: Any, feeds: Arrays) -> Departure | None:
    """The first layer of one ONNX model that departs from another's; None where none can be told.

    Tensors are matched by name, or, where the names differ, by position in graphs of the same
    operators.

    Args:
        reference: `onnx.ModelProto`, as `candidate`.
        feeds: a few samples, by input.

    Raises:
        ExportError: ONNX Runtime cannot run one of them in parts.
    """
    first, second = Graph(reference), Graph(candidate)
    names = matched(first, second)
    observe = observer(first, tuple(names.values()), feeds)

    def named(tensors: Sequence[str]) -> dict[str, Array]:
        found = observe([names[tensor] for tensor in tensors])
        return {tensor: found[names[tensor]] for tensor in tensors if names[tensor] in found}

    return search(named, second, [layer for layer in second.layers if layer.tensor in names], feeds)


def search(
    observe: Observe, candidate: Graph, layers: Sequence[Layer], feeds: Arrays
) -> Departure | None:
    """The first of `layers` that departs; `observe` gives the reference's tensors for theirs.

    Raises:
        ExportError: ONNX Runtime cannot run the candidate in parts.
    """
    asked = [layer.tensor for layer in layers]
    ask = observer(candidate, asked, feeds)
    whole: dict[str, float] = {}
    types: dict[str, Any] = {}
    for expected in in_parts(observe, asked):
        for name, array in ask(list(expected)).items():
            if array.shape == expected[name].shape:
                whole[name] = relative_error(expected[name], array)
                types[name] = array.dtype

    def fitting(names: Sequence[str]) -> dict[str, Array]:
        """The reference's tensors as the candidate takes them, which may be in half precision."""
        return {name: array.astype(types[name]) for name, array in observe(names).items()}

    layers = [layer for layer in layers if layer.tensor in whole]
    own = _own_errors(fitting, candidate, list(whole), feeds)
    chosen = first_outlying([own[layer.tensor] for layer in layers])
    if chosen is None:
        return None
    index, alone = chosen
    layer = layers[index]
    sources = candidate.sources(layer.tensor, whole)
    return Departure(
        node=layer.node,
        operator=layer.operator,
        module=layer.module,
        before=max((whole[name] for name in sources if name in whole), default=0.0),
        after=whole[layer.tensor],
        own=own[layer.tensor],
        typical=typical_error(list(own.values())),
        alone=alone,
        compared=len(layers),
    )


def first_outlying(own: Sequence[float]) -> tuple[int, bool] | None:
    """The first own error that stands out, and whether it does so clearly; None without any."""
    largest = max(own, default=0.0)
    if largest <= _ROUNDING:
        return None
    typical = typical_error(own)
    limit = min(max(TOLERANCE, _OUTLYING * typical), largest / 2)
    if typical > TOLERANCE:
        limit = max(limit, largest / _OUTLYING)
    index = next(index for index, error in enumerate(own) if error > limit)
    return index, own[index] > _ALONE * typical


def typical_error(own: Sequence[float]) -> float:
    """The median of the own errors but the largest, those of rounding left out.

    0 where fewer than a tenth of the layers have one: then these are wrong, and not quantized.
    """
    others = sorted(error for error in own if error > _ROUNDING)[:-1]
    return float(numpy.median(others)) if others and 10 * len(others) >= len(own) else 0.0


def relative_error(expected: Array, found: Array) -> float:
    """The root mean square of the difference over that of `expected`; 0 where they are equal.

    Values that are not finite in `expected`, such as a mask of -inf, have to be the same.
    """
    a, b = expected.astype(numpy.float64), found.astype(numpy.float64)
    compared = ~((a == b) | (numpy.isnan(a) & numpy.isnan(b)))
    if not compared.any():
        return 0.0
    if not (numpy.isfinite(a) & numpy.isfinite(b))[compared].all():
        return LARGEST_ERROR
    difference = float(numpy.square(a[compared] - b[compared]).sum())
    size = float(numpy.square(a[numpy.isfinite(a)]).sum())
    return min(float(numpy.sqrt(difference / size)), LARGEST_ERROR) if size else LARGEST_ERROR


def matched(reference: Graph, candidate: Graph) -> dict[str, str]:
    """The tensors of `candidate` that have a counterpart in `reference`, and which."""
    known = {layer.tensor for layer in reference.layers}
    names = {layer.tensor: layer.tensor for layer in candidate.layers if layer.tensor in known}
    first, second = (
        [layer for layer in graph.layers if layer.operator not in _PASSING]
        for graph in (reference, candidate)
    )
    if 2 * len(names) < len(second) and [a.operator for a in first] == [b.operator for b in second]:
        return {b.tensor: a.tensor for a, b in zip(first, second, strict=True)}
    return names


class Tapped:
    """A model that gives inner tensors too, those of floating-point numbers among `tensors`.

    Raises:
        ExportError: ONNX Runtime cannot run it; so do calls.
    """

    def __init__(self, graph: Graph, tensors: Sequence[str]) -> None:
        self._session = _session(graph.tapped(dict.fromkeys(tensors)))
        self._floats = {v.name for v in self._session.get_outputs() if _is_float(v.type)}

    def __call__(self, names: Sequence[str], feeds: Arrays) -> dict[str, Array]:
        wanted = [name for name in names if name in self._floats]
        return dict(zip(wanted, _run(self._session, wanted, feeds), strict=True)) if wanted else {}


def observer(graph: Graph, tensors: Sequence[str], feeds: Arrays) -> Observe:
    """Gives tensors of a model on `feeds`, those of floating-point numbers among `tensors`.

    Raises:
        ExportError: ONNX Runtime cannot run it.
    """
    tapped = Tapped(graph, tensors)
    return lambda names: tapped(names, feeds)


def in_parts(observe: Observe, names: Sequence[str]) -> Iterator[dict[str, Array]]:
    """The tensors that can be observed, all at once where memory allows, else some at a time."""
    start, count = 0, 16
    while start < len(names):
        part = observe(names[start : start + count])
        yield part
        start += count
        size = sum(array.nbytes for array in part.values())
        count = max(1, min(4 * count, count * _BYTES // max(size, 1)))


def _own_errors(
    observe: Observe, candidate: Graph, compared: Sequence[str], feeds: Arrays
) -> dict[str, float]:
    """The error of each layer when it reads what the reference has there."""
    errors: dict[str, float] = {}
    boundary = set(compared)
    for expected in in_parts(observe, compared):
        sources = set().union(*(candidate.sources(name, boundary) for name in expected))
        outside = sources - candidate.inputs
        fed = {**expected, **observe(sorted(outside - expected.keys()))}
        model = candidate.apart(list(expected), boundary, fed)
        given = {name: feeds[name] for name in sources & candidate.inputs}
        given |= {name: fed[name] for name in outside}
        outputs = _run(_session(model), [own_name(name) for name in expected], given)
        for (name, array), output in zip(expected.items(), outputs, strict=True):
            errors[name] = relative_error(array, output)
    return {name: errors[name] for name in compared}


def _session(model: Any) -> Any:
    runtime = require("onnxruntime", extra="build")
    settings = runtime.SessionOptions()
    settings.log_severity_level = 3
    try:
        return runtime.InferenceSession(
            model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise ExportError(
            f"ONNX Runtime cannot load the graph in parts ({describe(error)})"
        ) from error


def _run(session: Any, names: Sequence[str], feeds: Arrays) -> list[Array]:
    try:
        return session.run(list(names), dict(feeds))  # type: ignore[no-any-return]
    except Exception as error:
        raise ExportError(
            f"ONNX Runtime cannot run the graph in parts ({describe(error)})"
        ) from error


def _is_float(kind: str) -> bool:
    return kind in ("tensor(float)", "tensor(double)", "tensor(float16)")
