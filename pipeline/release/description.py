"""What a release says of itself, and typed views of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgestill.artifact import Dataset, Engine, OnnxModel, Predictions
from edgestill.digest import digest_folder
from edgestill.errors import UsageError
from edgestill.metrics import Task
from edgestill.spelling import nearest
from edgestill.verdict import Estimate, Verdict

DESCRIPTION = "release.json"
QUANTIZED = "quantized"  # the folder of the int8 ONNX models, by scheme
CODE = "code"  # the folder of a user's own metric and of what it imports


@dataclass(frozen=True)
class ReleasedTarget:
    """A target of a release.

    Attributes:
        candidates: precision -> folder of the engine.
        baseline: folder of the teacher's engine, where there is one.
        shipped: the precisions that ship.
        auto: whether they were chosen by measurements.
        drops: each candidate's drop on validation, which a choice on the device rests on too.
        selected_on: the name of the device on which they were chosen; None where the recipe said.
        errors: how far each candidate's answers were from the float student's, relative to them.
    """

    target: str
    verify: str
    candidates: dict[str, str]
    baseline: str | None
    shipped: tuple[str, ...]
    auto: bool
    drops: dict[str, Estimate]
    selected_on: str | None
    errors: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ReleaseDescription:
    """Everything that a device needs to verify and to load a release.

    Attributes:
        metric: a name, or `{function, better}` for a user's own.
        gates: name and budget, in base units.
        measure: the settings of the measurement.
        accuracy_drop: what a candidate may lose on validation; None for no limit.
        verdict: on all gates, where it was built.
        notes: what a reader has to know of its models and its data to trust the figures.
    """

    name: str
    task: Task
    metric: str | dict[str, str]
    threads: int
    seed: int
    gates: tuple[tuple[str, dict[str, Any]], ...]
    measure: dict[str, Any]
    accuracy_drop: float | None
    targets: tuple[ReleasedTarget, ...]
    references: tuple[str, ...]
    verdict: Verdict
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Release:
    """A release whose files are those of its manifest."""

    path: Path
    description: ReleaseDescription

    def targets(self, names: Sequence[str] = ()) -> tuple[ReleasedTarget, ...]:
        """Its targets, or those of them that are named.

        Raises:
            UsageError: it has none, or none of such a name.
        """
        known = {target.target: target for target in self.description.targets}
        if not known:
            raise UsageError(
                "the release has no targets",
                where=str(self.path),
                fix="Run its recipe again with targets, such as --set targets=[onnxruntime]",
            )
        for name in names:
            if name not in known:
                raise UsageError(
                    f"the release has no target {name!r}",
                    where=str(self.path),
                    fix=nearest(name, list(known), "Its targets"),
                )
        return tuple(target for name, target in known.items() if name in names or not names)

    @property
    def evaluation(self) -> Dataset:
        path = self.path / "evaluation"
        return Dataset(path, digest_folder(path))

    def reference(self, name: str) -> Predictions:
        path = self.path / "references" / name
        return Predictions(path, digest_folder(path))

    def onnx(self, scheme: str | None) -> OnnxModel:
        """The student as ONNX: in float, or quantized in a scheme.

        Raises:
            UsageError: the release has none in that scheme.
        """
        path = self.path / (f"{QUANTIZED}/{scheme}" if scheme else "model")
        if not path.is_dir():
            raise UsageError(
                f"the release has no ONNX model in the scheme {scheme}", where=str(self.path)
            )
        return OnnxModel(path, digest_folder(path))

    def engine(self, folder: str) -> Engine:
        path = self.path / folder
        return Engine(path, digest_folder(path))
