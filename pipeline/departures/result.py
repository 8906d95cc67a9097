"""What a search for a departure found, as plain frozen data that is written to JSON as it is."""

from __future__ import annotations

from dataclasses import dataclass

LARGEST_ERROR = 1e6  # stands for values that are not finite


@dataclass(frozen=True)
class Departure:
    """The first layer at which a model computes something else than the one it was made from.

    Errors are relative: the root mean square of the difference over that of the reference, on the
    few samples that were compared.

    Attributes:
        node: its name in the graph.
        operator: such as `Conv`.
        module: the PyTorch module it came from, or the scope in its name; empty where unknown.
        before: the error of what the layer reads: of several inputs, the largest.
        after: the error of what it gives.
        own: its error when it reads what the reference reads there; None where it cannot be run by
            itself.
        typical: the median of the other layers' own errors, those of rounding left out.
        alone: whether it stands out; else the error grows over many layers, of which this is the
            first that adds much.
        compared: how many layers were compared.
    """

    node: str
    operator: str
    module: str
    before: float
    after: float
    own: float | None
    typical: float | None
    alone: bool
    compared: int

    @property
    def place(self) -> str:
        """Such as `body.3.conv (Conv)`."""
        return f"{self.module or self.node} ({self.operator})"

    def __str__(self) -> str:
        change = f"from {error_text(self.before)} to {error_text(self.after)}"
        if self.alone:
            return f"departs first at {self.place}, {change}"
        return f"departs over many layers, and first at {self.place}, {change}"


def error_text(error: float) -> str:
    """A relative error in percent."""
    if error >= LARGEST_ERROR:
        return "no finite number"
    percent = 100 * error
    return f"{percent:.{0 if percent >= 10 else 1 if percent >= 1 else 2}f}%"
