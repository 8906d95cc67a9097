"""The report of a run or of a verification: typed, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgestill.digest import canonical
from edgestill.errors import ExitCode, UsageError
from edgestill.quantities import count_text
from edgestill.targets.fingerprint import Fingerprint
from edgestill.verdict import Verdict
from edgestill.verify.results import GateResult, HopResult, TargetResult

FORMAT = 1
REPORT = "report.json"  # its name in a release


@dataclass(frozen=True)
class ModelSummary:
    """A model of the recipe.

    Attributes:
        role: `teacher`, `teacher wide` for a further one, `student`, or the step that gives a model
            between them, such as `assistant 1`.
        origin: trained, distilled, loaded, built, adopted (an ONNX file from elsewhere) or function
            (which answers for a teacher).
        onnx_bytes: None for what is not exported: all but `teacher` and `student`, and functions.
        best_epoch: the epoch that was kept, of `epochs`; None when not trained here.
        best_validation: the metric on the validation split at the best epoch.
        last_validation: the same after the last epoch.
    """

    role: str
    source: str
    origin: str
    parameters: int | None
    onnx_bytes: int | None
    epochs: int | None = None
    best_epoch: int | None = None
    best_validation: float | None = None
    last_validation: float | None = None


@dataclass(frozen=True)
class StepSummary:
    """How a step came by its result, and what computing it took (now or when it was computed)."""

    name: str
    reused: bool
    seconds: float


@dataclass(frozen=True)
class Report:
    """What a run or a verification found.

    Attributes:
        kind: `run` or `verify`.
        metric: the task's metric, with `bigger_is_better`.
        splits: samples per split; for a verification only the test split.
        evaluation: the digest of the test split.
        device: the fingerprint of the machine that measured.
        versions: distribution -> version.
        notes: what a reader has to know, such as data that the teacher may have seen.
    """

    format: int
    kind: str
    name: str
    task: str
    metric: str
    bigger_is_better: bool
    verdict: Verdict
    exit_code: ExitCode
    created: str
    edgestill: str
    seed: int
    threads: int
    splits: Mapping[str, int]
    evaluation: str
    models: tuple[ModelSummary, ...]
    hops: tuple[HopResult, ...]
    targets: tuple[TargetResult, ...]
    gates: tuple[GateResult, ...]
    steps: tuple[StepSummary, ...]
    device: Mapping[str, Any]
    versions: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def device_name(self) -> str:
        """What people call the machine that measured."""
        return Fingerprint(**{**self.device, "os": "", "python": ""}).name

    def to_json(self) -> str:
        return json.dumps(canonical(self), indent=2, ensure_ascii=False) + "\n"


def read_report(path: Path) -> Report:
    """The report in a file that `Report.to_json` gave.

    Raises:
        UsageError: there is none, or it is of another format.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        report = TypeAdapter(Report).validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError("there is no report", where=str(path)) from error
    except ValidationError as error:
        problems = count_text(error.error_count(), "problem", "problems")
        raise _unreadable(path, problems) from error
    if report.format != FORMAT:
        raise _unreadable(path, f"format {report.format}")
    return report


def _unreadable(path: Path, why: str) -> UsageError:
    return UsageError(
        f"not a report that this version can read ({why})",
        where=str(path),
        fix="Run it again with this version",
    )
