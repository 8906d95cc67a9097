"""What the processes of one training share: a batch is cut among them, and gathered again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, distributed, nn


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
        from torch.distributed.nn.functional import all_gather

        if len(sizes) == 1:
            return rows
        # Gathered tensors have to be of one shape.
        padded = torch.cat([rows, rows.new_zeros(max(sizes) - len(rows), *rows.shape[1:])])
        parts = all_gather(padded)  # type: ignore[no-untyped-call]
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    return gather


def average_gradients(module: nn.Module) -> None:
    """Average gradients over the processes, of a module that no wrapper does it for."""
    if processes() == 1:
        return
    for parameter in module.parameters():
        if parameter.grad is not None:
            distributed.all_reduce(parameter.grad)
            parameter.grad /= processes()
