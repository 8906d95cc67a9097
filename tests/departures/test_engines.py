"""A compiled model that is wrong at one layer: found by bisecting, with few engines."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgestill.artifact import Engine, OnnxModel
from edgestill.departures.engines import Compiling, bisect, search_engine
from edgestill.departures.result import Departure
from edgestill.errors import ExportError
from edgestill.onnx_file import read_model, write_model
from edgestill.targets.base import Target
from edgestill.targets.onnxruntime import OnnxRuntime
from edgestill.targets.openvino import OpenVino
from edgestill.targets.options import OnnxRuntimeOptions, OpenVinoOptions

Array = NDArray[Any]
OPTIONS = {"onnxruntime": OnnxRuntimeOptions(), "openvino": OpenVinoOptions()}
REAL = {"onnxruntime": OnnxRuntime(), "openvino": OpenVino()}
Search = Callable[..., Departure | None]


class Wrong:
    """A real target, but for what it does to the model before it compiles it."""

    def __init__(self, target: Target, change: Callable[[Any], Any], folder: Path) -> None:
        self.target, self.change, self.folder = target, change, folder
        self.compiled = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.target, name)

    def compile(self, model: OnnxModel, precision: str, options: Any, out: Path) -> Engine:
        self.compiled += 1
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        write_model(self.change(read_model(model.model_path)), self.folder)
        wrong = OnnxModel.seal(self.folder, model.description)
        return self.target.compile(wrong, precision, options, out)


@pytest.fixture
def search(tmp_path: Path, feeds: dict[str, Array]) -> Search:
    def run(model: OnnxModel, target: Any, tolerance: float = 1e-3) -> Departure | None:
        compiling = Compiling(target, "fp32", OPTIONS[target.name], threads=1)
        return search_engine(model, compiling, feeds, tolerance, tmp_path / "work")

    return run


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("onnxruntime", "stem"),
        ("onnxruntime", "blocks.2.second"),
        ("onnxruntime", "head"),
        ("openvino", "blocks.2.second"),
    ],
)
def test_a_layer_that_a_target_gets_wrong(
    name: str,
    layer: str,
    shallow: Any,
    altered: Callable[..., Any],
    sealed: Callable[..., OnnxModel],
    search: Search,
    tmp_path: Path,
) -> None:
    wrong = Wrong(REAL[name], lambda model: altered(model, f"{layer}.weight"), tmp_path / "wrong")
    found = search(sealed(shallow), wrong)
    assert found is not None
    assert (found.module, found.own) == (layer, None)
    assert found.before < 1e-4 and found.after == pytest.approx(2.0)
    assert found.compared == wrong.compiled <= math.log2(24) + 3


def test_what_openvino_gets_wrong_by_itself_is_found(
    sealed: Callable[..., OnnxModel], tmp_path: Path
) -> None:
    """OpenVINO 2026.4 takes wrong means over time of quantized values, several samples at once."""
    rng = np.random.default_rng(0)
    projection = rng.normal(size=(4, 16))
    scale = np.abs(projection).max() / 127
    weights = {
        "w": np.round(projection / scale).astype(np.int8),
        "w scale": np.float32(scale),
        "w zero": np.int8(0),
        "x scale": np.float32(0.03),
        "x zero": np.uint8(128),
        "r scale": np.float32(0.06),
        "r zero": np.uint8(0),
        "axes": np.array([1]),
        "v": rng.normal(size=(16, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x scale", "x zero"], ["qx"]),
        helper.make_node("DequantizeLinear", ["qx", "x scale", "x zero"], ["dx"]),
        helper.make_node("DequantizeLinear", ["w", "w scale", "w zero"], ["dw"]),
        helper.make_node("MatMul", ["dx", "dw"], ["projected"], "project"),
        helper.make_node("Relu", ["projected"], ["r"], "relu"),
        helper.make_node("QuantizeLinear", ["r", "r scale", "r zero"], ["qr"]),
        helper.make_node("DequantizeLinear", ["qr", "r scale", "r zero"], ["dr"]),
        helper.make_node("ReduceMean", ["dr", "axes"], ["pooled"], "pool", keepdims=0),
        helper.make_node("MatMul", ["pooled", "v"], ["logits"], "head"),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", 1, ["n", 6, 4])],
        [helper.make_tensor_value_info("logits", 1, ["n", 3])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    compiling = Compiling(OpenVino(), "int8", OpenVinoOptions(), threads=1)

    def found(samples: int) -> Departure | None:
        feeds = {"x": rng.normal(size=(samples, 6, 4)).astype(np.float32)}
        work = tmp_path / f"work {samples}"
        return search_engine(sealed(model, "int8", "cpu"), compiling, feeds, 1e-2, work)

    several = found(8)
    assert several is not None and several.node == "pool"
    assert several.before < 0.01 and several.after > 0.5
    assert found(1) is None


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_target_that_is_right_departs_nowhere(
    name: str, shallow: Any, sealed: Callable[..., OnnxModel], search: Search
) -> None:
    assert search(sealed(shallow), REAL[name]) is None


def test_tensors_that_are_no_rows_lie_within_a_layer(
    make_model: Callable[..., Any],
    sealed: Callable[..., OnnxModel],
    search: Search,
    tmp_path: Path,
) -> None:
    """Between two transposes the batch is not the first axis, and an engine cannot give it."""
    turn = {"perm": [1, 0, 2, 3]}
    nodes = [
        helper.make_node("Relu", ["x"], ["positive"], "relu"),
        helper.make_node("Transpose", ["positive"], ["turned"], "turn", **turn),
        helper.make_node("Exp", ["turned"], ["grown"], "exp"),
        helper.make_node("Transpose", ["grown"], ["back"], "back", **turn),
        helper.make_node("Neg", ["back"], ["logits"], "negate"),
    ]

    def other(model: Any) -> Any:
        next(node for node in model.graph.node if node.name == "exp").op_type = "Sinh"
        return model

    model = sealed(make_model(nodes, {}))
    found = search(model, Wrong(OpenVino(), other, tmp_path / "wrong"))
    assert found is not None and found.node == "back"


def test_a_target_that_refuses_a_tensor_is_searched_around_it(
    shallow: Any,
    altered: Callable[..., Any],
    sealed: Callable[..., OnnxModel],
    search: Search,
    tmp_path: Path,
) -> None:
    def refusing(model: Any) -> Any:
        if len(model.graph.output) > 1 and "added" in model.graph.output[1].name:
            raise ExportError("not that one")
        return altered(model, "blocks.2.second.weight")

    found = search(sealed(shallow), Wrong(OpenVino(), refusing, tmp_path / "wrong"))
    assert found is not None and found.module == "blocks.2.second"


def test_a_model_that_a_target_refuses_whole_cannot_be_searched(
    shallow: Any, sealed: Callable[..., OnnxModel], search: Search, tmp_path: Path
) -> None:
    def refusing(model: Any) -> Any:
        raise ExportError("no operator Conv", fix="Take another target")

    with pytest.raises(ExportError, match=r"^no operator Conv\. Take another target$"):
        search(sealed(shallow), Wrong(OpenVino(), refusing, tmp_path / "wrong"))


def test_an_answer_that_is_no_number_a_sample_cannot_be_searched(
    make_model: Callable[..., Any], sealed: Callable[..., OnnxModel], search: Search
) -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], "flat"),
        helper.make_node("Transpose", ["flat"], ["logits"], "turn", perm=[1, 0]),
    ]
    message = r"^the output logits has no row of floating-point numbers a sample$"
    with pytest.raises(ExportError, match=message):
        search(sealed(make_model(nodes, {})), OpenVino())


@st.composite
def graphs(draw: st.DrawFn) -> dict[int, frozenset[int]]:
    """Each tensor with the earlier ones that it is computed from."""
    size = draw(st.integers(1, 30))
    return {
        tensor: frozenset(draw(st.sets(st.integers(0, tensor - 1), max_size=3)) if tensor else ())
        for tensor in range(size)
    }


@given(graphs(), st.data())
def test_what_bisecting_finds_departs_and_its_sources_do_not(
    sources: dict[int, frozenset[int]], data: st.DataObject
) -> None:
    """Whatever hides a departure on the way, as long as the answer departs."""
    answer = max(sources)
    departing = {answer, *data.draw(st.sets(st.sampled_from(sorted(sources))))}
    named = {str(name): frozenset(map(str, read)) for name, read in sources.items()}
    found = bisect(str(answer), named, lambda name: int(name) in departing)
    assert int(found) in departing
    assert departing.isdisjoint(map(int, named[found]))


def test_a_tensor_that_hides_a_departure_does_not_end_the_search() -> None:
    """`hides` is right though it reads what is wrong; the answer reads both."""
    sources = {
        "wrong": frozenset[str](),
        "hides": frozenset({"wrong"}),
        "answer": frozenset({"wrong", "hides"}),
    }
    asked: list[str] = []

    def departs(name: str) -> bool:
        asked.append(name)
        return name != "hides"

    assert bisect("answer", sources, departs) == "wrong"
    assert asked[0] == "hides"


def test_bisecting_a_chain_asks_about_the_logarithm() -> None:
    sources = {str(n): frozenset({str(n - 1)} if n else ()) for n in range(1000)}
    for first in (0, 1, 371, 998, 999):
        asked: set[str] = set()

        def departs(name: str, first: int = first, asked: set[str] = asked) -> bool:
            asked.add(name)
            return int(name) >= first

        assert bisect("999", sources, departs) == str(first)
        assert len(asked) <= 12
