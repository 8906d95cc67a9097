"""How much worse a new release may be than an old one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from edgestill.errors import UsageError
from edgestill.units import quantity

NO_LIMIT = "none"
_SHARES = {"%": 0.01}
_POINTS = {"pp": 0.01, "%": 0.01}


@dataclass(frozen=True)
class Budgets:
    """The largest change for the worse; None for no limit.

    Attributes:
        score: in points of the task's metric, such as 0.005 of an accuracy; `release` for what the
            new release allows int8 to lose.
        latency: of the median time of a call, as a share of the old one's.
        memory: of the peak resident memory, as a share.
        size: of the bytes that are shipped, as a share.

    Raises:
        UsageError: one of them is negative.
    """

    score: float | Literal["release"] | None = "release"
    latency: float | None = 0.05
    memory: float | None = 0.1
    size: float | None = 0.05

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, float | int) and not 0 <= value < math.inf:
                raise UsageError(
                    f"a budget of {value}; it says how much worse, which is 0 or more",
                    where=name,
                    fix="Leave it out for the default, or lift it with none",
                )

    @classmethod
    def parse(cls, texts: Mapping[str, str | None]) -> Budgets:
        """Budgets as they are written on a command line; what is None keeps its default.

        Raises:
            UsageError: not a number, or one with another unit.
        """
        return cls(**{name: _parse(name, text) for name, text in texts.items() if text is not None})


def _parse(name: str, text: str) -> float | None:
    if text == NO_LIMIT:
        return None
    if name == "score":
        with suppress(ValueError):
            return float(text)
    units, example = (_POINTS, "0.5pp") if name == "score" else (_SHARES, "5%")
    try:
        return quantity(text, units, example)
    except ValueError as error:
        raise UsageError(str(error), where=f"--{name}") from error


DEFAULTS = Budgets()
