"""Two processes train as one does with the same batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgestill.api.run import run_recipe

# Batches of 31 are cut into shares of 16 and 15; the model has no statistics of a batch.
TRAINING = """\
import json, sys
from pathlib import Path
import numpy as np
import torch
from torch import nn
from edgestill.artifact import TensorSpec
from edgestill.metrics.classification import accuracy
from edgestill.models.wrapper import DeviceModel
from edgestill.train.config import *
from edgestill.train.loop import Trainer
from edgestill.train.objective import Objective, Samples
from edgestill.train.losses import make_losses
from edgestill.train.losses.config import *
from edgestill.train.reproducible import reproducible
from edgestill.train.optimizers import make_average
from edgestill.train.peers import Peer
from edgestill.train.teachers.live import AverageTeacher, LiveTeacher

LOSSES = {
    "labels": [CeLoss(label_smoothing=0.1)],
    "kd and dist": [KdLoss(), DistLoss(), DkdLoss(beta=2.0)],
    "relations": [
        CeLoss(),
        SimilarityLoss("0", "0", weight=100.0),
        RelationLoss("0", "0", angle=1.0),
        RelationLoss(angle=0.0),
    ],
    "features": [HintLoss("0", "0"), KdLoss(temperature="adaptive")],
    "adversary": [CeLoss(), AdversarialLoss(weight=0.1), AdversarialLoss("0", "0", weight=0.1)],
    "average": [CeLoss(), KdLoss(), HeadsLoss(("0",))],
    "peers": [CeLoss(), KdLoss(temperature="adaptive")],
    "peers as a batch": [CeLoss(), DistLoss(), AdversarialLoss(weight=0.1)],
}

def net(width):
    module = nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.LayerNorm(width), nn.Linear(width, 4))
    return DeviceModel(module, None, (TensorSpec("x", "float32", (None, 6)),))

def score(outputs, labels):
    return accuracy(outputs[0], labels).mean()

def samples(seed):
    rng = np.random.default_rng(seed)
    ids = np.arange(62, dtype=np.uint64)
    x = rng.normal(size=(62, 6)).astype(np.float32)
    return Samples({"x": x}, rng.integers(0, 4, 62), ids)

curves = {}
for name, configs in LOSSES.items():
    for accumulate in (1, 2) if name in ("labels", "features", "peers") else (1,):
        with reproducible(0, 1):
            losses = make_losses(configs, "classification")
            teacher = LiveTeacher(net(9), [t for loss in losses for t in loss.reads.teacher])
            student, average, peers = net(5), None, []
            if name == "average":
                average = make_average(student, 0.9)
                teacher = AverageTeacher(average.module, ())
            if name.startswith("peers"):
                teacher = None
                beside = make_losses(configs, "classification")
                for loss in beside:
                    loss.name = f"peer 1 {loss.name}"
                peers = [Peer(net(7), beside, score)]
            goal = Objective(losses, teacher, score, True, peers)
            config = TrainConfig(
                epochs=3, batch_size=31, learning_rate=1e-2, clip_norm=1.0, ema=0.9,
                accumulate=accumulate,
            )
            work = Path(sys.argv[1]) / f"{name} {accumulate}"
            trainer = Trainer(
                student, goal, config, 0, work, samples(0), lambda line: None, average
            )
            trained = trainer.run(samples(1), lambda share, words: None)
        curves[f"{name} {accumulate}"] = [record.losses for record in trained.history]
        curves[f"{name} {accumulate} weights"] = [
            {key: float(value.double().norm()) for key, value in model.items()}
            for model in (trained.weights, *(peer.model.state_dict() for peer in peers))
        ]
if trainer.accelerator.is_main_process:
    print(json.dumps(curves))
"""
LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


def run_python(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
        **options,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def test_two_processes_have_the_loss_curve_of_one(tmp_path: Path) -> None:
    script = tmp_path / "training.py"
    script.write_text(TRAINING, encoding="utf-8")
    one = json.loads(run_python(str(script), str(tmp_path / "one")).stdout.splitlines()[-1])
    two = json.loads(
        run_python(*LAUNCH, str(script), str(tmp_path / "two")).stdout.splitlines()[-1]
    )
    assert one.keys() == two.keys()
    for name, curve in one.items():
        for alone, together in zip(curve, two[name], strict=True):
            assert together == pytest.approx(alone, rel=1e-4, abs=1e-4), name


RECIPE = """\
name: together
threads: 1
data: {source: sklearn.digits}
teacher: {model: "edgestill.models.digits:teacher", train: {epochs: 1}}
student: {model: "edgestill.models.digits:student"}
distill: {epochs: 2, cache: {}, losses: [ce, kd]}
"""


@pytest.mark.slow
def test_a_launched_run_is_one_run_which_a_plain_one_finds_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    done = run_python(*LAUNCH, "-m", "edgestill", "run", "recipe.yaml", cwd=tmp_path)
    assert done.stdout.count("exit code 0") == 1
    assert len(list((tmp_path / ".edgestill" / "objects").glob("*/*"))) == 10
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    report = run_recipe("recipe.yaml")
    assert [model.processes for model in report.models] == [2, 2], "also where it is reused"
    assert [step.name for step in report.steps if not step.reused] == []
    student = next(hop.score for hop in report.hops if hop.name == "student torch")
    assert student is not None
    assert student > 0.5
