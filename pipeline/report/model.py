"""The report of a run or of a verification: typed, and the same as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgestill.artifact import LayerError
from edgestill.digest import canonical
from edgestill.errors import ExitCode, UsageError
from edgestill.quantities import count_text
from edgestill.targets.fingerprint import device_name
from edgestill.verdict import Verdict
from edgestill.verify.results import GateResult, HopResult, TargetResult

if TYPE_CHECKING:
    from edgestill.report.judgement import Judgement

FORMAT = 2  # one more for each change after which a former version would misread a report
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
        processes: how many trained it together; None when not trained here.
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
    processes: int | None = None


@dataclass(frozen=True)
class Budget:
    """A gate of the recipe, in base units: seconds, bytes, samples per second, the metric's own.

    Attributes:
        percentile: of the time of a call, which the budget is on.
        batch: samples of a call.
        versus: the model that is compared with: of a score, the budget is on the drop then.
    """

    gate: str
    at_most: float | None = None
    at_least: float | None = None
    percentile: float | None = None
    batch: int | None = None
    versus: str | None = None


@dataclass(frozen=True)
class QuantizedModel:
    """The int8 ONNX model in one scheme, before it is compiled, layer by layer."""

    scheme: str
    layers: tuple[LayerError, ...]


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
        format: of this file; another one is read by other versions of edgestill.
        kind: `run` or `verify`.
        metric: the task's metric, with `bigger_is_better`.
        splits: samples per split; for a verification only the test split.
        evaluation: the digest of the test split.
        device: the fingerprint of the machine that measured.
        versions: distribution -> version.
        quantized: the int8 models that were made, one for each scheme.
        budgets: the gates of the recipe, which are decided on each target that is verified here.
        notes: what a reader has to know, such as data that the teacher may have seen.
        failures: what had to run and could not: then `exit_code` is 3, whatever the gates say.
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
    quantized: tuple[QuantizedModel, ...] = ()
    budgets: tuple[Budget, ...] = ()
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """Of the metric: `pp` where it is a proportion; a user's own is a plain number."""
        from edgestill.metrics import METRICS  # numpy, which a plan does without

        spec = METRICS.get(self.metric)
        return spec.unit if spec is not None else "plain"

    @property
    def facts(self) -> dict[str, str]:
        """What a reader of CI results has to know of how it was obtained."""
        return {
            "edgestill": self.edgestill,
            "metric": self.metric,
            "device": self.device_name,
            **self.versions,
        }

    @property
    def device_name(self) -> str:
        """What people call the machine that measured."""
        return device_name(self.device)

    def to_json(self) -> str:
        """Strict JSON, which has no number without end: such a one is the text `Infinity`."""
        text = json.dumps(_strict(canonical(self)), indent=2, ensure_ascii=False, allow_nan=False)
        return text + "\n"


def render(found: Report | Judgement) -> str:
    """All of it as JSON, as the other formats have it."""
    return found.to_json()


def read_report(path: Path) -> Report:
    """The report in a file that `Report.to_json` gave.

    Raises:
        UsageError: there is none, or it is of another format.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        data = path.read_bytes()
        written = _head(data)
        if written is not None and written[0] != FORMAT:
            raise _other_format(path, *written)
        return TypeAdapter(Report).validate_json(data)
    except OSError as error:
        raise UsageError(
            f"there is no report ({error.strerror})",
            where=str(path),
            fix="Name a release, such as dist/NAME, which edgestill run writes, or the .json file "
            "that edgestill verify wrote",
        ) from error
    except ValidationError as error:
        problems = count_text(error.error_count(), "problem", "problems")
        raise UsageError(
            f"not a report that this version can read ({problems})",
            where=str(path),
            fix="Run it again with this version",
        ) from error


def writer_of(path: Path) -> str:
    """The version of edgestill that wrote a report, of whatever format it is."""
    written = _head(path.read_bytes())
    return written[1] if written is not None else "unknown"


def _head(data: bytes) -> tuple[int, str] | None:
    """Format and edgestill's version, without a look at the rest; None where it is no report."""
    try:
        content = json.loads(data)
        head = content["format"], content["edgestill"]
    except (ValueError, TypeError, KeyError):
        return None
    return head if isinstance(head[0], int) and isinstance(head[1], str) else None


def _other_format(path: Path, found: int, version: str) -> UsageError:
    newer = found > FORMAT
    return UsageError(
        f"a report of format {found}, which edgestill {version} wrote, and this version reads "
        f"format {FORMAT}",
        where=str(path),
        fix=f"Read it with edgestill {version} or newer"
        if newer
        else f"Run it again with this version, or read it with edgestill {version}",
    )


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _strict(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
