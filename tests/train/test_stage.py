"""The steps around a checkpoint: train, load, ask, for every task."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from edgestill.artifact import Checkpoint, Dataset, DatasetDescription, Predictions, TensorSpec
from edgestill.errors import ModelError
from edgestill.metric_config import FunctionMetric, MetricConfig
from edgestill.models.config import ModelConfig, NormalizeConfig
from edgestill.step import StepContext
from edgestill.train.config import AskStep, LoadStep, TrainConfig, TrainStep
from edgestill.train.losses import make_losses
from edgestill.train.losses.base import Labels, LossInputs, Outputs
from edgestill.train.losses.config import CeLoss
from edgestill.train.stage import (
    AskInputs,
    LoadInputs,
    TrainInputs,
    ask,
    load,
    lone_trainer,
    restore,
    train,
)

CODE = '''
import torch
from torch import nn


class Net(nn.Module):
    """Has what a checkpoint could lose: batch statistics, a buffer, tied weights, dropout."""

    def __init__(self, outputs=3, extra=False, width=4):
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.second.weight = self.first.weight
        self.register_buffer("gain", torch.full((width,), 2.0))
        self.norm = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(width, outputs)
        self.extra = extra

    def forward(self, x):
        y = self.norm(self.second(self.first(x).relu()) * self.gain)
        y = self.head(self.dropout(y.relu() + x))
        return {"aux": y * 2, "logits": y} if self.extra else y


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.EmbeddingBag(10, 3)

    def forward(self, ids):
        return self.table(ids)


def error(outputs, labels):
    return float(abs(outputs - labels).mean())
'''

COUNT = 64
X = np.random.default_rng(0).normal(size=(COUNT, 4)).astype(np.float32)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(CODE, encoding="utf-8")
    return tmp_path


@pytest.fixture
def context(base: Path) -> StepContext:
    return StepContext(base, base / "work", lambda share, words: None, lambda line: None)


def dataset(base: Path, x: NDArray[Any], labels: NDArray[Any], task: str, name: str) -> Dataset:
    folder = base / name
    (folder / "inputs").mkdir(parents=True)
    np.save(folder / "inputs" / "x.npy", x)
    np.save(folder / "labels.npy", labels)
    np.save(folder / "ids.npy", np.arange(len(x), dtype=np.uint64))
    specs = (TensorSpec("x", x.dtype.name, (None, *x.shape[1:])),)
    return Dataset.seal(folder, DatasetDescription(name, len(x), task, specs))


def both(base: Path, labels: NDArray[Any], task: str = "classification") -> TrainInputs:
    """Two thirds to learn from, one to choose the epoch by."""
    first, second = slice(0, 48), slice(48, None)
    return TrainInputs(
        dataset(base, X[first], labels[first], task, "train"),
        dataset(base, X[second], labels[second], task, "validation"),
    )


CLASSES = X[:, :3].argmax(1)
NET = ModelConfig(model="net.py:Net")
QUICK = TrainConfig(epochs=3, batch_size=16)


def trained(
    inputs: TrainInputs,
    context: StepContext,
    model: ModelConfig = NET,
    config: TrainConfig = QUICK,
    task: str = "classification",
    metric: MetricConfig = "accuracy",
    seed: int = 0,
) -> Checkpoint:
    out = context.base / "checkpoint"
    out.mkdir()
    return train(TrainStep(model, config, task, metric, seed, 2), inputs, out, context)


def predictions(
    checkpoint: Checkpoint,
    data: Dataset,
    context: StepContext,
    model: ModelConfig = NET,
    task: str = "classification",
) -> Predictions:
    out = context.base / "predictions"
    out.mkdir()
    return ask(AskStep(model, task, 2), AskInputs(data, checkpoint), out, context)


def prediction(found: Predictions) -> NDArray[Any]:
    array: NDArray[Any] = np.load(found.output_path(found.description.prediction))
    return array


def test_a_derived_model_starts_from_the_teachers_weights(base: Path, context: StepContext) -> None:
    inputs = both(base, CLASSES)
    teacher = trained(inputs, context)
    derived = replace(NET, from_="teacher")
    step = TrainStep(derived, QUICK, "classification", "accuracy", 7, 2)
    trainer = lone_trainer(step, replace(inputs, teacher=teacher), context)
    start, expected = trainer.model.module.state_dict(), load_file(teacher.weights_path)
    for name, tensor in expected.items():
        assert torch.equal(start[name].cpu(), tensor), name


LONG = TrainConfig(epochs=25, batch_size=16, learning_rate=3e-2)


@pytest.mark.parametrize(
    ("task", "metric", "labels", "outputs", "good"),
    [
        ("classification", "accuracy", CLASSES, 3, 0.8),
        ("classification", "accuracy", (X[:, 0] > 0).astype(np.int64), 1, 0.8),
        ("multilabel", "label_accuracy", (X[:, :3] > 0).astype(np.float32), 3, 0.7),
        ("regression", "mae", X[:, 0] - X[:, 1], 1, 0.6),
        ("custom", FunctionMetric("net.py:error", "smaller"), X[:, :3] * 2, 3, 1.1),
    ],
    ids=["classes", "one logit", "labels", "a value", "custom"],
)
def test_every_task_is_learnt(
    base: Path,
    context: StepContext,
    task: str,
    metric: MetricConfig,
    labels: NDArray[Any],
    outputs: int,
    good: float,
) -> None:
    model = ModelConfig(model="net.py:Net", arguments={"outputs": outputs})
    inputs = both(base, labels, task)
    checkpoint = trained(inputs, context, model, LONG, task, metric)
    description = checkpoint.description
    scores = description.validation
    assert description.origin == "trained"
    assert description.processes == 1
    assert len(scores) == 25
    assert description.best_epoch is not None
    best = scores[description.best_epoch - 1]
    bigger = metric in ("accuracy", "label_accuracy")
    assert best == (max(scores) if bigger else min(scores))
    assert best >= good if bigger else best <= good
    # The weights are those of the best epoch: asked again, they score the same.
    found = predictions(checkpoint, inputs.validation, context, model, task)
    answers, truth = prediction(found), labels[48:]
    if task == "classification":
        chosen = answers.argmax(1) if outputs > 1 else (answers[:, 0] > 0)
        assert (chosen == truth).mean() == pytest.approx(best)
    if task == "multilabel":
        assert ((answers > 0) == truth).mean() == pytest.approx(best)
    if task == "regression":
        assert abs(answers[:, 0] - truth).mean() == pytest.approx(best)
    if task == "custom":
        assert abs(answers - truth).mean() == pytest.approx(best)


def test_a_checkpoint_holds_what_was_learnt_and_the_history_beside_it(
    base: Path, context: StepContext
) -> None:
    model = ModelConfig(model="net.py:Net", normalize=NormalizeConfig(2, (0.5,), (1.0,)))
    checkpoint = trained(both(base, CLASSES), context, model)
    tensors = load_file(checkpoint.weights_path)
    assert set(tensors) == {
        *(f"{layer}.{kind}" for layer in ("first", "second", "norm", "head")
          for kind in ("weight", "bias")),
        *(f"norm.{kind}" for kind in ("running_mean", "running_var", "num_batches_tracked")),
        "gain",
    }  # fmt: skip
    assert torch.equal(tensors["first.weight"], tensors["second.weight"])
    assert int(tensors["norm.num_batches_tracked"]) == 3 * (checkpoint.description.best_epoch or 0)
    # first.weight is shared: it counts once.
    assert checkpoint.description.parameters == 16 + 4 + 4 + 8 + 15
    lines = (checkpoint.path / "log" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    history = [json.loads(line) for line in lines]
    assert [record["epoch"] for record in history] == [1, 2, 3]
    assert tuple(record["validation"] for record in history) == checkpoint.description.validation
    assert all(record["losses"]["ce"] > 0 for record in history)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("known", [0, 1, 5])
def test_a_sample_without_a_label_counts_for_nothing(outputs: int, known: int) -> None:
    logits = torch.linspace(-2, 2, 6 * outputs).reshape(6, outputs).requires_grad_()
    labels = torch.tensor([0, 1, 1, 0, 1, 0])
    (loss,) = make_losses((CeLoss(label_smoothing=0.1),), "classification")
    some = torch.where(torch.arange(6) < known, labels, -100)
    value = loss(LossInputs(Outputs(logits), None, Labels(some)))
    if known:
        expected = loss(LossInputs(Outputs(logits[:known]), None, Labels(labels[:known])))
        torch.testing.assert_close(value, expected)
    else:
        assert value == 0
    value.backward()
    assert logits.grad is not None
    assert not logits.grad[known:].any()


SCRIPT = """
import sys
from pathlib import Path
from edgestill.artifact import Dataset
from edgestill.models.config import ModelConfig
from edgestill.step import StepContext
from edgestill.train.config import TrainConfig, TrainStep
from edgestill.train.stage import TrainInputs, train
base, folder = map(Path, sys.argv[1:])
(folder / "out").mkdir(parents=True)
context = StepContext(base, folder / "work", lambda share, words: None, lambda line: None)
inputs = TrainInputs(Dataset(base / "train", ""), Dataset(base / "validation", ""))
step = TrainStep(ModelConfig(model="net.py:Net"), TrainConfig(epochs=3, batch_size=16),
                 "classification", "accuracy", 0, 2)
print(train(step, inputs, folder / "out", context).digest)
"""


def test_the_same_seed_gives_the_same_bits_in_another_process(
    base: Path, context: StepContext
) -> None:
    torch.manual_seed(123)  # what went before has no say
    checkpoint = trained(both(base, CLASSES), context)
    command = [sys.executable, "-c", SCRIPT, base, base / "again"]
    printed = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "9"},
    ).stdout
    assert printed.splitlines()[-1] == checkpoint.digest


def test_another_seed_gives_other_weights(base: Path, context: StepContext) -> None:
    inputs = both(base, CLASSES)
    first = load_file(trained(inputs, context).weights_path)
    other = StepContext(base, base / "work2", context.progress, context.say)
    (base / "checkpoint").rename(base / "former")
    second = load_file(trained(inputs, other, seed=1).weights_path)
    assert not torch.equal(first["head.weight"], second["head.weight"])


@pytest.mark.parametrize("kind", ["safetensors", "pt"])
def test_loaded_weights_answer_as_the_model_that_had_them(
    base: Path, context: StepContext, kind: str
) -> None:
    inputs = both(base, CLASSES)
    first = trained(inputs, context)
    state = {f"module.{name}": tensor for name, tensor in load_file(first.weights_path).items()}
    if kind == "pt":
        torch.save({"epoch": 3, "state_dict": state}, base / "weights.pt")
    else:
        save_file(state, base / "weights.safetensors")
    model = ModelConfig(model="net.py:Net", weights=f"weights.{kind}")
    out = base / "loaded"
    out.mkdir()
    step = LoadStep(model, "classification", seed=5)
    loaded = load(step, LoadInputs(inputs.train), out, context)
    assert loaded.description.origin == "loaded"
    assert loaded.description.best_epoch is None
    assert loaded.description.processes is None
    expected = prediction(predictions(first, inputs.validation, context))
    (base / "predictions").rename(base / "former")
    answered = prediction(predictions(loaded, inputs.validation, context))
    np.testing.assert_array_equal(answered, expected)


def test_weights_that_do_not_fit(base: Path, context: StepContext) -> None:
    inputs = both(base, CLASSES)
    state = load_file(trained(inputs, context).weights_path)
    state["head.weight"] = state["head.weight"][:2].clone()
    state["neck.weight"] = state.pop("norm.weight")
    save_file(state, base / "weights.safetensors")
    model = ModelConfig(model="net.py:Net", weights="weights.safetensors")
    message = (
        r"weights.safetensors: the weights do not fit the model: 1 missing: norm.weight \[4\]; "
        r"1 unexpected: neck.weight \[4\]; 1 of another shape: head.weight \[2, 4\] where the "
        r"model has \[3, 4\]. Check that model and arguments are those the weights were trained"
    )
    with pytest.raises(ModelError, match=message):
        load(LoadStep(model, "classification", 0), LoadInputs(inputs.train), base, context)


def test_a_callable_that_brings_its_weights(base: Path, context: StepContext) -> None:
    """Random ones come from the seed of the step."""
    inputs = both(base, CLASSES)
    found = []
    for seed, name in ((0, "a"), (0, "b"), (1, "c")):
        (base / name).mkdir()
        torch.manual_seed(len(found))
        step = LoadStep(NET, "classification", seed)
        built = load(step, LoadInputs(inputs.train), base / name, context)
        assert built.description.origin == "built"
        found.append(built.digest)
    assert found[0] == found[1] != found[2]


def test_every_output_is_kept_and_the_prediction_named(base: Path, context: StepContext) -> None:
    model = ModelConfig(model="net.py:Net", arguments={"extra": True})
    inputs = both(base, CLASSES)
    checkpoint = trained(inputs, context, model)
    found = predictions(checkpoint, inputs.validation, context, model)
    description = found.description
    assert (description.runtime, description.count) == ("torch", 16)
    assert (description.outputs, description.prediction) == (("aux", "logits"), "logits")
    restored = restore(model, checkpoint, inputs.validation, "classification", base)
    assert not restored.training
    with torch.no_grad():
        expected = restored.module(torch.from_numpy(X[48:]))["logits"].numpy()
    np.testing.assert_allclose(prediction(found), expected, atol=1e-6)
    np.testing.assert_allclose(np.load(found.output_path("aux")), expected * 2, atol=1e-6)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU serves no process after this")
def test_a_sample_that_the_model_cannot_take_is_the_users_to_mend(
    base: Path, context: StepContext
) -> None:
    """A token beyond the vocabulary, in one late sample."""
    ids = np.random.default_rng(0).integers(0, 10, (COUNT, 5))
    ids[40, 2] = 10
    data = dataset(base, ids, CLASSES, "classification", "train")
    model = ModelConfig(model="net.py:Words")
    message = (
        r"net.py:\d+: forward raised RuntimeError: .*10.* in train mode, "
        r"given x int64 \[16, 5\]. Compare the inputs with what the model was made for"
    )
    with pytest.raises(ModelError, match=message):
        trained(TrainInputs(data, data), context, model)


def test_a_model_without_anything_to_learn(base: Path, context: StepContext) -> None:
    (base / "net.py").write_text(
        CODE + "\n\ndef frozen():\n    return Net().requires_grad_(False)\n", encoding="utf-8"
    )
    message = r"the model has no trainable parameters. Give it weights, or leave out train$"
    with pytest.raises(ModelError, match=message):
        trained(both(base, CLASSES), context, ModelConfig(model="net.py:frozen"))
