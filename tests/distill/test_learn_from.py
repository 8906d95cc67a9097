"""A student without a teacher: from its own layers, its own average, or its peers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from edgestill.artifact import Checkpoint, Dataset, DatasetDescription, TensorSpec
from edgestill.distill.config import DistillConfig, DistillStep, PeerConfig
from edgestill.distill.stage import DistillInputs, distill, student_trainer
from edgestill.errors import ModelError
from edgestill.models.config import ModelConfig, NormalizeConfig
from edgestill.step import StepContext
from edgestill.train.losses.config import CeLoss, HeadsLoss, HintLoss, KdLoss, LossConfig, MseLoss
from edgestill.train.reproducible import reproducible
from edgestill.train.teachers.ensemble import Ensemble
from edgestill.train.teachers.live import AverageTeacher

CODE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=8, outputs=3):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU())
        self.head = nn.Linear(width, outputs)

    def forward(self, x):
        y = self.head(self.body(x))
        return {"other": -y, "logits": y}
"""

X = np.random.default_rng(0).normal(size=(96, 4)).astype(np.float32)
CLASSES = X[:, :3].argmax(1)
STUDENT = ModelConfig(model="net.py:Net")
PEERS = (
    PeerConfig("net.py:Net", {"width": 16}, normalize=NormalizeConfig(2.0)),
    PeerConfig("net.py:Net"),
)
SCHEDULE: dict[str, Any] = {"epochs": 20, "batch_size": 16, "learning_rate": 3e-2}


@pytest.fixture
def context(tmp_path: Path) -> StepContext:
    (tmp_path / "net.py").write_text(CODE, encoding="utf-8")
    return StepContext(tmp_path, tmp_path / "work", lambda share, words: None, lambda line: None)


def dataset(context: StepContext, labels: NDArray[Any] | None, rows: slice, name: str) -> Dataset:
    folder = context.base / name
    (folder / "inputs").mkdir(parents=True)
    np.save(folder / "inputs" / "x.npy", X[rows])
    np.save(folder / "ids.npy", np.arange(len(X[rows]), dtype=np.uint64))
    if labels is not None:
        np.save(folder / "labels.npy", labels[rows])
    specs = (TensorSpec("x", "float32", (None, 4)),)
    return Dataset.seal(folder, DatasetDescription(name, len(X[rows]), "classification", specs))


def splits(context: StepContext, labels: NDArray[Any] | None = CLASSES) -> DistillInputs:
    validation = dataset(context, CLASSES, slice(64, None), "validation")
    return DistillInputs(dataset(context, labels, slice(0, 64), "train"), validation)


def step(student: ModelConfig = STUDENT, **settings: Any) -> DistillStep:
    config = DistillConfig(**{**SCHEDULE, **settings})
    return DistillStep(student, {}, config, "classification", "accuracy", 0, 2)


def history(config: DistillStep, inputs: DistillInputs, context: StepContext) -> list[Any]:
    out = context.base / "student"
    out.mkdir()
    checkpoint = distill(config, inputs, out, context)
    assert isinstance(checkpoint, Checkpoint)
    lines = (out / "log" / "history.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("settings", "terms"),
    [
        ({"losses": (CeLoss(), HeadsLoss(("body.0",)))}, {"ce", "heads"}),
        ({"learn_from": "average", "ema": 0.9}, {"ce", "kd"}),
        (
            {
                "learn_from": "average",
                "ema": 0.9,
                "losses": (CeLoss(), HintLoss("body.0", "body.0"), HeadsLoss(("body",))),
            },
            {"ce", "hint body.0", "heads"},
        ),
        (
            {"learn_from": "peers", "peers": PEERS},
            {"ce", "kd", "peer 1 ce", "peer 1 kd", "peer 2 ce", "peer 2 kd"},
        ),
        (
            {
                "learn_from": "peers",
                "peers": PEERS[:1],
                "losses": (CeLoss(), MseLoss(), HeadsLoss(("body",))),
            },
            {"ce", "mse", "heads", "peer 1 ce", "peer 1 mse"},
        ),
    ],
    ids=["heads", "average", "a layer of the average", "peers", "heads beside a peer"],
)
def test_a_student_learns_without_a_teacher(
    context: StepContext, settings: dict[str, Any], terms: set[str]
) -> None:
    rows = history(step(**settings), splits(context), context)
    assert set(rows[-1]["losses"]) == terms
    assert max(row["validation"] for row in rows) > 0.8
    for number in range(1, 1 + len(settings.get("peers", ()))):
        assert rows[-1]["readings"][f"peer {number} validation"] > 0.8


def test_the_average_is_the_teacher_and_what_is_kept(context: StepContext) -> None:
    trainer = student_trainer(step(learn_from="average", ema=0.9), splits(context), context)
    assert isinstance(trainer.objective.teacher, Ensemble)
    (teacher,) = trainer.objective.teacher.members.values()
    assert isinstance(teacher, AverageTeacher)
    assert trainer.kept is teacher.model
    assert trainer.tracked.modules["average"] is trainer.average
    # The usual losses: an average knows no better, so the labels count in full.
    assert [(loss.name, loss.weight) for loss in trainer.losses] == [("ce", 1.0), ("kd", 1.0)]


def test_peers_of_the_students_code_start_apart_from_it_and_from_each_other(
    context: StepContext,
) -> None:
    peers = (PEERS[1], PEERS[1])
    inputs = splits(context)
    with reproducible(0, 1):
        trainer = student_trainer(step(learn_from="peers", peers=peers), inputs, context)
    with reproducible(0, 1):
        alone = student_trainer(step(losses=(CeLoss(),)), inputs, context)
    weights = [
        model.module.head.weight
        for model in (trainer.model, *(peer.model for peer in trainer.objective.peers))
    ]
    assert len({tuple(weight.flatten().tolist()) for weight in weights}) == 3
    assert torch.equal(weights[0], alone.model.module.head.weight), "peers have no say in its start"


def test_a_peer_has_its_own_input_and_output(context: StepContext) -> None:
    """Its prediction is the second of two outputs; normalised, its input is half as large."""
    named = PeerConfig("net.py:Net", normalize=NormalizeConfig(2.0), output="other")
    trainer = student_trainer(step(learn_from="peers", peers=(named,)), splits(context), context)
    (peer,) = trainer.objective.peers
    x = torch.from_numpy(X)
    peer.model.eval()
    torch.testing.assert_close(peer.model.prediction(x), peer.model.module(x / 2)["other"])


@pytest.mark.parametrize(
    ("peer", "message"),
    [
        (
            PeerConfig("net.py:Net", {"outputs": 5}),
            r"^student: peer 2 predicts \[5\] values per sample, the student \[3\]. Give both a",
        ),
        (PeerConfig("net.py:Nett"), r"^peer 2: net.py:Nett: there is no 'Nett' in net.py. Did"),
    ],
)
def test_a_peer_that_does_not_fit(context: StepContext, peer: PeerConfig, message: str) -> None:
    config = step(learn_from="peers", peers=(PEERS[0], peer))
    with pytest.raises(ModelError, match=message):
        student_trainer(config, splits(context), context)


@pytest.mark.parametrize(
    "settings", [{"learn_from": "average", "ema": 0.9}, {"learn_from": "peers", "peers": PEERS}]
)
@pytest.mark.parametrize("losses", [(), (CeLoss(), KdLoss())], ids=["the usual", "written"])
def test_without_labels_nobody_could_teach(
    context: StepContext, settings: dict[str, Any], losses: tuple[LossConfig, ...]
) -> None:
    message = (
        "^the loss ce reads labels, and the train split has none. Give train labels, or learn "
        "from a teacher alone, such as by kd, dist or mse$"
    )
    with pytest.raises(ModelError, match=message):
        student_trainer(step(**settings, losses=losses), splits(context, None), context)


def test_the_average_of_a_later_stage_begins_where_the_stage_before_ended(
    context: StepContext,
) -> None:
    config, inputs = step(learn_from="average", ema=0.9), splits(context)
    history(config, inputs, context)
    (context.base / "student").rename(context.base / "before")
    before = Checkpoint(context.base / "before", "")
    trainer = student_trainer(config, replace(inputs, start=before), context)
    learnt = load_file(before.weights_path)
    kept = trainer.kept.module.state_dict()
    assert learnt.keys() == kept.keys()
    assert all(torch.equal(kept[name].cpu(), tensor) for name, tensor in learnt.items())
