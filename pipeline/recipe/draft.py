"""A recipe between reading and checking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgestill.recipe.problems import Path, Problems
from edgestill.recipe.schema import GateConfig, Recipe, TargetConfig
from edgestill.train.config import LossConfig


@dataclass(frozen=True)
class Draft:
    """A recipe whose values have the right types and whose sections may not fit each other yet.

    Where a value was wrong, a default stands in for it and `problems` knows its key.
    """

    recipe: Recipe
    tree: dict[str, Any]
    problems: Problems
    losses: Sequence[tuple[Path, LossConfig]]
    targets: Sequence[tuple[Path, TargetConfig]]
    gates: Sequence[tuple[Path, str, GateConfig]]

    def raw(self, *path: str | int) -> Any:
        """The value at `path` as the recipe writes it; None where it does not."""
        value: Any = self.tree
        for part in path:
            if (isinstance(value, dict) and part in value) or (
                isinstance(value, list) and isinstance(part, int) and part < len(value)
            ):
                value = value[part]  # type: ignore[index]
            else:
                return None
        return value

    def given(self, *path: str | int) -> bool:
        """Whether the recipe gives the key at `path` a value, right or wrong."""
        return self.raw(*path) is not None or self.problems.at(path)
