"""From results to a report: the overall verdict, the exit code and what was used."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timezone
from typing import Any

from edgestill import __version__
from edgestill.digest import canonical
from edgestill.errors import ExitCode
from edgestill.installed import library_version
from edgestill.report.model import FORMAT, Budget, ModelSummary, QuantizedModel, Report, StepSummary
from edgestill.targets.fingerprint import Fingerprint
from edgestill.verdict import Verdict
from edgestill.verify.results import GateResult, HopResult, TargetResult

REPORTED = (
    "torch",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "openvino",
    "nncf",
    "tensorrt-rtx",
    "tensorrt",
    "numpy",
    "accelerate",
)


def overall(gates: Sequence[GateResult], failures: Sequence[str] = ()) -> tuple[Verdict, ExitCode]:
    """The verdict on all gates: the environment's failure, a failed gate and an undecided one,
    in this order, decide the exit code. A target that is verified elsewhere has no effect; a
    single gate that was not run, such as on a metric that is not allowed to, leaves it undecided.

    Args:
        failures: targets that had to run and could not.
    """
    decisive = [g.verdict for g in gates if g.verdict is not Verdict.NOT_RUN or g.withheld]
    return verdict_on(decisive, failed=bool(failures))


def verdict_on(verdicts: Collection[Verdict], *, failed: bool) -> tuple[Verdict, ExitCode]:
    """The verdict on all of `verdicts`, and the exit code.

    Args:
        failed: whether the environment or the device did.
    """
    if failed:
        found = Verdict.FAIL if Verdict.FAIL in verdicts else Verdict.INCONCLUSIVE
        return found, ExitCode.ENVIRONMENT
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL, ExitCode.GATE_FAILED
    if Verdict.INCONCLUSIVE in verdicts or Verdict.NOT_RUN in verdicts:
        return Verdict.INCONCLUSIVE, ExitCode.INCONCLUSIVE
    if Verdict.PASS in verdicts:
        return Verdict.PASS, ExitCode.PASSED
    return Verdict.NOT_RUN, ExitCode.PASSED


def make_report(
    *,
    kind: str,
    name: str,
    task: str,
    metric: str,
    bigger_is_better: bool,
    seed: int,
    threads: int,
    splits: dict[str, int],
    evaluation: str,
    models: Sequence[ModelSummary],
    hops: Sequence[HopResult],
    targets: Sequence[TargetResult],
    gates: Sequence[GateResult],
    steps: Sequence[StepSummary],
    fingerprint: Fingerprint,
    quantized: Sequence[QuantizedModel] = (),
    budgets: Sequence[tuple[str, Any]] = (),
    notes: Sequence[str] = (),
    failures: Sequence[str] = (),
) -> Report:
    """The report of a run or a verification that ends now.

    Args:
        budgets: the gates as the recipe has them, by name.
    """
    verdict, exit_code = overall(gates, failures)
    crowded = fingerprint.crowd(threads)
    return Report(
        format=FORMAT,
        kind=kind,
        name=name,
        task=task,
        metric=metric,
        bigger_is_better=bigger_is_better,
        verdict=verdict,
        exit_code=exit_code,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgestill=__version__,
        seed=seed,
        threads=threads,
        splits=splits,
        evaluation=evaluation,
        models=tuple(models),
        hops=tuple(hops),
        targets=tuple(targets),
        gates=tuple(gates),
        steps=tuple(steps),
        device=canonical(fingerprint),
        versions=_versions(),
        quantized=tuple(quantized),
        budgets=tuple(_budget(name, gate) for name, gate in budgets),
        notes=(*notes, f"{crowded}.") if crowded else tuple(notes),
        failures=tuple(failures),
    )


def _budget(name: str, gate: Any) -> Budget:
    """What the kinds of gates have in common, each under the name that it has in a recipe."""
    compared = (getattr(gate, key, None) for key in ("drop_vs", "vs", "over"))
    return Budget(
        gate=name,
        at_most=getattr(gate, "at_most", None),
        at_least=getattr(gate, "at_least", None),
        percentile=getattr(gate, "percentile", None),
        batch=getattr(gate, "batch", None),
        versus=next((model for model in compared if model is not None), None),
    )


def _versions() -> dict[str, str]:
    found = {name: library_version(name) for name in REPORTED}
    return {name: version for name, version in found.items() if version is not None}
