"""Who teaches: where a batch's answers come from."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from edgestill.train.losses.base import Labels, Outputs
from edgestill.train.views import Rows


class Teacher(Protocol):
    """Answers batches of the train split."""

    def view_of(self, epoch: int) -> int:
        """The number of the view that it can answer in this epoch."""
        ...

    def answer(
        self, inputs: list[Tensor], rows: Rows, view: int, labels: Labels | None = None
    ) -> Outputs:
        """What it says of the samples `rows` in view `view`, which `inputs` `[b, ...]` are.

        Args:
            labels: of these samples, where there are any.
        """
        ...

    def require_unchanged(self) -> None:
        """Called after each epoch.

        Raises:
            ModelError: it is not what it was at the start.
        """
        ...
