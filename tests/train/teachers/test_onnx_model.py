"""A teacher given as ONNX: it answers any batch as its file does, or says why it cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgestill.artifact import OnnxDescription, OnnxModel, Signature
from edgestill.errors import ModelError
from edgestill.onnx_file import tensor_specs
from edgestill.train.predict import to_tensors
from edgestill.train.teachers.onnx_model import OnnxTeacher

FLOAT, UINT8, INT64 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT64
WEIGHT = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
PIXELS = np.random.default_rng(0).integers(0, 256, (10, 4), np.uint8)

Value = tuple[str, Sequence[Any], int]
Make = Callable[..., OnnxModel]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a graph as an adopted model."""

    def write(
        nodes: Sequence[onnx.NodeProto],
        inputs: Sequence[Value],
        output: Value,
        weights: Mapping[str, NDArray[Any]],
        *,
        outside: bool = False,
    ) -> OnnxModel:
        graph = helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info(name, dtype, shape) for name, shape, dtype in inputs],
            [helper.make_tensor_value_info(output[0], output[2], output[1])],
            [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
        )
        opsets = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        signature = Signature(
            tensor_specs(model.graph.input), tensor_specs(model.graph.output), output[0]
        )
        place = {"save_as_external_data": True, "location": "weights", "size_threshold": 0}
        onnx.save(model, tmp_path / "model.onnx", **(place if outside else {}))
        return OnnxModel.seal(tmp_path, OnnxDescription(signature, "fp32"))

    return write


def pixels(make: Make, batch: int | str = "n", **options: Any) -> OnnxModel:
    """`logits = float(image) @ WEIGHT`."""
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=FLOAT),
        helper.make_node("MatMul", ["floats", "weight"], ["logits"]),
    ]
    inputs, output = [("image", [batch, 4], UINT8)], ("logits", [batch, 3], FLOAT)
    return make(nodes, inputs, output, {"weight": WEIGHT}, **options)


def answer(teacher: OnnxTeacher, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    tensors = to_tensors(arrays, slice(None), torch.device("cpu"))
    count = len(tensors[0])
    outputs = teacher.answer(tensors, np.arange(count), 0)
    assert outputs.features == {}
    assert outputs.logits.dtype == torch.float32
    return outputs.logits.numpy()


@pytest.mark.parametrize("batch", ["n", 1, 3, 8, 16])
@pytest.mark.parametrize("count", [1, 10])
def test_every_sample_gets_its_answer_whatever_batch_the_file_takes(
    make: Make, batch: int | str, count: int
) -> None:
    teacher = OnnxTeacher(pixels(make, batch), {"image": PIXELS}, 1, None)
    assert teacher.prediction_shape == (3,)
    found = answer(teacher, {"image": PIXELS[:count]})
    np.testing.assert_allclose(found, PIXELS[:count] @ WEIGHT, rtol=1e-5)


def test_inputs_find_the_file_by_their_names(make: Make) -> None:
    node = helper.make_node("Sub", ["first", "second"], ["output"])
    values: list[Value] = [("first", ["n", 2], FLOAT), ("second", ["n", 2], FLOAT)]
    model = make([node], values, ("output", ["n", 2], FLOAT), {})
    arrays = {"second": np.ones((5, 2), np.float32), "first": np.full((5, 2), 3, np.float32)}
    teacher = OnnxTeacher(model, arrays, 1, None)
    assert (answer(teacher, arrays) == 2).all()


@pytest.mark.parametrize("outside", [False, True], ids=["one file", "weights beside it"])
def test_mixed_images_keep_their_fractions(make: Make, outside: bool) -> None:
    """Bytes would cut them off."""
    teacher = OnnxTeacher(pixels(make, outside=outside), {"image": PIXELS}, 1, "image")
    mixed = 0.3 * PIXELS.astype(np.float32) + 0.7 * PIXELS[::-1]
    assert (mixed % 1 != 0).any()
    np.testing.assert_allclose(answer(teacher, {"image": mixed}), mixed @ WEIGHT, rtol=1e-4)


def test_mixed_images_of_halves_are_fed_as_halves(make: Make) -> None:
    node = helper.make_node("Identity", ["image"], ["output"])
    half = TensorProto.FLOAT16
    model = make([node], [("image", ["n", 4], half)], ("output", ["n", 4], half), {})
    teacher = OnnxTeacher(model, {"image": PIXELS.astype(np.float16)}, 1, "image")
    mixed = np.full((3, 4), 0.25, np.float32)
    assert (answer(teacher, {"image": mixed}) == mixed).all()


def test_a_file_that_needs_whole_numbers_cannot_teach_mixed_samples(make: Make) -> None:
    nodes = [helper.make_node("Gather", ["table", "image"], ["output"])]
    inputs, output = [("image", ["n", 4], INT64)], ("output", ["n", 4], FLOAT)
    model = make(nodes, inputs, output, {"table": np.arange(256, dtype=np.float32)})
    arrays = {"image": PIXELS.astype(np.int64)}
    assert (answer(OnnxTeacher(model, arrays, 1, None), arrays) == PIXELS).all()
    with pytest.raises(ModelError) as error:
        OnnxTeacher(model, arrays, 1, "image")
    assert str(error.value) == (
        "teacher: its input image is int64 and read by Gather, and mixed samples are fractions. "
        "Leave mixup and cutmix out of distill.augment, or give a file that begins with a cast "
        "to float"
    )


def test_an_answer_that_is_a_class_number_teaches_nothing(make: Make) -> None:
    nodes = [helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0)]
    model = make(nodes, [("scores", ["n", 4], FLOAT)], ("label", ["n"], INT64), {})
    with pytest.raises(ModelError) as error:
        OnnxTeacher(model, {"scores": PIXELS.astype(np.float32)}, 1, None)
    assert str(error.value) == (
        "teacher: its output label int64 [?] is no floats, and a student learns from logits or "
        "values. Name the output that has them with teacher.output"
    )


def test_a_batch_that_the_file_cannot_take(make: Make) -> None:
    nodes = [helper.make_node("Reshape", ["image", "shape"], ["output"])]
    inputs, output = [("image", ["n", 4], FLOAT)], ("output", [2, 4], FLOAT)
    model = make(nodes, inputs, output, {"shape": np.array([2, 4])})
    floats = PIXELS.astype(np.float32)
    message = (
        r"^teacher: ONNX Runtime cannot run it on 1 sample \(.*Reshape.*\). "
        r"Export it for any batch size, or for one that is fixed$"
    )
    with pytest.raises(ModelError, match=message):
        OnnxTeacher(model, {"image": floats}, 1, None)


@pytest.mark.parametrize(
    ("nodes", "weights"),
    [
        (
            [helper.make_node("Dropout", ["image", "ratio", "training"], ["output"])],
            {"ratio": np.float32(0.5), "training": np.array(True)},
        ),
        (
            [
                helper.make_node("ReduceMean", ["image"], ["mean"], axes=[0]),
                helper.make_node("Sub", ["image", "mean"], ["output"]),
            ],
            {},
        ),
    ],
    ids=["dropout", "a mean over the batch"],
)
def test_a_file_in_train_mode_is_no_teacher(
    make: Make, nodes: Sequence[onnx.NodeProto], weights: dict[str, Any]
) -> None:
    model = make(nodes, [("image", ["n", 4], FLOAT)], ("output", ["n", 4], FLOAT), weights)
    with pytest.raises(ModelError) as error:
        OnnxTeacher(model, {"image": PIXELS.astype(np.float32)}, 1, None)
    assert str(error.value) == (
        "teacher: it answers a sample otherwise when it is asked again, or beside another one. "
        "Export it in eval mode: look for dropout, and for statistics over the batch"
    )
