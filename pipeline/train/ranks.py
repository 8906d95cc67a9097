"""What the processes of one training share: a batch is cut among them, and gathered again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, distributed


def processes() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def gatherer(sizes: Sequence[int]) -> Callable[[Tensor], Tensor]:
    """A function that makes `[b, ...]` of each process the rows of all, in order of the processes.

    Once gradients are averaged over the processes, they are those of one process with all rows.

    Args:
        sizes: how many rows each process has.
    """

    def gather(rows: Tensor) -> Tensor:
        if len(sizes) == 1:
            return rows
        # Gathered tensors have to be of one shape.
        padding = rows.new_zeros(max(sizes) - len(rows), *rows.shape[1:])
        padded = torch.cat([rows.detach(), padding])
        parts = [torch.empty_like(padded) for _ in sizes]
        distributed.all_gather(parts, padded)
        parts = [part[:size] for part, size in zip(parts, sizes, strict=True)]
        own = rows.view_as(rows)
        if own.requires_grad:
            # Each process has the gradient of its own rows alone, and the average divides it.
            own.register_hook(lambda slope: slope * len(sizes))  # type: ignore[no-untyped-call]
        parts[distributed.get_rank()] = own
        return torch.cat(parts)

    return gather


def mean_terms(terms: Mapping[str, tuple[float, int]]) -> dict[str, float]:
    """The mean of each term over the samples of all processes, from its sum and count in each."""
    totals = torch.tensor(list(terms.values()), dtype=torch.float64).reshape(-1, 2)
    if processes() > 1:
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        totals = totals.to(device)
        distributed.all_reduce(totals)
    means = [total / count for total, count in totals.tolist()]
    return dict(zip(terms, means, strict=True))


def from_first(value: Any) -> Any:
    """What the first process has, in all of them."""
    if processes() == 1:
        return value
    shared = [value]
    distributed.broadcast_object_list(shared)
    return shared[0]
