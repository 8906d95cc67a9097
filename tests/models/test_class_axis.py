"""Classes that a model has on its last axis, as token classifiers of the transformers library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from edgestill.artifact import Checkpoint, Dataset, DatasetDescription, TensorSpec
from edgestill.errors import ModelError
from edgestill.export.config import ExportConfig
from edgestill.export.stage import write_onnx
from edgestill.metrics.classification import accuracy
from edgestill.models.config import ModelConfig
from edgestill.models.interface import require_classes
from edgestill.models.wrapper import DeviceModel
from edgestill.step import StepContext
from edgestill.train.config import TrainConfig, TrainStep
from edgestill.train.predict import predict
from edgestill.train.stage import TrainInputs, restore, train, wrap

TOKENS, CLASSES, KINDS = 6, 3, 9

CODE = f'''
import torch
from torch import nn


class Tagger(nn.Module):
    """The class of a token is its number modulo {CLASSES}."""

    def __init__(self, last=True):
        super().__init__()
        self.words = nn.Embedding({KINDS}, 8)
        self.head = nn.Linear(8, {CLASSES})
        self.last = last

    def forward(self, input_ids):
        logits = self.head(self.words(input_ids))
        return {{"states": self.words(input_ids), "logits": logits if self.last else logits.mT}}

'''
LAST = ModelConfig(model="net.py:Tagger", classes="last")
FIRST = ModelConfig(model="net.py:Tagger", arguments={"last": False})


@pytest.fixture
def context(tmp_path: Path) -> StepContext:
    (tmp_path / "net.py").write_text(CODE, encoding="utf-8")
    return StepContext(tmp_path, tmp_path / "work", lambda share, words: None, lambda line: None)


def tagged(context: StepContext, name: str) -> Dataset:
    folder = context.base / name
    (folder / "inputs").mkdir(parents=True)
    ids = np.random.default_rng(len(name)).integers(0, KINDS, (40, TOKENS))
    np.save(folder / "inputs" / "input_ids.npy", ids)
    np.save(folder / "labels.npy", ids % CLASSES)
    np.save(folder / "ids.npy", np.arange(40, dtype=np.uint64))
    specs = (TensorSpec("input_ids", "int64", (None, TOKENS)),)
    names = tuple(map(str, range(CLASSES)))
    return Dataset.seal(folder, DatasetDescription(name, 40, "classification", specs, names))


def trained(model: ModelConfig, context: StepContext, out: str) -> tuple[Checkpoint, Dataset]:
    data = tagged(context, f"data of {out}"), tagged(context, f"validation of {out}")
    (context.base / out).mkdir()
    schedule = TrainConfig(epochs=20, batch_size=20, learning_rate=0.1)
    step = TrainStep(model, schedule, "classification", "accuracy", 0, 1)
    here = StepContext(context.base, context.work / out, context.progress, context.say)
    return train(step, TrainInputs(*data), context.base / out, here), data[1]


def test_a_model_with_its_classes_last_learns_what_one_with_them_first_does(
    context: StepContext,
) -> None:
    (first, _), (last, data) = (trained(m, context, n) for m, n in ((FIRST, "a"), (LAST, "b")))
    assert last.description.validation == first.description.validation
    assert last.description.validation[-1] == 1
    one, other = load_file(first.weights_path), load_file(last.weights_path)
    assert all(torch.equal(one[name], other[name]) for name in one)
    model = restore(LAST, last, data, "classification", context.base)
    assert model.prediction_shape == (CLASSES, TOKENS)
    ids = np.load(data.input_path("input_ids"))
    states, logits = predict(model, {"input_ids": ids}, torch.device("cpu"))
    assert states.shape == (40, TOKENS, 8), "other outputs stay as they are"
    assert accuracy(logits, ids % CLASSES).mean() == 1


@pytest.mark.filterwarnings("ignore:# The axis name")
def test_the_exported_model_has_them_first(context: StepContext) -> None:
    data = tagged(context, "data")
    model = wrap(LAST, data, "classification", context.base).eval()
    ids = np.load(data.input_path("input_ids"))
    folder = context.base / "onnx"
    folder.mkdir()
    signature = write_onnx(model, {"input_ids": ids[:8]}, ExportConfig(), folder)
    shapes = [spec.shape for spec in signature.outputs]
    assert shapes == [(None, TOKENS, 8), (None, CLASSES, TOKENS)]
    _, found = onnxruntime.InferenceSession(folder / "model.onnx").run(None, {"input_ids": ids})
    expected = model.module(torch.from_numpy(ids))["logits"].detach().numpy()
    np.testing.assert_allclose(found, np.moveaxis(expected, -1, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("prediction", "labels", "message"),
    [
        (
            (6, 3),
            (6,),
            "it predicts [6, 3] a sample, and labels are [6]: its classes are the last axis. Add "
            "classes: last, which makes them the first of the exported model",
        ),
        (
            (4, 5, 3),
            (4, 5),
            "it predicts [4, 5, 3] a sample, and labels are [4, 5]: its classes are the last axis. "
            "Add classes: last, which makes them the first of the exported model",
        ),
        (
            (3, 3),
            (3,),
            "it predicts [3, 3] a sample, and labels are [3]: its classes may be the first axis or "
            "the last. Say which with classes: first or classes: last",
        ),
    ],
)
def test_an_axis_that_is_not_the_first_or_not_sure(
    prediction: Sequence[int], labels: Sequence[int], message: str
) -> None:
    data = DatasetDescription("train", 9, "classification", (), ("a", "b", "c"))
    with pytest.raises(ModelError) as error:
        require_classes(prediction, data, labels)
    assert str(error.value) == message
    if prediction == (3, 3):
        require_classes(prediction, data, labels, "first")
    # Values have no classes.
    require_classes(prediction, DatasetDescription("train", 9, "custom", ()), labels)


@pytest.mark.parametrize(
    ("prediction", "labels", "fix"),
    [
        ((3,), (3,), "Set task: multilabel for columns of 0 and 1, or take argmax(1) of one-hot "),
        ((3, 5), (6,), "Return [batch, classes, 6] for these labels"),
        ((4, 5), (4, 5), "Return [batch, classes, 4, 5] for these labels"),
        ((3, 1), (), "Return [batch, classes] for these labels"),
        ((3,), (4, 5), "Return [batch, classes, 4, 5] for these labels"),
    ],
)
def test_positions_that_are_not_those_of_the_labels(
    prediction: Sequence[int], labels: Sequence[int], fix: str
) -> None:
    data = DatasetDescription("train", 9, "classification", (), ("a", "b", "c"))
    with pytest.raises(ModelError) as error:
        require_classes(prediction, data, labels)
    have = f"and labels are {list(labels)}" if labels else "which has one label"
    assert str(error.value).startswith(f"it predicts {list(prediction)} a sample, {have}. {fix}")


@pytest.mark.parametrize(
    ("prediction", "labels"), [((3, 6), (6,)), ((3,), ()), ((3, 4, 5), (4, 5)), ((3, 6), None)]
)
def test_classes_that_come_first_pass(prediction: Sequence[int], labels: Any) -> None:
    data = DatasetDescription("train", 9, "classification", (), ("a", "b", "c"))
    require_classes(prediction, data, labels)


class Scores(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.layer(x)
        return scores


def test_of_pixels_the_order_stays_as_it_is() -> None:
    """Rows and columns are not swapped when the classes pass them."""
    specs = (TensorSpec("x", "float32", (None, 2, 5, 4)),)
    model = DeviceModel(Scores(), None, specs, classes_last=True)
    pixels = torch.randn(3, 2, 5, 4)
    assert model.prediction_shape == (3, 2, 5)
    expected = model.module(pixels).permute(0, 3, 1, 2)
    assert torch.equal(model.prediction(pixels), expected)


def test_a_model_without_positions_has_no_classes_to_move() -> None:
    with pytest.raises(ModelError) as error:
        DeviceModel(Scores(), None, (TensorSpec("x", "float32", (None, 4)),), classes_last=True)
    assert str(error.value) == (
        "classes: last is for models that classify each position, and it predicts [3] a sample. "
        "Leave classes out"
    )
