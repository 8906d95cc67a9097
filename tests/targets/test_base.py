"""What is checked for every target: feeds before a run, and a model before and after compiling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from edgestill.artifact import OnnxModel, Signature, TensorSpec
from edgestill.errors import DataError, ExportError
from edgestill.targets.base import require_feeds, require_signature

TOKENS, FEATURES = TensorSpec("tokens", "int64", (None, 6)), TensorSpec("x", "float32", (None, 2))
ANCHOR = TensorSpec("anchor", "uint8", (1, None))
SIGNATURE = Signature((TOKENS, FEATURES, ANCHOR), (), "")
RIGHT = {"tokens": "i8 2 6", "x": "f4 2 2", "anchor": "u1 1 9"}


def require(words: dict[str, str]) -> None:
    """Check feeds that are given as a type and sizes."""
    feeds = {}
    for name, (dtype, *sizes) in ((name, text.split()) for name, text in words.items()):
        feeds[name] = np.zeros([int(size) for size in sizes], dtype)
    require_feeds(SIGNATURE, feeds)


@pytest.mark.parametrize(
    "feeds",
    [
        RIGHT,
        dict(reversed(RIGHT.items())),
        RIGHT | {"tokens": "i8 7 6", "x": "f4 7 2"},
        RIGHT | {"anchor": "u1 1 0"},
    ],
)
def test_feeds_that_fit_pass(feeds: dict[str, str]) -> None:
    require(feeds)


NAMES = "the model's inputs are tokens, x, anchor, fed were"


@pytest.mark.parametrize(
    ("feeds", "text"),
    [
        ({}, f"{NAMES} none"),
        ({"tokens": "i8 2 6"}, f"{NAMES} tokens"),
        (RIGHT | {"more": "f4 2"}, f"{NAMES} tokens, x, anchor, more"),
        ({"tokens": "i8 2 6", "X": "f4 2 2", "anchor": "u1 1 9"}, f"{NAMES} tokens, X, anchor"),
        (RIGHT | {"tokens": "i4 2 6"}, "input is tokens int64 [?, 6], fed was tokens int32 [2, 6]"),
        (
            RIGHT | {"tokens": "u8 2 6"},
            "input is tokens int64 [?, 6], fed was tokens uint64 [2, 6]",
        ),
        (RIGHT | {"x": "f8 2 2"}, "input is x float32 [?, 2], fed was x float64 [2, 2]"),
        (RIGHT | {"x": ">f4 2 2"}, "input is x float32 [?, 2], fed was x >f4 [2, 2]"),
        (RIGHT | {"x": "f4 2 3"}, "input is x float32 [?, 2], fed was x float32 [2, 3]"),
        (RIGHT | {"x": "f4 2"}, "input is x float32 [?, 2], fed was x float32 [2]"),
        (RIGHT | {"x": "f4"}, "input is x float32 [?, 2], fed was x float32 []"),
        (RIGHT | {"anchor": "u1 2 9"}, "input is anchor uint8 [1, ?], fed was anchor uint8 [2, 9]"),
        (RIGHT | {"x": "f4 3 2"}, "the inputs differ in their batch: tokens 2, x 3"),
        (RIGHT | {"x": "f4 1 2"}, "the inputs differ in their batch: tokens 2, x 1"),
    ],
)
def test_feeds_that_do_not_fit_are_refused_in_words(feeds: dict[str, str], text: str) -> None:
    with pytest.raises(DataError) as raised:
        require(feeds)
    assert str(raised.value).removeprefix("the model's ") == text.removeprefix("the model's ")


X, Y = TensorSpec("x", "float32", (None, 4)), TensorSpec("y", "float32", (None, 3))


@pytest.mark.parametrize(
    "outputs", [(Y,), (replace(Y, shape=(None, None)),)], ids=["the same", "a size became free"]
)
def test_a_compiled_model_may_know_less_of_its_outputs(
    outputs: tuple[TensorSpec, ...], make_onnx: Callable[..., OnnxModel]
) -> None:
    require_signature(model(make_onnx), (X,), outputs, "openvino")


def model(make_onnx: Callable[..., OnnxModel]) -> OnnxModel:
    weights = {"w": np.zeros((4, 3), np.float32)}
    return make_onnx([("MatMul", "x w", "y", {})], [X], [Y], weights)


@pytest.mark.parametrize(
    ("inputs", "outputs", "text"),
    [
        ((), (Y,), "inputs are none, expected x float32 [?, 4]"),
        ((X, X), (Y,), "inputs are x float32 [?, 4], x float32 [?, 4], expected x float32 [?, 4]"),
        (
            (replace(X, shape=(1, 4)),),
            (replace(Y, shape=(1, 3)),),
            "input is x float32 [1, 4], expected x float32 [?, 4]; "
            "output is y float32 [1, 3], expected y float32 [?, 3]",
        ),
        (
            (replace(X, dtype="float16"),),
            (replace(Y, shape=(None, 3, 1)),),
            "input is x float16 [?, 4], expected x float32 [?, 4]; "
            "output is y float32 [?, 3, 1], expected y float32 [?, 3]",
        ),
        (
            (X,),
            (replace(Y, shape=(None, 5)),),
            "output is y float32 [?, 5], expected y float32 [?, 3]",
        ),
    ],
)
def test_a_model_that_compiling_changed_is_refused(
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    text: str,
    make_onnx: Callable[..., OnnxModel],
) -> None:
    compiled = model(make_onnx)
    with pytest.raises(ExportError) as raised:
        require_signature(compiled, inputs, outputs, "openvino")
    assert str(raised.value) == f"{compiled.model_path}: openvino changed the model: {text}"
