"""Distils on a device that is not the CPU, where there is no such device: run as a program.

Its tensors hold those of the CPU, and as on a GPU one that was left on the CPU cannot be computed
with. What every distillation gives there is compared with what it gives on the CPU.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from edgestill.artifact import Dataset, DatasetDescription, TensorSpec
from edgestill.distill import record as recording
from edgestill.distill.config import CacheConfig, DistillConfig, DistillStep, PeerConfig, RecordStep
from edgestill.distill.record import RecordInputs, record
from edgestill.distill.stage import DistillInputs, distill
from edgestill.models.config import ModelConfig
from edgestill.step import StepContext
from edgestill.train import loop
from edgestill.train.config import AugmentConfig, LoadStep
from edgestill.train.losses import config as losses
from edgestill.train.schedule import Schedule
from edgestill.train.stage import LoadInputs, load

NAME = "pretended"
_setup_privateuseone_for_python_backend(NAME)
DEVICE = torch.device(NAME, 0)
getattr(torch, NAME).get_amp_supported_dtype = lambda: [torch.bfloat16]
COUNT = 48


class There(Tensor):
    """A tensor of the device; `inner` is the one of the CPU that it stands for."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> There:
        return Tensor._make_wrapper_subclass(  # type: ignore[attr-defined, no-any-return]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(op, args, kwargs or {})

    def tolist(self) -> Any:
        return self.inner.tolist()


class OnDevice(TorchDispatchMode):
    """Makes tensors of the device where they are asked for."""

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        wanted = kwargs.get("device")
        asked = wanted is not None and torch.device(wanted).type == NAME
        if asked or any(isinstance(leaf, There) for leaf in tree_leaves((args, kwargs))):
            return _computed(op, args, kwargs)
        return op(*args, **kwargs)


def _computed(op: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    leaves = tree_leaves((args, kwargs))
    _require_one_device(op, leaves)
    given, named = tree_map(_inner, (args, kwargs))
    answer = op(*given, **named)
    if "device" in kwargs and torch.device(kwargs["device"]).type == "cpu":
        return answer
    for argument, value in zip(op._schema.arguments, args, strict=False):
        if argument.alias_info is not None and argument.alias_info.is_write:
            return value
    there = "device" in kwargs or any(isinstance(leaf, There) for leaf in leaves)
    return tree_map(lambda x: There(x) if there and type(x) is Tensor else x, answer)


def _inner(value: Any) -> Any:
    if isinstance(value, There):
        return value.inner
    return torch.device("cpu") if isinstance(value, torch.device) else value


def _require_one_device(op: Any, leaves: Any) -> None:
    """As CUDA has it: but for indices, copies and numbers, all tensors have to be there."""
    name = op._schema.name
    if "copy" in name or "index" in name:
        return
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    left = [tensor for tensor in tensors if not isinstance(tensor, There) and tensor.ndim]
    if left and len(left) < len(tensors):
        raise RuntimeError(f"{name}: a tensor {list(left[0].shape)} was left on the CPU")


CODE = """
from torch import nn

def net(width):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, stride=2, padding=1), nn.Dropout(0.1), nn.Flatten(),
        nn.Linear(16 * width, 5),
    )

def answers(batch):
    return batch["x"].reshape(len(batch["x"]), -1)[:, :5].astype("float64")
"""
ALL = (
    losses.CeLoss(0.1, label_smoothing=0.1),
    losses.KdLoss(temperature="adaptive"),
    losses.KdLoss(standardize=True, weight=Schedule(0.0, 1.0)),
    losses.DkdLoss(),
    losses.DistLoss(),
    losses.MseLoss(),
    losses.HintLoss("3", "3"),
    losses.HintLoss("0", "3", distance="cosine"),
    losses.AttentionLoss("3", "0"),
    losses.SimilarityLoss("3", "3"),
    losses.RelationLoss(),
    losses.AdversarialLoss(weight=0.1),
    losses.AdversarialLoss("3", "0", weight=0.1, form="bce"),
    losses.HeadsLoss(("0", "3")),
)
CE, KD = losses.CeLoss(), losses.KdLoss()
MIXED = AugmentConfig(crop=1, flip=True, mixup=0.3, cutmix=0.5)
STUDENT, TEACHER = (ModelConfig(model="net.py:net", arguments={"width": width}) for width in (4, 6))
ASKED = ModelConfig(function="net.py:answers")
PEERS = (PeerConfig(model="net.py:net", arguments={"width": 3}),)
SCHEDULE = DistillConfig(epochs=2, batch_size=16, learning_rate=1e-2)
# Whether the teacher's answers are kept, and how the student is trained.
CASES: Mapping[str, tuple[bool, DistillConfig]] = {
    "all losses": (False, replace(SCHEDULE, losses=ALL, ema=0.9, clip_norm=1.0)),
    "kept answers": (True, replace(SCHEDULE, losses=(CE, KD, ALL[6]), cache=CacheConfig(top_k=2))),
    "mixed views": (False, replace(SCHEDULE, losses=ALL, augment=MIXED, accumulate=2)),
    "teachers by loss": (False, replace(SCHEDULE, losses=(CE, KD), teachers="loss")),
    "a part": (False, replace(SCHEDULE, losses=(CE, KD), only=("6",), optimizer="sgd")),
    "average": (
        False,
        replace(SCHEDULE, losses=(CE, KD, ALL[6]), ema=0.9, learn_from="average"),
    ),
    "peers": (False, replace(SCHEDULE, losses=(CE, KD), learn_from="peers", peers=PEERS)),
}


def dataset(base: Path, name: str, seed: int) -> Dataset:
    rng, folder = np.random.default_rng(seed), base / name
    (folder / "inputs").mkdir(parents=True)
    np.save(folder / "inputs" / "x.npy", rng.integers(0, 255, (COUNT, 1, 8, 8), dtype=np.uint8))
    labels = rng.integers(0, 5, COUNT)
    if name == "train":
        labels[::7] = -100  # have none
    np.save(folder / "labels.npy", labels)
    np.save(folder / "ids.npy", np.sort(rng.integers(0, 2**63, COUNT).astype(np.uint64)))
    specs = (TensorSpec("x", "uint8", (None, 1, 8, 8)),)
    return Dataset.seal(folder, DatasetDescription(name, COUNT, "classification", specs))


def learnt(base: Path, name: str) -> Any:
    """The weights that a distillation gives, and its history."""
    kept, schedule = CASES[name]
    splits = [dataset(base, split, seed) for seed, split in enumerate(("train", "validation"))]
    (base / "net.py").write_text(CODE, encoding="utf-8")
    folders = {part: base / part for part in ("teacher", "recording", "student", "work")}
    for folder in folders.values():
        folder.mkdir()
    context = StepContext(base, folders["work"], lambda share, words: None, lambda line: None)
    step = LoadStep(TEACHER, "classification", 0)
    teacher = load(step, LoadInputs(splits[0]), folders["teacher"], context)
    configs = {"teacher": TEACHER} if schedule.learn_from == "teacher" else {}
    recordings = {}
    if kept:
        assert schedule.cache is not None
        taps = tuple(losses.Tap(tap.layer) for tap in losses.reads_of(ALL[6]).teacher)
        asked = RecordStep(TEACHER, None, schedule.cache, True, taps, "classification", 1)
        found = record(asked, RecordInputs(splits[0], teacher), folders["recording"], context)
        recordings["teacher"] = found
    if schedule.teachers == "loss":
        configs["asked"] = ASKED
    distilled = DistillStep(STUDENT, configs, schedule, "classification", "accuracy", 0, 1)
    inputs = DistillInputs(*splits, {"teacher": teacher}, recordings)
    checkpoint = distill(distilled, inputs, folders["student"], context)
    return checkpoint.weights_path.read_bytes(), checkpoint.description


def placed(make: Any) -> Any:
    """What makes an Accelerator, but for the device that it finds."""

    def make_there(*args: Any, **named: Any) -> Any:
        accelerator = make(*args, **named)
        accelerator.state.device = DEVICE
        return accelerator

    return make_there


def main(base: Path) -> None:
    on_cpu = {name: learnt(base / "cpu" / name, name) for name in CASES}
    loop.start_accelerator = placed(loop.start_accelerator)
    recording.join_processes = placed(recording.join_processes)
    with OnDevice():
        same = {name: learnt(base / "there" / name, name) == on_cpu[name] for name in CASES}
    print(json.dumps(same))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
