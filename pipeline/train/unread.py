"""Values that a device may still be computing: to read one is to wait for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Value:
    """What a loss term was in one part of a step.

    Attributes:
        rows: of how many samples.
    """

    name: str
    value: float
    rows: int
    step: int


class Unread:
    """Terms in the order of their computation.

    A step's terms are read when the next step has been handed to the device, which so is never
    left without work: a read in the middle of a step costs a GPU the time that the host takes for
    the rest of it.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, int, Sequence[str], Tensor]] = deque()

    def put(self, step: int, rows: int, names: Sequence[str], terms: Sequence[Tensor]) -> None:
        """The terms of one part of a step, each a scalar."""
        together = torch.stack([term.detach().float() for term in terms])
        self._waiting.append((step, rows, names, together))

    def take(self, *, but: int | None = None) -> Iterator[Value]:
        """All that waits, but what belongs to step number `but`."""
        while self._waiting and self._waiting[0][0] != but:
            step, rows, names, together = self._waiting.popleft()
            for name, value in zip(names, together.tolist(), strict=True):
                yield Value(name, value, rows, step)
