"""How models learn from each other: `distill` with its generations and stages, and `assistants`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import Any

from edgestill.distill.config import PeerConfig, SchemeConfig, StageConfig
from edgestill.recipe.draft import Draft
from edgestill.recipe.losses import read_losses
from edgestill.recipe.problems import Path, show_value
from edgestill.recipe.reader import BROKEN, FieldReader, Reader
from edgestill.recipe.schema import REFUSED_KEYS, AssistantConfig
from edgestill.recipe.teachers import read_weights
from edgestill.train.losses.config import LossConfig

_MODEL_EXAMPLE = "model: file.py:callable"


class SchemeReader:
    """Reads distillations, wherever a recipe has them.

    Attributes:
        losses: those that were read so far, each with its place.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.losses: list[tuple[Path, LossConfig]] = []

    def scheme(self, value: Any, path: Path) -> SchemeConfig | None:
        own: dict[str, FieldReader] = {
            "losses": self._losses,
            "stages": self._stages,
            "peers": self._peers,
            "teachers": partial(read_weights, self.reader),
        }
        return self.reader.config(SchemeConfig, value, path, own=own)

    def assistants(self, value: Any, path: Path) -> list[tuple[Path, AssistantConfig]]:
        """Each with its place."""

        def read(value: Any, path: Path) -> Any:
            scheme = self.scheme(value, path)
            return BROKEN if scheme is None else scheme

        refused = REFUSED_KEYS["assistants"]
        return self._list(AssistantConfig, value, path, {"distill": read}, _MODEL_EXAMPLE, refused)

    def _losses(self, value: Any, path: Path) -> tuple[LossConfig, ...]:
        found = read_losses(self.reader, value, path)
        self.losses += found
        return tuple(loss for _, loss in found)

    def _stages(self, value: Any, path: Path) -> tuple[StageConfig, ...]:
        found = self._list(StageConfig, value, path, {"losses": self._losses}, "epochs: 10")
        return tuple(stage for _, stage in found)

    def _peers(self, value: Any, path: Path) -> tuple[PeerConfig, ...]:
        return tuple(peer for _, peer in self._list(PeerConfig, value, path, {}, _MODEL_EXAMPLE))

    def _list(
        self,
        kind: type[Any],
        value: Any,
        path: Path,
        own: dict[str, FieldReader],
        example: str,
        refused: Sequence[str] = (),
    ) -> list[tuple[Path, Any]]:
        if not isinstance(value, list):
            what = f"found {show_value(value)} where a list is expected"
            self.reader.problems.add(path, what, f"Write [{{{example}}}].")
            return []
        found = []
        for index, entry in enumerate(value):
            config = self.reader.config(kind, entry, (*path, index), own=own, refused=refused)
            if config is not None:
                found.append(((*path, index), config))
        return found


def check_schemes(draft: Draft) -> None:
    """Assistants whose pupil does not learn from them, stages that leave a setting unused."""
    problems = draft.problems
    if draft.raw("assistants") == []:
        fix = "Leave it out: the student then learns from the teacher itself."
        problems.add(("assistants",), "an empty list", fix)
    elif draft.given("assistants") and not draft.given("distill"):
        what = "the student does not learn from them"
        problems.add(("assistants",), what, "Add distill:, or leave assistants out.")
    for place, scheme in draft.schemes:
        if draft.raw(*place, "stages") == []:
            fix = "Leave it out to train in one part."
            problems.add((*place, "stages"), "an empty list", fix)
        for key in (field.name for field in fields(StageConfig)):
            own = [getattr(stage, key) is not None for stage in scheme.stages]
            if own and all(own) and draft.raw(*place, key) is not None:
                what = f"every stage has {key} of its own, so that this is never used"
                problems.add((*place, key), what, "Leave it out here, or in a stage.")
