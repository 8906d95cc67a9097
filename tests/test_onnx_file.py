"""ONNX files: the same model gives the same bytes, large ones have their weights beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgestill import onnx_file
from edgestill.errors import ExportError
from edgestill.onnx_file import (
    graphs,
    names_read,
    read_model,
    remove_unused,
    rename,
    strip,
    tensor_specs,
    write_model,
)

WEIGHT = np.arange(512, dtype=np.float32).reshape(4, 128)
X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def linear() -> onnx.ModelProto:
    """`y = x @ w`."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 128])],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def conditional() -> onnx.ModelProto:
    """Branches that read `x` and `w` by their names outside; an inner If in one of them."""

    def branch(name: str, node: onnx.NodeProto) -> onnx.GraphProto:
        output = helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)
        return helper.make_graph([node], name, [], [output])

    innermost = branch("innermost", helper.make_node("MatMul", ["x", "w"], ["d"]))
    other = branch("other", helper.make_node("MatMul", ["x", "w"], ["e"]))
    inner = helper.make_node("If", ["yes"], ["b"], then_branch=innermost, else_branch=other)
    then, otherwise = branch("then", inner), branch("else", helper.make_node("Neg", ["x"], ["c"]))
    graph = helper.make_graph(
        [helper.make_node("If", ["yes"], ["y"], then_branch=then, else_branch=otherwise)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 128])],
        [
            numpy_helper.from_array(WEIGHT, "w"),
            numpy_helper.from_array(np.array(True), "yes"),
            numpy_helper.from_array(WEIGHT, "unused"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def annotate(message: Any, note: str) -> None:
    """Write a note wherever one can be written."""
    fields = message.DESCRIPTOR.fields_by_name
    if "doc_string" in fields:
        message.doc_string = note
    if "metadata_props" in fields:
        message.metadata_props.add(key="stack", value=note)
    for field, value in message.ListFields():
        if field.message_type is not None and field.name != "metadata_props":
            for part in [value] if hasattr(value, "ListFields") else value:
                annotate(part, note)


@pytest.mark.parametrize("make", [linear, conditional])
def test_notes_make_no_difference(make: Any) -> None:
    noted, plain = make(), make()
    function = helper.make_function(
        "own", "F", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])], plain.opset_import
    )
    for model in (noted, plain):
        model.functions.append(function)
    noted.producer_name, noted.producer_version = "exporter", "2.13"
    annotate(noted, "File /home/user/net.py, line 7")
    assert noted.SerializeToString().count(b"/home/user") > 10
    strip(noted)
    strip(plain)
    assert noted.SerializeToString(deterministic=True) == plain.SerializeToString(
        deterministic=True
    )
    assert b"/home/user" not in noted.SerializeToString()


def run(folder: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    answer: np.ndarray = session.run(None, {"x": X})[0]
    return answer


def test_a_model_is_one_file(tmp_path: Path) -> None:
    write_model(linear(), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    np.testing.assert_allclose(run(tmp_path), X @ WEIGHT, rtol=1e-5)
    assert read_model(tmp_path / "model.onnx") == linear()


def test_a_large_model_has_its_weights_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "LARGEST_SINGLE_FILE", 1000)
    contents = []
    for name in ("one", "two", "two"):  # the third time over what is there
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        write_model(linear(), folder)
        files = sorted(folder.iterdir())
        assert [file.name for file in files] == ["model.onnx", "model.onnx.data"]
        contents.append([file.read_bytes() for file in files])
        np.testing.assert_allclose(run(folder), X @ WEIGHT, rtol=1e-5)
    assert len(contents[0][0]) < 1000
    assert contents[0] == contents[1] == contents[2]
    read = read_model(tmp_path / "one" / "model.onnx")
    np.testing.assert_array_equal(numpy_helper.to_array(read.graph.initializer[0]), WEIGHT)
    # Read, it is whole: written elsewhere it needs nothing of the first folder.
    monkeypatch.undo()
    (tmp_path / "three").mkdir()
    write_model(read, tmp_path / "three")
    assert [file.name for file in (tmp_path / "three").iterdir()] == ["model.onnx"]
    np.testing.assert_allclose(run(tmp_path / "three"), X @ WEIGHT, rtol=1e-5)


def test_a_model_that_has_become_small_leaves_no_weights_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as lowered:
        lowered.setattr(onnx_file, "LARGEST_SINGLE_FILE", 1000)
        write_model(linear(), tmp_path)
    write_model(linear(), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ("Nonsense", r"model.onnx: the graph is not valid ONNX \(No Op registered for Nonsense"),
        ("Concat", r"the graph is not valid ONNX \(Required attribute 'axis' is missing"),
    ],
)
def test_a_graph_that_is_not_valid(tmp_path: Path, operation: str, message: str) -> None:
    model = linear()
    model.graph.node[0].op_type = operation
    with pytest.raises(ExportError, match=message):
        write_model(model, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"model.onnx: not a readable ONNX file \(.*No such file"),
        (b"", r"model.onnx: not a readable ONNX file \(it holds no graph\)"),
        (b"text", r"model.onnx: not a readable ONNX file \(.*pars"),
        (b"\xff" * 100, r"model.onnx: not a readable ONNX file \(.*pars"),
    ],
    ids=["missing", "empty", "text", "bytes"],
)
def test_a_file_that_is_no_model(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ExportError, match=f"{message}"):
        read_model(tmp_path / "model.onnx")


def test_specs_have_names_types_and_sizes() -> None:
    values = [
        helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 3, 4]),
        helper.make_tensor_value_info("half", TensorProto.FLOAT16, [2, None]),
        helper.make_tensor_value_info("odd", TensorProto.INT64, [-1, 0, 5]),
        helper.make_tensor_value_info("scalar", TensorProto.BOOL, []),
    ]
    assert [str(spec) for spec in tensor_specs(values)] == [
        "image uint8 [?, 3, 4]",
        "half float16 [2, ?]",
        "odd int64 [?, ?, 5]",
        "scalar bool []",
    ]


def test_a_sequence_is_no_tensor() -> None:
    element = helper.make_tensor_type_proto(TensorProto.FLOAT, [2])
    value = helper.make_value_info("boxes", helper.make_sequence_type_proto(element))
    message = r"^boxes is not a tensor. Only tensors can be fed and compared$"
    with pytest.raises(ExportError, match=message):
        tensor_specs([value])


def test_inner_graphs_are_found_outermost_first() -> None:
    model = conditional()
    assert [graph.name for graph in graphs(model.graph)] == [
        "graph",
        "else",
        "then",
        "other",
        "innermost",
    ]


def test_a_name_is_renamed_in_inner_graphs(tmp_path: Path) -> None:
    model = conditional()
    rename(model.graph, "x", "renamed")
    assert "renamed" in names_read(model)
    assert "x" not in names_read(model)
    model.graph.input[0].name = "renamed"
    remove_unused(model)
    write_model(model, tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    np.testing.assert_allclose(session.run(None, {"renamed": X})[0], X @ WEIGHT, rtol=1e-5)


def test_only_weights_that_nothing_reads_are_removed() -> None:
    model = conditional()
    remove_unused(model)
    assert [tensor.name for tensor in model.graph.initializer] == ["w", "yes"]


def test_a_file_that_git_lfs_did_not_fetch(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d\n")
    message = r"a.onnx: a pointer of Git LFS, not the file itself. Fetch the file: git lfs pull$"
    with pytest.raises(ExportError, match=message):
        read_model(tmp_path / "a.onnx")
