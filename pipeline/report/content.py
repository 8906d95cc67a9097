"""What a report says first and last: verdict, gates, notes; models and steps."""

from __future__ import annotations

from collections.abc import Sequence

from edgestill.errors import ExitCode
from edgestill.quantities import digits, score_text, size_text
from edgestill.report.figures import Cell, Column, Section, seconds_text
from edgestill.report.model import ModelSummary, Report, StepSummary
from edgestill.verdict import Verdict
from edgestill.verify.results import EVERY_GATE, GateResult

WORST_FIRST = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.NOT_RUN, Verdict.PASS)


def headline(report: Report) -> str:
    """The one line for a reader in a hurry, which starts with the verdict."""
    return f"{report.verdict}  {report.name}: {finding(report)}"


def finding(report: Report) -> str:
    """What the verdict rests on, in a few words."""
    gates = report.gates
    asked = [gate for gate in gates if gate.verdict is not Verdict.NOT_RUN]
    failed = [gate for gate in gates if gate.verdict is Verdict.FAIL]
    open_ = [gate for gate in gates if gate.verdict is Verdict.INCONCLUSIVE]
    if report.exit_code is ExitCode.ENVIRONMENT:
        what = "something that had to run could not, see the notes"
        what += f"; {_share(failed, asked)} failed: {_names(failed)}" if failed else ""
    elif failed:
        what = f"{_share(failed, asked)} failed: {_names(failed)}"
    elif open_:
        what = f"none failed, {_share(open_, asked)} not decided: {_names(open_)}"
    elif asked:
        what = "the gate passed" if len(asked) == 1 else f"all {len(asked)} gates passed"
    elif gates:
        what = "no gate was run"
    else:
        what = "no gates, so nothing was decided"
    elsewhere = dict.fromkeys(_place(g) for g in gates if g.verdict is Verdict.NOT_RUN)
    if elsewhere and asked:
        what += f" (not run here: {', '.join(elsewhere)})"
    return what


def worst_first(gates: Sequence[GateResult]) -> list[GateResult]:
    """The gates, those that need attention at the top."""
    return sorted(gates, key=lambda gate: WORST_FIRST.index(gate.verdict))


def notes(report: Report) -> tuple[str, ...]:
    """What failed, and then what a reader has to know to trust the figures."""
    return (*report.failures, *report.notes)


def models(report: Report) -> Section:
    """Teachers and student, and how much smaller the one is."""
    unit = report.unit
    columns = (
        Column("model", numeric=False),
        Column("weights", numeric=False),
        Column("parameters"),
        Column("ONNX file"),
        Column("epoch kept"),
        Column("validation"),
    )
    rows = tuple(_model(model, unit) for model in report.models)
    lines = _compression(report)
    if "validation" in report.splits and any(m.best_validation is not None for m in report.models):
        samples = report.splits["validation"]
        lines.append(f"Validation is {report.metric} on {samples} samples, which chose the epoch.")
    lines += [
        f"{model.role} was trained by {model.processes} processes together."
        for model in report.models
        if model.processes is not None and model.processes > 1
    ]
    return Section("Models", columns, rows, tuple(lines)).without_empty_columns()


def steps(report: Report, longest: int) -> Section:
    """What took time, now or when it was computed."""
    if not report.steps:
        return Section("Steps")
    ordered = sorted(report.steps, key=lambda step: step.seconds, reverse=True)[:longest]
    reused = [step for step in report.steps if step.reused]
    now = sum(step.seconds for step in report.steps if not step.reused)
    summary = (
        f"{len(report.steps)} steps: {len(reused)} reused, the others took {seconds_text(now)}."
    )
    return Section(
        "Steps",
        (Column("step", numeric=False), Column("time"), Column("", numeric=False)),
        tuple(_step(step) for step in ordered),
        (summary,),
    )


def _model(model: ModelSummary, unit: str) -> tuple[Cell, ...]:
    best, last = model.best_validation, model.last_validation
    kept = f"{model.best_epoch} of {model.epochs}" if model.best_epoch is not None else ""
    basis = f"last {score_text(last, unit)}" if last is not None else ""
    return (
        Cell(model.role),
        Cell(model.origin),
        Cell(f"{model.parameters:,}" if model.parameters is not None else "unknown"),
        Cell(size_text(model.onnx_bytes) if model.onnx_bytes is not None else ""),
        Cell(kept),
        Cell(score_text(best, unit), basis) if best is not None else Cell(),
    )


def _compression(report: Report) -> list[str]:
    """The student against the teacher, each size with one of the same format."""
    by_role = {model.role: model for model in report.models}
    teacher, student = by_role.get("teacher"), by_role.get("student")
    if teacher is None or student is None:
        return []
    parts = []
    if teacher.parameters and student.parameters:
        words = ("fewer", "more")
        parts.append(f"{_ratio(teacher.parameters, student.parameters, words)} parameters")
    if teacher.onnx_bytes and student.onnx_bytes:
        parts.append(f"{_ratio(teacher.onnx_bytes, student.onnx_bytes)} as ONNX")
    for target in report.targets:
        if target.baseline is None:
            continue
        for candidate in target.candidates:
            if candidate.name in target.shipped:
                ratio = _ratio(target.baseline.size_bytes, candidate.size_bytes)
                parts.append(f"{ratio} as {target.target} {candidate.name}")
    return [f"The student against the teacher: {', '.join(parts)}."] if parts else []


def _ratio(teacher: int, student: int, words: tuple[str, str] = ("smaller", "larger")) -> str:
    """Such as `18x smaller`: how much less the student has of something than its teacher."""
    larger, smaller = max(teacher, student), max(min(teacher, student), 1)
    return f"{digits(larger / smaller)}x {words[student > teacher]}"


def _step(step: StepSummary) -> tuple[Cell, ...]:
    return (
        Cell(step.name),
        Cell(seconds_text(step.seconds)),
        Cell("reused" if step.reused else ""),
    )


def _share(some: Sequence[GateResult], of: Sequence[GateResult]) -> str:
    return f"{len(some)} of {len(of)} gates"


def _place(gate: GateResult) -> str:
    return gate.target if gate.gate == EVERY_GATE else f"{gate.gate} on {gate.target}"


def _names(gates: Sequence[GateResult], most: int = 3) -> str:
    names = [_place(gate) for gate in gates[:most]]
    return ", ".join([*names, *([f"{len(gates) - most} more"] if len(gates) > most else [])])
