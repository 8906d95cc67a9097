"""ONNX files from elsewhere: what is mended, and what is refused with which words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgestill.artifact import Dataset, OnnxModel
from edgestill.errors import EdgestillError, ExportError, ModelError
from edgestill.export.adopt import AdoptInputs, adopt
from edgestill.export.config import AdoptStep
from edgestill.models.config import ModelConfig, NormalizeConfig
from edgestill.step import StepContext

MakeDataset = Callable[..., Dataset]
FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8
WEIGHT = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


def value(name: str, shape: Sequence[Any] | None, dtype: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def save(
    folder: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: dict[str, NDArray[Any]] | None = None,
    *,
    opset: int = 17,
    ir_version: int = 8,
) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
    onnx.save(model, folder / "model.onnx")
    return model


def linear(folder: Path, shape: Sequence[Any] = ("n", 4), **options: Any) -> onnx.ModelProto:
    """`logits = features @ WEIGHT`."""
    node = helper.make_node("MatMul", ["features", "weight"], ["logits"])
    outputs = [value("logits", [shape[0], 3])]
    return save(folder, [node], [value("features", shape)], outputs, {"weight": WEIGHT}, **options)


def taken(dataset: Dataset, context: StepContext, **config: Any) -> OnnxModel:
    out = context.base / "adopted"
    out.mkdir()
    step = AdoptStep(ModelConfig(onnx="model.onnx", **config))
    return adopt(step, AdoptInputs(dataset), out, context)


def run(model: OnnxModel, feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    session = onnxruntime.InferenceSession(model.model_path)
    answers: list[NDArray[Any]] = session.run(None, feeds)
    return answers


def test_the_only_input_takes_the_name_of_the_data(
    tmp_path: Path, context: StepContext, make_dataset: MakeDataset
) -> None:
    linear(tmp_path)
    model = taken(make_dataset({"x": X}), context)
    signature = model.description.signature
    assert [str(spec) for spec in signature.inputs] == ["x float32 [?, 4]"]
    assert [str(spec) for spec in signature.outputs] == ["logits float32 [?, 3]"]
    assert signature.prediction == "logits"
    np.testing.assert_allclose(run(model, {"x": X})[0], X @ WEIGHT, rtol=1e-5)
    np.testing.assert_allclose(run(model, {"x": X[:1]})[0], X[:1] @ WEIGHT, rtol=1e-5)


@pytest.mark.parametrize(
    ("opset", "ir_version"), [(7, 3), (11, 3), (12, 6), (13, 7), (20, 10)], ids=str
)
def test_old_files_are_raised(
    tmp_path: Path, context: StepContext, make_dataset: MakeDataset, opset: int, ir_version: int
) -> None:
    made = linear(tmp_path, opset=opset, ir_version=ir_version)
    if ir_version == 3:
        # Files of old have to list their weights among the inputs.
        made.graph.input.append(value("weight", WEIGHT.shape))
        onnx.save(made, tmp_path / "model.onnx")
    model = taken(make_dataset({"features": X}), context)
    written = onnx.load(model.model_path)
    assert written.opset_import[0].version == max(13, opset)
    assert [item.name for item in written.graph.input] == ["features"]
    np.testing.assert_allclose(run(model, {"features": X})[0], X @ WEIGHT, rtol=1e-5)


MEAN, STD = (0.5, 0.2, 0.1), (0.25, 0.5, 2.0)


@pytest.mark.parametrize(
    ("shape", "mean", "std"),
    [
        ((3, 4, 5), MEAN, STD),
        ((4, 5, 3), MEAN, STD),
        ((3, 4, 5), (0.5,), STD),
        ((3, 4, 5), (0.5,), (0.25,)),
    ],
    ids=["channels first", "channels last", "one mean", "one of both"],
)
def test_bytes_are_cast_and_normalised_inside(
    tmp_path: Path,
    context: StepContext,
    make_dataset: MakeDataset,
    shape: tuple[int, ...],
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> None:
    node = helper.make_node("Identity", ["image"], ["logits"])
    save(tmp_path, [node], [value("image", ["n", *shape])], [value("logits", ["n", *shape])])
    images = np.random.default_rng(0).integers(0, 256, (4, *shape), np.uint8)
    normalize = NormalizeConfig(255, mean, std)
    model = taken(make_dataset({"image": images}), context, normalize=normalize)
    assert str(model.description.signature.inputs[0]).startswith("image uint8 [?, ")
    last = np.moveaxis(images, 1, -1) if shape[0] == 3 else images
    expected = (last / 255 - mean) / std
    expected = np.moveaxis(expected, -1, 1) if shape[0] == 3 else expected
    np.testing.assert_allclose(run(model, {"image": images})[0], expected, atol=2e-6)


def test_another_type_is_cast(
    tmp_path: Path, context: StepContext, make_dataset: MakeDataset
) -> None:
    linear(tmp_path)
    numbers = np.arange(20).reshape(5, 4)
    model = taken(make_dataset({"features": numbers}), context)
    assert str(model.description.signature.inputs[0]) == "features int64 [?, 4]"
    np.testing.assert_allclose(run(model, {"features": numbers})[0], numbers @ WEIGHT, rtol=1e-5)


def branches(folder: Path) -> None:
    """An If whose branches read the input by its name outside."""

    def branch(name: str, operation: str) -> onnx.GraphProto:
        inner = helper.make_node(operation, ["features", "features"], [f"{name}_out"])
        return helper.make_graph([inner], name, [], [value(f"{name}_out", None)])

    chosen = helper.make_node(
        "If",
        ["positive"],
        ["logits"],
        then_branch=branch("then", "Add"),
        else_branch=branch("else", "Mul"),
    )
    nodes = [
        helper.make_node("ReduceMax", ["features"], ["largest"], keepdims=0),
        helper.make_node("Greater", ["largest", "zero"], ["positive"]),
        chosen,
    ]
    inputs, outputs = [value("features", ["n", 4])], [value("logits", ["n", 4])]
    save(folder, nodes, inputs, outputs, {"zero": np.float32(0)[()]})


def loops(folder: Path) -> None:
    """A Loop whose body adds the input, by its name outside, three times."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["sum_in", "features"], ["sum_out"]),
            helper.make_node("Identity", ["keep_in"], ["keep_out"]),
        ],
        "body",
        [
            value("iteration", [], TensorProto.INT64),
            value("keep_in", [], TensorProto.BOOL),
            value("sum_in", ["n", 4]),
        ],
        [value("keep_out", [], TensorProto.BOOL), value("sum_out", ["n", 4])],
    )
    nodes = [
        helper.make_node("Sub", ["features", "features"], ["start"]),
        helper.make_node("Loop", ["times", "", "start"], ["logits"], body=body),
    ]
    inputs, outputs = [value("features", ["n", 4])], [value("logits", ["n", 4])]
    save(folder, nodes, inputs, outputs, {"times": np.array(3, np.int64)})


@pytest.mark.parametrize(
    ("make", "function"),
    [(branches, lambda x: x + x if x.max() > 0 else x * x), (loops, lambda x: 3 * x)],
    ids=["If", "Loop"],
)
def test_inner_graphs_read_the_new_input_too(
    tmp_path: Path,
    context: StepContext,
    make_dataset: MakeDataset,
    make: Callable[[Path], None],
    function: Callable[[NDArray[Any]], NDArray[Any]],
) -> None:
    make(tmp_path)
    numbers = np.arange(20, dtype=np.uint8).reshape(5, 4)
    normalize = NormalizeConfig(2, (3.0,), (1.0,))
    model = taken(make_dataset({"renamed": numbers}), context, normalize=normalize)
    for rows in (numbers, numbers[:1]):
        expected = function(rows / 2 - 3)
        np.testing.assert_allclose(run(model, {"renamed": rows})[0], expected, atol=1e-5)


def test_free_sizes_become_those_of_the_data(
    tmp_path: Path, context: StepContext, make_dataset: MakeDataset
) -> None:
    node = helper.make_node("Relu", ["image"], ["logits"])
    open_shape = ["n", 3, "height", -1]
    save(tmp_path, [node], [value("image", open_shape)], [value("logits", open_shape)])
    images = np.ones((2, 3, 4, 5), np.float32)
    signature = taken(make_dataset({"image": images}), context).description.signature
    assert str(signature.inputs[0]) == "image float32 [?, 3, 4, 5]"


def test_an_output_without_a_shape_gets_one(
    tmp_path: Path, context: StepContext, make_dataset: MakeDataset
) -> None:
    node = helper.make_node("MatMul", ["features", "weight"], ["logits"])
    save(
        tmp_path, [node], [value("features", ["n", 4])], [value("logits", None)], {"weight": WEIGHT}
    )
    signature = taken(make_dataset({"features": X}), context).description.signature
    assert str(signature.outputs[0]) == "logits float32 [?, 3]"


def test_a_fixed_batch_of_one(
    tmp_path: Path, context: StepContext, make_dataset: MakeDataset
) -> None:
    linear(tmp_path, (1, 4))
    model = taken(make_dataset({"features": X}), context)
    signature = model.description.signature
    assert [spec.shape[0] for spec in (*signature.inputs, *signature.outputs)] == [1, 1]
    np.testing.assert_allclose(run(model, {"features": X[2:3]})[0], X[2:3] @ WEIGHT, rtol=1e-5)


def test_weights_beside_the_file(
    tmp_path: Path, context: StepContext, make_dataset: MakeDataset
) -> None:
    made = linear(tmp_path)
    onnx.save(
        made,
        tmp_path / "model.onnx",
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=0,
    )
    assert (tmp_path / "model.onnx.data").stat().st_size == WEIGHT.nbytes
    model = taken(make_dataset({"features": X}), context)
    assert sorted(file.name for file in model.path.iterdir()) == ["model.onnx", "onnx.json"]
    np.testing.assert_allclose(run(model, {"features": X})[0], X @ WEIGHT, rtol=1e-5)


def test_weights_in_a_file_of_another_name_have_to_be_declared(
    tmp_path: Path, context: StepContext, make_dataset: MakeDataset
) -> None:
    made, data = linear(tmp_path), make_dataset({"features": X})
    place = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
    onnx.save(made, tmp_path / "model.onnx", **place)
    with pytest.raises(ModelError, match=r"weights lie in weights\.bin, .*files: \[weights\.bin\]"):
        taken(data, context)
    (tmp_path / "adopted").rmdir()
    model = taken(data, context, files=("weights.bin",))
    np.testing.assert_allclose(run(model, {"features": X})[0], X @ WEIGHT, rtol=1e-5)


@pytest.mark.parametrize("location", ["../secret.bin", "gone.bin"], ids=["outside", "missing"])
def test_weights_that_are_not_beside_the_file(
    tmp_path: Path, context: StepContext, make_dataset: MakeDataset, location: str
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "secret.bin").write_bytes(WEIGHT.tobytes())
    made = linear(project)
    onnx.external_data_helper.set_external_data(made.graph.initializer[0], location)
    made.graph.initializer[0].ClearField("raw_data")
    made.graph.initializer[0].data_location = TensorProto.EXTERNAL
    (project / "model.onnx").write_bytes(made.SerializeToString())
    inside = StepContext(project, context.work, context.progress, context.say)
    with pytest.raises(ExportError, match=rf"^model.onnx: not a readable ONNX file \(.*{location}"):
        taken(make_dataset({"features": X}), inside)


@pytest.mark.parametrize(
    "content",
    [b"", b"not a model", "truncated", "future IR"],
    ids=["empty", "text", "truncated", "future IR"],
)
def test_files_that_are_no_model(
    tmp_path: Path, context: StepContext, make_dataset: MakeDataset, content: bytes | str
) -> None:
    made = linear(tmp_path)
    message = r"^model.onnx: not a readable ONNX file \("
    if content == "truncated":
        content = made.SerializeToString()[:-20]
    if content == "future IR":
        made.ir_version = 99
        content = made.SerializeToString()
        message = r"^model.onnx: the graph is not valid ONNX \(.*ir_version"
    assert isinstance(content, bytes)
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ExportError, match=message):
        taken(make_dataset({"features": X}), context)


def test_a_file_that_is_not_there(context: StepContext, make_dataset: MakeDataset) -> None:
    with pytest.raises(
        ExportError, match=r"^model.onnx: not a readable ONNX file \(.*No such file"
    ):
        taken(make_dataset({"features": X}), context)


def two_inputs(folder: Path) -> None:
    nodes = [helper.make_node("Add", ["a", "b"], ["logits"])]
    inputs = [value("a", ["n", 4]), value("b", ["n", 4])]
    save(folder, nodes, inputs, [value("logits", ["n", 4])])


def test_two_inputs_go_by_name(
    tmp_path: Path, context: StepContext, make_dataset: MakeDataset
) -> None:
    two_inputs(tmp_path)
    normalize = NormalizeConfig(10, input="a")
    model = taken(make_dataset({"b": X, "a": X}), context, normalize=normalize)
    np.testing.assert_allclose(run(model, {"a": X, "b": X})[0], X * 1.1, rtol=1e-5)


def two_outputs(folder: Path, names: tuple[str, str] = ("scores", "boxes")) -> None:
    nodes = [
        helper.make_node(op, ["features"], [name])
        for op, name in zip(("Relu", "Neg"), names, strict=True)
    ]
    outputs = [value(name, ["n", 4]) for name in names]
    save(folder, nodes, [value("features", ["n", 4])], outputs)


def test_the_output_that_metrics_read(
    tmp_path: Path, context: StepContext, make_dataset: MakeDataset
) -> None:
    two_outputs(tmp_path)
    model = taken(make_dataset({"features": X}), context, output="boxes")
    assert model.description.signature.prediction == "boxes"


def test_logits_are_read_where_there_are_some(
    tmp_path: Path, context: StepContext, make_dataset: MakeDataset
) -> None:
    two_outputs(tmp_path, ("states", "logits"))
    model = taken(make_dataset({"features": X}), context)
    assert model.description.signature.prediction == "logits"


def no_batch(folder: Path) -> None:
    node = helper.make_node("ReduceSum", ["features"], ["logits"], keepdims=0)
    save(folder, [node], [value("features", ["n", 4])], [value("logits", [])])


def baked_batch(folder: Path) -> None:
    node = helper.make_node("Reshape", ["features", "shape"], ["logits"])
    shape = {"shape": np.array([1, 4])}
    save(folder, [node], [value("features", ["n", 4])], [value("logits", ["m", 4])], shape)


def takes_bytes(folder: Path) -> None:
    node = helper.make_node("Cast", ["features"], ["logits"], to=FLOAT)
    save(folder, [node], [value("features", ["n", 4], UINT8)], [value("logits", ["n", 4])])


def answers_a_list(folder: Path) -> None:
    node = helper.make_node("SequenceConstruct", ["features"], ["logits"])
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None))
    save(folder, [node], [value("features", ["n", 4])], [helper.make_value_info("logits", kind)])


@pytest.mark.parametrize(
    ("make", "data", "config", "message"),
    [
        (
            two_inputs,
            {"a": X, "c": X},
            {},
            r"it takes a float32 \[\?, 4\], b float32 \[\?, 4\]; the data has a float32 \[\?, 4\], "
            r"c float32 \[\?, 4\]. Name the arrays of the data as the model's inputs, or choose "
            r"with data.inputs$",
        ),
        (
            two_outputs,
            {"features": X},
            {},
            r"the model has several outputs: scores, boxes. Say which one metrics read, such as "
            r"output: scores$",
        ),
        (
            two_outputs,
            {"features": X},
            {"output": "box"},
            r"output: 'box' is not among the model's outputs. Did you mean 'boxes'\?$",
        ),
        (
            two_inputs,
            {"a": X, "b": X},
            {"normalize": NormalizeConfig()},
            r"normalize does not say which of the inputs .*: a, b. Add normalize.input: a or b$",
        ),
        (
            linear,
            {"features": X},
            {"normalize": NormalizeConfig(1, MEAN, STD)},
            r"normalize has 3 channels, the input is features float32 \[\?, 4\]. Give one value",
        ),
        (
            takes_bytes,
            {"features": X.astype(np.uint8)},
            {"normalize": NormalizeConfig(255)},
            r"its input features is uint8, which cannot hold normalised values. Leave normalize "
            r"out: the model has to normalise by itself$",
        ),
        (
            linear,
            {"features": np.ones((5, 6), np.float32)},
            {},
            r"ONNX Runtime cannot run it on 1 sample of the data \(.*Got invalid dimensions.*\). "
            r"Compare the shapes and types of the data with the model's inputs$",
        ),
        (
            no_batch,
            {"features": X},
            {},
            r"output logits is \[\] for 1 sample: its first axis is not the batch. Take that "
            r"output out of the graph, or export the model for any batch$",
        ),
        (baked_batch, {"features": X}, {}, r"ONNX Runtime cannot run it on 3 samples of the data"),
        (answers_a_list, {"features": X}, {}, r"logits is not a tensor. Only tensors can be fed"),
    ],
)
def test_what_does_not_fit(
    tmp_path: Path,
    context: StepContext,
    make_dataset: MakeDataset,
    make: Callable[[Path], Any],
    data: dict[str, NDArray[Any]],
    config: dict[str, Any],
    message: str,
) -> None:
    make(tmp_path)
    with pytest.raises(EdgestillError, match=rf"^model.onnx: {message}"):
        taken(make_dataset(data), context, **config)


def test_fewer_answers_than_classes(
    tmp_path: Path, context: StepContext, make_dataset: MakeDataset
) -> None:
    linear(tmp_path)
    dataset = make_dataset({"features": X}, np.arange(5), classes=5)
    message = (
        r"^model.onnx: it predicts 3 classes, the labels have 5. Give the model as many outputs "
        r"as the data has classes, or correct the labels$"
    )
    with pytest.raises(ModelError, match=message):
        taken(dataset, context)


def tokens(folder: Path, *, read_again: bool = False, count: int | str = 2) -> None:
    """`logits = features @ WEIGHT` for each token; perhaps something else reads them."""
    nodes = [helper.make_node("MatMul", ["features", "weight"], ["logits"])]
    outputs = [value("logits", ["n", count, 3])]
    if read_again:
        nodes.append(helper.make_node("Neg", ["logits"], ["other"]))
        outputs.append(value("other", ["n", 2, 3]))
    save(folder, nodes, [value("features", ["n", count, 4])], outputs, {"weight": WEIGHT})


@pytest.mark.parametrize("read_again", [False, True])
def test_classes_that_are_the_last_axis_are_made_the_first(
    tmp_path: Path, context: StepContext, make_dataset: MakeDataset, read_again: bool
) -> None:
    tokens(tmp_path, read_again=read_again)
    x = np.stack([X, -X], axis=1)
    dataset = make_dataset({"features": x}, np.zeros((5, 2), np.int64), classes=3)
    model = taken(dataset, context, classes="last")
    (spec, *_) = model.description.signature.outputs
    assert str(spec) == "logits float32 [?, 3, 2]"
    answer, *other = run(model, {"features": x})
    np.testing.assert_allclose(answer, np.moveaxis(x @ WEIGHT, -1, 1), rtol=1e-5)
    for unmoved in other:
        np.testing.assert_allclose(unmoved, -(x @ WEIGHT), rtol=1e-5)


@pytest.mark.parametrize("count", [2, "tokens"], ids=["two tokens", "any number of tokens"])
def test_classes_that_are_the_last_axis_unsaid(
    tmp_path: Path, context: StepContext, make_dataset: MakeDataset, count: int | str
) -> None:
    tokens(tmp_path, count=count)
    dataset = make_dataset({"features": np.stack([X, X], axis=1)}, np.zeros((5, 2), np.int64))
    message = r"^model.onnx: it predicts \[2, 3\] a sample, and labels are \[2\]: its classes are"
    with pytest.raises(ModelError, match=message):
        taken(dataset, context)


def test_probabilities_of_several_labels_are_no_logits(
    tmp_path: Path, context: StepContext, make_dataset: MakeDataset
) -> None:
    nodes = [
        helper.make_node("MatMul", ["features", "weight"], ["inner"]),
        helper.make_node("Sigmoid", ["inner"], ["probabilities"]),
    ]
    outputs = [value("probabilities", ["n", 3])]
    save(tmp_path, nodes, [value("features", ["n", 4])], outputs, {"weight": WEIGHT})
    dataset = make_dataset({"features": X}, np.ones((5, 3), np.float32), "multilabel", classes=3)
    with pytest.raises(ModelError, match=r"^model.onnx: its prediction comes out of a sigmoid"):
        taken(dataset, context)


def test_positions_whose_number_the_file_does_not_tell(
    tmp_path: Path, context: StepContext, make_dataset: MakeDataset
) -> None:
    """A segmentation network that was exported for images of any size."""
    nodes = [helper.make_node("Conv", ["image", "kernel"], ["logits"])]
    free = [value("image", ["n", 1, "h", "w"])], [value("logits", ["n", 3, "h", "w"])]
    save(tmp_path, nodes, *free, {"kernel": np.ones((3, 1, 1, 1), np.float32)})
    images = np.zeros((5, 1, 4, 6), np.float32)
    dataset = make_dataset({"image": images}, np.zeros((5, 4, 6), np.int64), classes=3)
    assert run(taken(dataset, context), {"image": images})[0].shape == (5, 3, 4, 6)


def test_a_file_without_positions_has_no_classes_to_move(
    tmp_path: Path, context: StepContext, make_dataset: MakeDataset
) -> None:
    linear(tmp_path)
    with pytest.raises(ModelError, match=r"^model.onnx: classes: last is for models that classify"):
        taken(make_dataset({"features": X}), context, classes="last")


def test_an_operation_that_cannot_be_raised(
    tmp_path: Path, context: StepContext, make_dataset: MakeDataset
) -> None:
    node = helper.make_node("Crop", ["features"], ["logits"], border=[0, 0, 0, 0])
    inputs, outputs = [value("features", ["n", 4])], [value("logits", ["n", 4])]
    save(tmp_path, [node], inputs, outputs, opset=6, ir_version=4)
    message = (
        r"^model.onnx: opset 6 cannot be raised to 13 \(.*Crop.*\). "
        r"Export the model again with a newer opset$"
    )
    with pytest.raises(ModelError, match=message):
        taken(make_dataset({"features": X}), context)
