"""Distillation: a student that takes after its teacher, and nothing else changes."""

from __future__ import annotations

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
from safetensors.torch import load_file

from edgestill.artifact import Checkpoint, Dataset, DatasetDescription, TensorSpec
from edgestill.digest import digest_folder
from edgestill.distill.config import DistillConfig, DistillStep
from edgestill.distill.stage import (
    DistillInputs,
    distill,
    require_same_prediction,
    student_trainer,
)
from edgestill.errors import ModelError
from edgestill.metric_config import FunctionMetric, MetricConfig
from edgestill.models.config import ModelConfig, NormalizeConfig
from edgestill.models.wrapper import DeviceModel
from edgestill.step import StepContext
from edgestill.train.config import Keep, LoadStep
from edgestill.train.loop import Trainer
from edgestill.train.losses.config import CeLoss, KdLoss, LossConfig, MseLoss
from edgestill.train.predict import predict
from edgestill.train.stage import LoadInputs, load, restore
from edgestill.train.teachers.ensemble import Ensemble
from edgestill.train.teachers.live import LiveTeacher

CODE = '''
import torch
from torch import nn


class Teacher(nn.Module):
    """Knows the answers: a fixed linear map, behind layers that would change in train mode."""

    def __init__(self, outputs=3):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.dropout = nn.Dropout(0.5)
        self.layer = nn.Linear(4, outputs)
        with torch.no_grad():
            self.layer.weight.copy_(3 * torch.eye(4)[:outputs])
            self.layer.bias.zero_()

    def forward(self, x):
        return self.layer(self.dropout(self.norm(x)))


class Student(nn.Module):
    def __init__(self, outputs=3, aux=False):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1))
        self.head = nn.Linear(8, outputs)
        self.aux = aux

    def forward(self, x):
        y = self.head(self.body(x))
        return {"other": -y, "logits": y} if self.aux else y


def error(outputs, labels):
    return float(abs(outputs - labels).mean())
'''

# Of each epoch something less than of the one before.
WORSE = """

CALLS = []


def worse(outputs, labels):
    CALLS.append(1)
    return -float(len(CALLS))
"""
COUNT = 96
X = np.random.default_rng(0).normal(size=(COUNT, 4)).astype(np.float32)
CLASSES = X[:, :3].argmax(1)
TEACHER, STUDENT = ModelConfig(model="net.py:Teacher"), ModelConfig(model="net.py:Student")
QUICK = DistillConfig(epochs=3, batch_size=16)
LONG = DistillConfig(epochs=25, batch_size=16, learning_rate=3e-2)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(CODE, encoding="utf-8")
    return tmp_path


@pytest.fixture
def context(base: Path) -> StepContext:
    return StepContext(base, base / "work", lambda share, words: None, lambda line: None)


def dataset(base: Path, labels: NDArray[Any] | None, rows: slice, task: str, name: str) -> Dataset:
    folder = base / name
    (folder / "inputs").mkdir(parents=True)
    np.save(folder / "inputs" / "x.npy", X[rows])
    np.save(folder / "ids.npy", np.arange(len(X[rows]), dtype=np.uint64))
    if labels is not None:
        np.save(folder / "labels.npy", labels[rows])
    specs = (TensorSpec("x", "float32", (None, 4)),)
    return Dataset.seal(folder, DatasetDescription(name, len(X[rows]), task, specs))


def prepared(
    base: Path,
    context: StepContext,
    labels: NDArray[Any] | None = CLASSES,
    task: str = "classification",
    teacher: ModelConfig = TEACHER,
) -> DistillInputs:
    train = dataset(base, labels, slice(0, 64), task, "train")
    given = 3 * X[:, :3] if labels is None else labels
    validation = dataset(base, given, slice(64, None), task, "validation")
    (base / "teacher").mkdir()
    checkpoint = load(LoadStep(teacher, task, 0), LoadInputs(train), base / "teacher", context)
    return DistillInputs(train, validation, {"teacher": checkpoint})


def distilled(
    inputs: DistillInputs,
    context: StepContext,
    config: DistillConfig = QUICK,
    student: ModelConfig = STUDENT,
    teacher: ModelConfig = TEACHER,
    task: str = "classification",
    metric: MetricConfig = "accuracy",
) -> Checkpoint:
    out = context.base / "student"
    out.mkdir()
    step = DistillStep(student, {"teacher": teacher}, config, task, metric, 0, 2)
    return distill(step, inputs, out, context)


def answers(
    model: ModelConfig, checkpoint: Checkpoint, inputs: DistillInputs, base: Path, task: str
) -> NDArray[Any]:
    restored = restore(model, checkpoint, inputs.train, task, base)
    found = predict(restored, {"x": X[64:]}, torch.device("cpu"))
    return found[restored.prediction_index]


@pytest.mark.parametrize(
    "losses",
    [(), (KdLoss(),), (MseLoss(),), (CeLoss(weight=0.1), KdLoss(weight=0.9, temperature=2))],
    ids=["the usual pair", "kd", "mse", "written"],
)
def test_the_student_takes_after_the_teacher(
    base: Path, context: StepContext, losses: tuple[LossConfig, ...]
) -> None:
    inputs = prepared(base, context)
    config = DistillConfig(epochs=25, batch_size=16, learning_rate=3e-2, losses=losses)
    checkpoint = distilled(inputs, context, config)
    description = checkpoint.description
    assert description.origin == "distilled"
    assert description.model == "net.py:Student"
    teacher = answers(TEACHER, inputs.teachers["teacher"], inputs, base, "classification")
    student = answers(STUDENT, checkpoint, inputs, base, "classification")
    assert (teacher.argmax(1) == student.argmax(1)).mean() > 0.8
    # Not only the best class: the rest of its answer too.
    assert np.corrcoef(teacher.ravel(), student.ravel())[0, 1] > 0.7


@pytest.mark.parametrize("width", [1, 3])
def test_multilabel_and_one_logit(base: Path, context: StepContext, width: int) -> None:
    arguments = {"outputs": width}
    teacher = ModelConfig(model="net.py:Teacher", arguments=arguments)
    student = ModelConfig(model="net.py:Student", arguments=arguments)
    task = "classification" if width == 1 else "multilabel"
    metric = "accuracy" if width == 1 else "label_accuracy"
    labels = (X[:, 0] > 0).astype(np.int64) if width == 1 else (X[:, :3] > 0).astype(np.float32)
    inputs = prepared(base, context, labels, task, teacher)
    checkpoint = distilled(inputs, context, LONG, student, teacher, task, metric)
    first = answers(teacher, inputs.teachers["teacher"], inputs, base, task)
    second = answers(student, checkpoint, inputs, base, task)
    assert ((first > 0) == (second > 0)).mean() > 0.8


def test_a_custom_task_without_labels_learns_from_the_teacher_alone(
    base: Path, context: StepContext
) -> None:
    metric = FunctionMetric("net.py:error", "smaller")
    inputs = prepared(base, context, None, "custom")
    config = DistillConfig(epochs=25, batch_size=16, learning_rate=3e-2, losses=(MseLoss(),))
    checkpoint = distilled(inputs, context, config, task="custom", metric=metric)
    teacher = answers(TEACHER, inputs.teachers["teacher"], inputs, base, "custom")
    student = answers(STUDENT, checkpoint, inputs, base, "custom")
    assert np.abs(teacher - student).mean() < 0.5 * np.abs(teacher).mean()


def test_other_outputs_of_the_student_play_no_part(base: Path, context: StepContext) -> None:
    """The prediction is the second of two; the first is its opposite."""
    student = ModelConfig(model="net.py:Student", arguments={"aux": True})
    inputs = prepared(base, context)
    checkpoint = distilled(inputs, context, LONG, student)
    teacher = answers(TEACHER, inputs.teachers["teacher"], inputs, base, "classification")
    found = answers(student, checkpoint, inputs, base, "classification")
    assert (teacher.argmax(1) == found.argmax(1)).mean() > 0.8


def test_the_teacher_stays_as_it_was(
    base: Path, context: StepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = prepared(base, context)
    seen: list[DeviceModel] = []
    run = Trainer.run

    def watched(self: Trainer, *args: Any, **named: Any) -> Any:
        assert isinstance(self.objective.teacher, Ensemble)
        (teacher,) = self.objective.teacher.members.values()
        assert isinstance(teacher, LiveTeacher)
        seen.append(teacher.model)
        return run(self, *args, **named)

    monkeypatch.setattr(Trainer, "run", watched)
    distilled(inputs, context)
    checkpoint = inputs.teachers["teacher"]
    assert digest_folder(checkpoint.path) == checkpoint.digest
    assert isinstance(checkpoint, Checkpoint)
    fresh = restore(TEACHER, checkpoint, inputs.train, "classification", base)
    for name, tensor in fresh.state_dict().items():
        assert torch.equal(tensor, seen[0].state_dict()[name]), name
    assert not seen[0].training
    assert not any(parameter.requires_grad for parameter in seen[0].parameters())


SCRIPT = """
import sys
from pathlib import Path
from edgestill.artifact import Checkpoint, Dataset
from edgestill.distill.config import DistillConfig, DistillStep
from edgestill.distill.stage import DistillInputs, distill
from edgestill.models.config import ModelConfig
from edgestill.step import StepContext
base, folder = map(Path, sys.argv[1:])
(folder / "out").mkdir(parents=True)
context = StepContext(base, folder / "work", lambda share, words: None, lambda line: None)
inputs = DistillInputs(
    Dataset(base / "train", ""), Dataset(base / "validation", ""),
    {"teacher": Checkpoint(base / "teacher", "")},
)
step = DistillStep(ModelConfig(model="net.py:Student"),
                   {"teacher": ModelConfig(model="net.py:Teacher")},
                   DistillConfig(epochs=3, batch_size=16), "classification", "accuracy", 0, 2)
print(distill(step, inputs, folder / "out", context).digest)
"""


def test_the_same_bits_in_another_process(base: Path, context: StepContext) -> None:
    inputs = prepared(base, context)
    torch.manual_seed(99)  # what went before has no say
    checkpoint = distilled(inputs, context)
    command = [sys.executable, "-c", SCRIPT, base, base / "again"]
    printed = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "5"},
    ).stdout
    assert printed.splitlines()[-1] == checkpoint.digest


def test_each_model_has_its_own_normalisation(base: Path, context: StepContext) -> None:
    """The teacher's answers to normalised samples are what the student learns."""
    teacher = ModelConfig(model="net.py:Teacher", normalize=NormalizeConfig(1, (0.5,), (0.5,)))
    inputs = prepared(base, context, teacher=teacher)
    config = DistillConfig(epochs=25, batch_size=16, learning_rate=3e-2, losses=(MseLoss(),))
    checkpoint = distilled(inputs, context, config, teacher=teacher)
    found = answers(STUDENT, checkpoint, inputs, base, "classification")
    expected = 3 * (X[64:, :3] - 0.5) / 0.5
    assert np.abs(found - expected).mean() < 0.4 * np.abs(expected).mean()


def test_a_derived_student_starts_from_the_teachers_weights(
    base: Path, context: StepContext
) -> None:
    """Every second of its channels, whatever the seed; and what is learnt comes back."""
    inputs = prepared(base, context, teacher=STUDENT)
    teacher = load_file(inputs.teachers["teacher"].weights_path)
    derived = replace(STUDENT, from_="teacher", width=0.5)
    step = DistillStep(derived, {"teacher": STUDENT}, QUICK, "classification", "accuracy", 7, 2)
    inputs = replace(inputs, origin=inputs.teachers["teacher"])
    start = student_trainer(step, inputs, context).model.module.state_dict()
    assert torch.equal(start["body.0.weight"], teacher["body.0.weight"][::2])
    assert torch.equal(start["body.1.bias"], teacher["body.1.bias"][::2])
    assert torch.equal(start["head.weight"], 2 * teacher["head.weight"][:, ::2])
    checkpoint = distilled(inputs, context, student=derived, teacher=STUDENT)
    assert checkpoint.description.model == "net.py:Student, depth 1, width 0.5"
    learnt = restore(derived, checkpoint, inputs.train, "classification", base).module.state_dict()
    assert {name: tensor.shape for name, tensor in learnt.items()} == {
        name: tensor.shape for name, tensor in start.items()
    }
    assert not torch.equal(learnt["head.weight"], start["head.weight"])


@pytest.mark.parametrize("student", [STUDENT, replace(STUDENT, from_="teacher", width=0.5)])
def test_a_stage_starts_where_the_one_before_ended(
    base: Path, context: StepContext, student: ModelConfig
) -> None:
    """Where a model came from has no say any more; at a rate at which nothing moves it stays."""
    inputs = prepared(base, context, teacher=STUDENT)
    begun = replace(inputs, origin=inputs.teachers["teacher"])
    before = distilled(begun, context, student=student, teacher=STUDENT)
    (base / "student").rename(base / "before")
    before = Checkpoint(base / "before", before.digest)
    still = replace(QUICK, learning_rate=1e-12)
    after = distilled(replace(inputs, start=before), context, still, student, STUDENT)
    first, second = (load_file(checkpoint.weights_path) for checkpoint in (before, after))
    for name in ("body.0.weight", "body.1.bias", "head.weight"):
        torch.testing.assert_close(second[name], first[name], rtol=1e-6, atol=1e-6)
    assert not torch.equal(second["body.1.running_mean"], first["body.1.running_mean"])


@pytest.mark.parametrize(("keep", "epoch"), [("best", 1), ("last", 3)])
def test_a_stage_that_is_not_the_last_gives_its_last_epoch(
    base: Path, context: StepContext, keep: Keep, epoch: int
) -> None:
    """By a metric that finds each epoch worse than the one before."""
    (base / "net.py").write_text(CODE + WORSE, encoding="utf-8")
    inputs = prepared(base, context)
    metric = FunctionMetric("net.py:worse", "bigger")
    step = DistillStep(STUDENT, {"teacher": TEACHER}, QUICK, "classification", metric, 0, 2, keep)
    (base / "student").mkdir()
    found = distill(step, inputs, base / "student", context).description
    assert len(set(found.validation)) == 3
    assert found.best_epoch == epoch


def test_predictions_of_different_shapes(base: Path, context: StepContext) -> None:
    student = ModelConfig(model="net.py:Student", arguments={"outputs": 5})
    message = (
        r"^student: the teacher predicts \[3\] values per sample, the student \[5\]. "
        r"Give both a prediction of one shape, or name the outputs that match with output:$"
    )
    with pytest.raises(ModelError, match=message):
        distilled(prepared(base, context), context, student=student)
    require_same_prediction((3, 4), (3, 4))


def test_a_stopped_distillation_goes_on_bit_for_bit(
    base: Path, context: StepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = prepared(base, context)
    whole = distilled(inputs, context)
    (base / "student").rename(base / "whole")
    monkeypatch.setattr("edgestill.train.loop.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("edgestill.train.loop.CHECKPOINT_SHARE", 1e9)
    again = StepContext(base, base / "work2", context.progress, context.say)
    steps, step = 0, Trainer._step

    def stopping(self: Trainer, *args: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == 7:
            raise KeyboardInterrupt
        step(self, *args)

    monkeypatch.setattr(Trainer, "_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        distilled(inputs, again)
    (base / "student").rmdir()
    assert distilled(inputs, again).digest == whole.digest
    assert steps < 7 + 12, "it began again from the start"
