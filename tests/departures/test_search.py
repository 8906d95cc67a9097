"""Two ONNX graphs, layer by layer: what is wrong in one is found, wherever it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgestill.departures import search as searching
from edgestill.departures.graph import Graph
from edgestill.departures.result import LARGEST_ERROR, Departure
from edgestill.departures.search import (
    first_outlying,
    observer,
    relative_error,
    search_onnx,
    typical_error,
)
from edgestill.errors import ExportError

Array = NDArray[Any]
Alter = Callable[..., Any]


def weights(model: Any) -> list[str]:
    return [tensor.name for tensor in model.graph.initializer if len(tensor.dims) > 1]


def quantized(model: Any, feeds: dict[str, Array], bits: int = 8) -> Any:
    """Each weight and each activation that a Conv or Gemm reads through a pair of Q and DQ."""
    copy = type(model)()
    copy.CopyFrom(model)
    weighted = [node for node in copy.graph.node if node.op_type in ("Conv", "Gemm")]
    read = [node.input[0] for node in weighted]
    arrays = dict(feeds)
    arrays |= observer(Graph(model), read, feeds)(read)
    arrays |= {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    copy.graph.initializer.append(numpy_helper.from_array(np.zeros((), np.int8), "zero"))
    nodes: list[Any] = []
    for name in dict.fromkeys(name for node in weighted for name in node.input):
        largest = 2 ** (bits - 1) - 1
        scale = np.float32(np.abs(arrays[name]).max() / largest)
        copy.graph.initializer.append(numpy_helper.from_array(np.asarray(scale), f"s {name}"))
        read = [f"q {name}", f"s {name}", "zero"]
        if name.endswith(".weight"):
            whole = np.round(arrays[name] / scale).astype(np.int8)
            copy.graph.initializer.append(numpy_helper.from_array(whole, f"q {name}"))
        else:
            nodes.append(helper.make_node("QuantizeLinear", [name, *read[1:]], read[:1]))
        nodes.append(helper.make_node("DequantizeLinear", read, [f"dq {name}"]))
    for node in weighted:
        node.input[:] = [f"dq {name}" for name in node.input]
    # In the order of computation: a quantizer follows what it reads.
    waiting = [*copy.graph.node, *nodes]
    known, ordered = {"x", *(tensor.name for tensor in copy.graph.initializer)}, []
    while waiting:
        ready = next(node for node in waiting if known.issuperset(node.input))
        waiting.remove(ready)
        ordered.append(ready)
        known.update(ready.output)
    made = helper.make_graph(
        ordered, "graph", copy.graph.input, copy.graph.output, copy.graph.initializer
    )
    copy.graph.CopyFrom(made)
    return copy


@pytest.fixture(scope="module")
def int8(residual: Any, feeds: dict[str, Array]) -> Any:
    return quantized(residual, feeds)


def test_a_wrong_weight_is_found_wherever_it_is(
    residual: Any, feeds: dict[str, Array], altered: Alter
) -> None:
    names = weights(residual)
    assert len(names) == 50
    for name in names[::6]:  # the benchmark tries all
        found = search_onnx(residual, altered(residual, name), feeds)
        assert found is not None and found.alone
        assert found.module == name.removesuffix(".weight")
        # What it reads is right, whatever a residual sum does to what it gives.
        assert found.before == 0.0
        assert found.after == pytest.approx(2.0)


@pytest.mark.parametrize("position", [0, 14, 35, 49])
def test_a_wrong_weight_stands_out_from_quantization(
    residual: Any, int8: Any, feeds: dict[str, Array], altered: Alter, position: int
) -> None:
    plain = search_onnx(residual, int8, feeds)
    assert plain is not None and 0.001 < plain.after < 0.1
    name = weights(residual)[position]
    found = search_onnx(residual, altered(int8, f"q {name}"), feeds)
    assert found is not None and found.alone
    assert found.module == name.removesuffix(".weight")
    assert found.typical is not None and 0.001 < found.typical < 0.05
    assert found.own == pytest.approx(2.0, abs=0.1)
    # What came before has departed a little, which is told apart from its own.
    assert found.before < found.after


def test_an_error_that_grows_over_all_layers_is_called_that(
    residual: Any, feeds: dict[str, Array]
) -> None:
    found = search_onnx(residual, quantized(residual, feeds, bits=5), feeds)
    assert found is not None and not found.alone
    assert str(found).startswith("departs over many layers, and first at ")


def test_the_same_graph_departs_nowhere(residual: Any, feeds: dict[str, Array]) -> None:
    assert search_onnx(residual, residual, feeds) is None


def test_a_graph_in_half_precision_is_fed_in_half_precision(feeds: dict[str, Array]) -> None:
    def graph(half: bool, factor: float) -> Any:
        kind, dtype = (10, np.float16) if half else (1, np.float32)
        nodes = [
            helper.make_node("Cast", ["x"], ["inner"], "cast", to=kind),
            helper.make_node("Tanh", ["inner"], ["bent"], "tanh"),
            helper.make_node("Mul", ["bent", "factor"], ["scaled"], "scale"),
            helper.make_node("Cast", ["scaled"], ["logits"], "back", to=1),
        ]
        values = [
            helper.make_tensor_value_info(name, 1, ["n", 6, 5, 5]) for name in ("x", "logits")
        ]
        weight = numpy_helper.from_array(np.asarray(factor, dtype), "factor")
        made = helper.make_graph(nodes, "graph", values[:1], values[1:], [weight])
        return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)

    found = search_onnx(graph(False, 3.0), graph(True, 3.5), feeds)
    assert found is not None and found.node == "scale"
    assert found.before < 0.001 and found.own == pytest.approx(1 / 6, abs=0.001)


def test_the_first_of_two_wrong_layers_is_named(
    residual: Any, feeds: dict[str, Array], altered: Alter
) -> None:
    twice = altered(altered(residual, "blocks.3.first.weight"), "blocks.20.second.weight")
    found = search_onnx(residual, twice, feeds)
    assert found is not None and found.module == "blocks.3.first"


def test_an_error_that_is_hidden_downstream_is_found(
    residual: Any, feeds: dict[str, Array], altered: Alter
) -> None:
    # The next convolution is all zeros, so that only the layer itself shows the error.
    blind = altered(residual, "blocks.3.second.weight", np.zeros_like)
    found = search_onnx(blind, altered(blind, "blocks.3.first.weight"), feeds)
    assert found is not None and found.module == "blocks.3.first"


def test_names_that_differ_are_matched_by_position(
    residual: Any, feeds: dict[str, Array], altered: Alter
) -> None:
    renamed = type(residual)()
    renamed.CopyFrom(altered(residual, "blocks.7.first.weight"))
    for node in renamed.graph.node:
        for names in (node.input, node.output):
            names[:] = [n if n in ("x", "logits") or "weight" in n else f"other {n}" for n in names]
    found = search_onnx(residual, renamed, feeds)
    assert found is not None and found.module == "blocks.7.first"
    # With other operators too, nothing between input and answer can be compared.
    next(n for n in renamed.graph.node if n.op_type == "Relu").op_type = "LeakyRelu"
    found = search_onnx(residual, renamed, feeds)
    assert found is not None and (found.node, found.compared) == ("head/Gemm", 1)


def test_tensors_of_other_shapes_are_left_out(residual: Any, feeds: dict[str, Array]) -> None:
    """A graph that has an axis more in the middle, and is right."""
    other = type(residual)()
    other.CopyFrom(residual)
    relu = next(node for node in other.graph.node if node.name == "stem/Conv")
    index = [node.name for node in other.graph.node].index(relu.name)
    relu.output[0] = "moved"
    shape = numpy_helper.from_array(np.array([0, 6, 25]), "shape")
    back = numpy_helper.from_array(np.array([0, 6, 5, 5]), "back")
    other.graph.initializer.extend([shape, back])
    other.graph.node.insert(index + 1, helper.make_node("Reshape", ["moved", "shape"], ["pooled2"]))
    other.graph.node.insert(index + 2, helper.make_node("Reshape", ["pooled2", "back"], ["stem"]))
    reference = type(residual)()
    reference.CopyFrom(residual)
    reference.graph.node.append(helper.make_node("Relu", ["stem"], ["pooled2"]))
    assert search_onnx(reference, other, feeds) is None


def test_in_parts_where_memory_is_short(
    residual: Any, feeds: dict[str, Array], altered: Alter, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = altered(residual, "blocks.20.second.weight")
    whole = search_onnx(residual, wrong, feeds)
    monkeypatch.setattr(searching, "_BYTES", 3 * feeds["x"].nbytes)
    assert search_onnx(residual, wrong, feeds) == whole


def test_a_branch_inside_a_node_is_fed_too(feeds: dict[str, Array], altered: Alter) -> None:
    """An If whose branch reads a tensor of the outer graph."""
    branch = helper.make_graph(
        [helper.make_node("Mul", ["doubled", "scale"], ["scaled"])],
        "branch",
        [],
        [helper.make_tensor_value_info("scaled", 1, None)],
    )
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["doubled"], "double"),
        helper.make_node("If", ["yes"], ["chosen"], "if", then_branch=branch, else_branch=branch),
        helper.make_node("Add", ["chosen", "two"], ["logits"], "add"),
    ]
    arrays = {"two": np.float32(2), "scale": np.float32(3), "yes": np.array(True)}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", 1, ["n", 6, 5, 5])],
        [helper.make_tensor_value_info("logits", 1, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    # The condition has to depend on an input, else the layer counts as a constant.
    found = search_onnx(made, altered(made, "scale"), feeds)
    assert found is not None and found.operator == "If" and found.own == pytest.approx(2.0)


def test_a_graph_that_onnx_runtime_cannot_load(residual: Any, feeds: dict[str, Array]) -> None:
    broken = type(residual)()
    broken.CopyFrom(residual)
    broken.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ExportError, match=r"^ONNX Runtime cannot load the graph in parts \("):
        search_onnx(residual, broken, feeds)
    with pytest.raises(ExportError, match=r"^ONNX Runtime cannot run the graph in parts \("):
        search_onnx(residual, residual, {"x": feeds["x"][:, :3]})


@pytest.mark.parametrize(
    ("own", "index", "alone"),
    [
        ([0.0, 1e-7, 0.5, 0.0], 2, True),
        ([0.0] * 30 + [2e-4, 0.0, 0.5], 30, True),  # between float graphs the first that is wrong
        ([0.01] * 30 + [0.02, 0.0, 0.5], 32, True),  # which is within quantization here
        ([0.01, 0.02, 0.01, 0.9, 0.01], 3, True),
        ([0.01, 0.04, 0.01, 0.9, 0.01], 3, True),
        ([0.0027] * 30 + [0.03, 0.0027, 0.9], 32, True),  # not the one that errs a little more
        ([0.01, 0.012, 0.009, 0.011], 0, False),
        ([0.01, 0.3, 0.02, 0.9], 1, True),
    ],
)
def test_what_stands_out(own: list[float], index: int, alone: bool) -> None:
    assert first_outlying(own) == (index, alone)


def test_rounding_does_not_stand_out() -> None:
    assert first_outlying([]) is None
    assert first_outlying([0.0, 1e-7]) is None
    assert typical_error([0.0, 1e-7, 0.03]) == 0.0
    assert typical_error([0.01, 0.0, 0.02, 0.03, 0.9]) == 0.02


@pytest.mark.parametrize(
    ("expected", "found", "error"),
    [
        ([3.0, 4.0], [3.0, 4.0], 0.0),
        ([3.0, 4.0], [3.0, 4.5], 0.1),
        ([300.0, 400.0], [300.0, 450.0], 0.1),  # without a scale
        ([-np.inf, 5.0], [-np.inf, 5.5], 0.1),  # a mask
        ([np.inf, 5.0], [-np.inf, 5.0], LARGEST_ERROR),
        ([3.0, 4.0], [np.nan, 4.0], LARGEST_ERROR),
        ([np.nan, 4.0], [np.nan, 4.0], 0.0),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([0.0, 0.0], [0.0, 1e-9], LARGEST_ERROR),
    ],
)
def test_an_error_is_relative(expected: list[float], found: list[float], error: float) -> None:
    assert relative_error(np.array(expected), np.array(found)) == pytest.approx(error)


@pytest.mark.parametrize(
    ("module", "after", "alone", "words"),
    [
        ("body.3", 0.414, True, "departs first at body.3 (Conv), from 0.30% to 41%"),
        ("", 0.0317, True, "departs first at node 7 (Conv), from 0.30% to 3.2%"),
        ("", LARGEST_ERROR, True, "departs first at node 7 (Conv), from 0.30% to no finite number"),
        ("m", 0.1, False, "departs over many layers, and first at m (Conv), from 0.30% to 10%"),
    ],
)
def test_a_finding_in_words(module: str, after: float, alone: bool, words: str) -> None:
    found = Departure("node 7", "Conv", module, 0.003, after, 0.4, 0.01, alone, 50)
    assert str(found) == words
