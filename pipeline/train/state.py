"""The state of an unfinished training on disk: exact, atomic, free of pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

FILE = "training.safetensors"


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch gave.

    Attributes:
        losses: the mean over the samples of each loss term that was computed.
        readings: what losses tell beside their terms, from the last step.
    """

    epoch: int
    losses: dict[str, float]
    learning_rate: float
    validation: float
    seconds: float
    readings: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self))


@dataclass
class Term:
    """A loss term in the current epoch so far.

    Attributes:
        total: summed over samples; `count` has how many.
        least, greatest: of all steps, of which there were `steps`.
    """

    total: float = 0.0
    count: int = 0
    steps: int = 0
    least: float = float("inf")
    greatest: float = float("-inf")

    def add(self, value: float, count: int) -> None:
        self.total += value * count
        self.count += count
        self.steps += 1
        self.least, self.greatest = min(self.least, value), max(self.greatest, value)


@dataclass
class Progress:
    """How far a training has come.

    Attributes:
        epoch: epochs that are finished.
        step: steps of the current epoch that are finished.
        terms: each loss term over the current epoch so far.
        best_epoch: the epoch (from 1) with the best validation so far; 0 before the first.
    """

    epoch: int = 0
    step: int = 0
    terms: dict[str, Term] = field(default_factory=dict)
    best_epoch: int = 0
    history: tuple[EpochRecord, ...] = ()

    @property
    def best(self) -> EpochRecord | None:
        return self.history[self.best_epoch - 1] if self.best_epoch else None

    @property
    def epochs_without_gain(self) -> int:
        """How many epochs have brought nothing better since one was as good as the best."""
        if self.best is None:
            return 0
        scores = [record.validation for record in self.history]
        return self.epoch - scores.index(self.best.validation) - 1


@dataclass(frozen=True)
class Tracked:
    """Everything that changes while a training runs, by name."""

    modules: Mapping[str, nn.Module]
    optimizers: Mapping[str, torch.optim.Optimizer]


def save(folder: Path, tracked: Tracked, best: Mapping[str, Tensor], progress: Progress) -> None:
    """Replace the state in `folder`; a kill leaves the former one or this one."""
    from safetensors.torch import save_file

    tensors = {f"best.{name}": tensor for name, tensor in best.items()}
    for module, values in tracked.modules.items():
        tensors |= {f"{module}.{name}": t for name, t in values.state_dict().items()}
    for optimizer, holder in tracked.optimizers.items():
        for index, values in holder.state_dict()["state"].items():
            given = {name: value for name, value in values.items() if value is not None}
            tensors |= {f"{optimizer}.{index}.{name}": value for name, value in given.items()}
    metadata = {"progress": json.dumps(asdict(progress))}
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


def load(folder: Path, tracked: Tracked) -> tuple[Progress, dict[str, Tensor]] | None:
    """Put the saved state into what is tracked; None when there is no readable one."""
    from safetensors import SafetensorError, safe_open

    for unfinished in folder.glob(f"{FILE}.*"):  # of a process that was killed while it saved
        unfinished.unlink(missing_ok=True)
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
        progress = _progress(json.loads(metadata["progress"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        path.unlink()  # cannot be used: start from the beginning
        return None
    for name, module in tracked.modules.items():
        module.load_state_dict(_below(f"{name}.", tensors))
    for name, optimizer in tracked.optimizers.items():
        values: dict[int, dict[str, Tensor]] = {}
        for key, value in _below(f"{name}.", tensors).items():
            index, _, entry = key.partition(".")
            values.setdefault(int(index), {})[entry] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": values, "param_groups": groups})
    return progress, _below("best.", tensors)


def _below(prefix: str, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


def _progress(data: dict[str, Any]) -> Progress:
    history = tuple(EpochRecord(**record) for record in data.pop("history"))
    terms = {name: Term(**term) for name, term in data.pop("terms").items()}
    return Progress(**data, history=history, terms=terms)
