"""The state of an unfinished training on disk: exact, atomic, free of pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

FILE = "training.safetensors"


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch gave: the mean of each loss term, the learning rate and the validation."""

    epoch: int
    losses: dict[str, float]
    learning_rate: float
    validation: float
    seconds: float

    def to_json(self) -> str:
        return json.dumps(asdict(self))


@dataclass
class Progress:
    """How far a training has come.

    Attributes:
        epoch: epochs that are finished.
        step: steps of the current epoch that are finished.
        sums: each loss term's sum over the current epoch's samples.
        best_epoch: the epoch (from 1) with the best validation so far; 0 before the first.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] | None = None
    best_epoch: int = 0
    history: tuple[EpochRecord, ...] = ()


def save(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    best: Mapping[str, Tensor],
    progress: Progress,
) -> None:
    """Replace the state in `folder`; a kill leaves the former one or this one."""
    from safetensors.torch import save_file

    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    scalars: dict[str, Any] = {}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            key = f"optimizer.{index}.{name}"
            if isinstance(value, Tensor):
                tensors[key] = value
            elif value is not None:
                scalars[key] = value
    metadata = {"progress": json.dumps(asdict(progress)), "scalars": json.dumps(scalars)}
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{FILE}.{os.getpid()}"
    save_file(
        {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()},
        temporary,
        metadata,
    )
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(folder / FILE)


def load(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Progress, dict[str, Tensor]] | None:
    """Put the saved state into `model` and `optimizer`; None when there is no readable one."""
    from safetensors import SafetensorError, safe_open

    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
        progress = _progress(json.loads(metadata["progress"]))
        scalars = json.loads(metadata["scalars"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        path.unlink()  # cannot be used: start from the beginning
        return None
    model.load_state_dict(_below("model.", tensors))
    optimizer_state: dict[int, dict[str, Any]] = {}
    for key, value in (_below("optimizer.", tensors) | _below("optimizer.", scalars)).items():
        index, _, name = key.partition(".")
        optimizer_state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": optimizer_state, "param_groups": groups})
    return progress, _below("best.", tensors)


def _below(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


def _progress(data: dict[str, Any]) -> Progress:
    history = tuple(EpochRecord(**record) for record in data.pop("history"))
    return Progress(**data, history=history)
