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

    Its gradient is that of one process with the whole batch: every process computes the same loss
    from the same rows, and the average over processes that follows leaves it as it is.

    Args:
        sizes: how many rows each process has.
    """

    def gather(rows: Tensor) -> Tensor:
        if len(sizes) == 1:
            return rows
        # Gathered tensors have to be of one shape.
        padded = torch.cat([rows, rows.new_zeros(max(sizes) - len(rows), *rows.shape[1:])])
        parts: Tensor = _Gather.apply(padded)  # type: ignore[no-untyped-call]
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    return gather


class _Gather(torch.autograd.Function):
    """`[b, ...]` of each process as `[processes, b, ...]` in all; gradients add up on the way."""

    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:
        del context
        parts = [torch.empty_like(rows) for _ in range(processes())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        del context
        gradient = gradients[0].contiguous()
        distributed.all_reduce(gradient)
        return gradient[distributed.get_rank()]


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
