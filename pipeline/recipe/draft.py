"""A recipe between reading and checking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from edgestill.distill.config import SchemeConfig
from edgestill.recipe.problems import Path, Problems, misspelt
from edgestill.recipe.reader import key_of
from edgestill.recipe.schema import (
    AssistantConfig,
    GateConfig,
    Recipe,
    TargetConfig,
    TrainedModelConfig,
)
from edgestill.train.losses.config import LossConfig
from edgestill.train.voices import TEACHER

# In the order in which a recipe is best written.
KEYS = (
    "name",
    "seed",
    "threads",
    "task",
    "metric",
    "data",
    "teacher",
    "teachers",
    "assistants",
    "student",
    "distill",
    "export",
    "quantize",
    "targets",
    "measure",
    "gates",
)
_MODEL_KEYS = tuple(key_of(field) for field in fields(TrainedModelConfig))


@dataclass(frozen=True)
class Draft:
    """A recipe whose values have the right types and whose sections may not fit each other yet.

    Where a value was wrong, a default stands in for it and `problems` knows its key.
    """

    recipe: Recipe
    tree: dict[str, Any]
    problems: Problems
    losses: Sequence[tuple[Path, LossConfig]]
    assistants: Sequence[tuple[Path, AssistantConfig]]
    targets: Sequence[tuple[Path, TargetConfig]]
    gates: Sequence[tuple[Path, str, GateConfig]]

    @property
    def schemes(self) -> list[tuple[Path, SchemeConfig]]:
        """Every distillation with its place."""
        own: list[tuple[Path, SchemeConfig | None]]
        own = [((*place, "distill"), assistant.distill) for place, assistant in self.assistants]
        found = [*own, (("distill",), self.recipe.distill)]
        return [(place, scheme) for place, scheme in found if scheme is not None]

    @property
    def directly_taught(self) -> Path:
        """The place of the distillation whose model learns from the recipe's teachers."""
        own: Path = ("assistants", 0, "distill")
        return own if self.given(*own) else ("distill",)

    def losses_in(self, place: Path) -> list[tuple[Path, LossConfig]]:
        """Those that are written at `place` or inside it."""
        return [(path, loss) for path, loss in self.losses if path[: len(place)] == place]

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

    @property
    def teachers(self) -> list[str]:
        """The names of all teachers that the recipe has, right or wrong."""
        further = self.raw("teachers")
        named = further.items() if isinstance(further, dict) else ()
        return [TEACHER, *(name for name, entry in named if entry is not None)]

    def given(self, *path: str | int) -> bool:
        """Whether the recipe gives the key at `path` a value, right or wrong, or misspells it."""
        if self.raw(*path) is not None or self.problems.at(path):
            return True
        *outer, name = path
        siblings = self.raw(*outer)
        known = KEYS if not outer else _MODEL_KEYS
        return isinstance(siblings, dict) and misspelt(str(name), siblings, known)
