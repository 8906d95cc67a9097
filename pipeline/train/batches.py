"""Which samples each step has, and how a step is cut among processes and in time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from edgestill.errors import ModelError
from edgestill.train.reproducible import derived_seed
from edgestill.train.views import Rows


@dataclass(frozen=True)
class Part:
    """Rows of one step that one process computes at once.

    Attributes:
        sizes: how many rows each process has in this part.
        whole: how many rows the step has on all processes.
    """

    rows: Rows
    sizes: tuple[int, ...]
    whole: int


def epoch_batches(count: int, batch_size: int, seed: int, epoch: int) -> tuple[Rows, ...]:
    """The rows of each step: every one of `count` samples once, sizes that differ by one at most.

    Even sizes, because a small last batch has poor batch statistics, and one sample has none.
    """
    generator = torch.Generator().manual_seed(derived_seed(seed, "epoch", epoch))
    order = torch.randperm(count, generator=generator)
    return tuple(rows.numpy() for rows in torch.tensor_split(order, math.ceil(count / batch_size)))


def parts_of(batch: Rows, accumulate: int, process: int, processes: int) -> list[Part]:
    """What one process computes of a step, in the order in which it does.

    Raises:
        ModelError: there are fewer rows than processes.
    """
    if len(batch) < processes:
        raise ModelError(
            f"a batch of {len(batch)} samples cannot be cut among {processes} processes",
            where="batch_size",
            fix="Raise batch_size or start fewer processes",
        )
    shares = torch.tensor_split(torch.from_numpy(batch), processes)
    pieces = min(accumulate, len(shares[-1]))
    cut = [torch.tensor_split(share, pieces) for share in shares]
    return [
        Part(cut[process][piece].numpy(), tuple(len(own[piece]) for own in cut), len(batch))
        for piece in range(pieces)
    ]
