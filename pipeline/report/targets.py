"""The targets of a report: the engines of each, what they rest on, and why one of them ships."""

from __future__ import annotations

from collections.abc import Sequence

from edgestill.quantities import count_text, digits, score_text, size_text, worse
from edgestill.report.figures import (
    Cell,
    Column,
    Section,
    figure,
    measured_percentile,
    noise_floors,
    remarks,
)
from edgestill.report.loads import load_line, under_loads
from edgestill.report.model import Report
from edgestill.verdict import Estimate
from edgestill.verify.results import CandidateResult, LatencyResult, TargetResult


def sections(report: Report) -> list[Section]:
    """Each target with its candidates."""
    return [_target(report, target) for target in report.targets]


def engines(target: TargetResult) -> list[CandidateResult]:
    """Its candidates, and its baseline last."""
    return [*target.candidates, *([target.baseline] if target.baseline else [])]


def timed(report: Report) -> list[tuple[str, LatencyResult]]:
    """What was timed, by target and candidate."""
    return [
        (f"{target.target} {candidate.name}", candidate.latency)
        for target in report.targets
        for candidate in engines(target)
        if candidate.latency is not None
    ]


def _target(report: Report, target: TargetResult) -> Section:
    everyone = engines(target)
    title = target.runtime
    if not title.startswith(target.target):
        title = f"{target.target} ({target.runtime})"
    if target.verify == "elsewhere":
        sizes = ", ".join(f"{c.name} {size_text(c.size_bytes)}" for c in everyone)
        fates = [f"{name} {_fate(name, target)}: {why}." for name, why in target.reasons.items()]
        advice = f"On the device: edgestill verify RELEASE --target {target.target}"
        return Section(title, lines=(f"Compiled and not run here: {sizes}.", *fates, advice))
    columns = (
        Column("engine", numeric=False),
        Column("size"),
        Column(report.metric),
        Column(f"{worse(report.bigger_is_better)} vs {_reference(target)}"),
        Column("p50"),
        Column("p95"),
        Column("speedup"),
    )
    rows = [_candidate(candidate, target, report.unit) for candidate in everyone]
    lines = tuple(_target_lines(report, target, everyone))
    return Section(title, columns, tuple(rows), lines).without_empty_columns()


def _candidate(candidate: CandidateResult, target: TargetResult, unit: str) -> tuple[Cell, ...]:
    latency = candidate.latency
    role = "baseline" if candidate is target.baseline else ""
    if candidate.failure:
        role = "failed"
    elif candidate.name in target.shipped:
        role = "ships"
    score, drop, speedup = candidate.test_score, candidate.validation_drop, candidate.speedup
    return (
        Cell(candidate.name, role),
        Cell(size_text(candidate.size_bytes)),
        Cell(score_text(score, unit)) if score is not None else Cell(),
        figure(drop, lambda value: score_text(value, unit, drop=True)) if drop else Cell(),
        measured_percentile(latency, "50") if latency else Cell(),
        measured_percentile(latency, "95") if latency else Cell(),
        figure(speedup, lambda value: f"{digits(value)}x") if speedup else Cell(),
    )


def _target_lines(
    report: Report, target: TargetResult, everyone: Sequence[CandidateResult]
) -> list[str]:
    failed = {c.name: c.failure for c in everyone if c.failure}
    lines = [f"{name} failed: {failure.removesuffix('.')}." for name, failure in failed.items()]
    for name, reason in target.reasons.items():
        if name not in failed:
            lines.append(f"{name} {_fate(name, target)}: {reason}.")
    if target.would_choose is not None:
        lines.append(
            f"On this device the choice would be {', '.join(target.would_choose) or 'none'}, "
            f"and the release ships {', '.join(target.shipped) or 'none'}"
            + (f", chosen on {target.selected_on}." if target.selected_on else ".")
        )
    drops = [c.validation_drop for c in everyone if c.validation_drop]
    rests = []
    if any(c.test_score is not None for c in everyone) and "test" in report.splits:
        rests.append(f"{report.metric} on {report.splits['test']} test samples")
    if drops:
        samples = f"{drops[0].count} validation samples"
        rests.append(f"the {worse(report.bigger_is_better)} on {samples}")
    speedups = [c.speedup for c in everyone if c.speedup]
    if speedups:
        rests.append(f"the speedup over the teacher in {speedups[0].count} pairs of blocks")
    timed = [(c.name, c.latency) for c in everyone if c.latency]
    if timed:
        first = timed[0][1]
        calls = ", ".join(f"{name} {latency.calls:,}" for name, latency in timed)
        looks = f" in {first.looks} looks" if first.looks > 1 else ""
        rests.append(
            f"times at batch {first.batch} with {count_text(first.threads, 'thread', 'threads')}, "
            f"{first.blocks} blocks{looks}, calls: {calls}"
        )
    levels = {e.interval.level for c in everyone for e in _estimates(c) if e.interval}
    if levels:
        rests.append(f"brackets are {' and '.join(f'{x:.0%}' for x in sorted(levels))} intervals")
    lines += [f"It rests on {'; '.join(rests)}."] if rests else []
    lines += noise_floors(timed)
    loaded = [found for candidate in everyone for found in under_loads(candidate)]
    lines += [load_line(name, found) for name, found in loaded]
    return lines + remarks([*timed, *loaded])


def _fate(name: str, target: TargetResult) -> str:
    """What the reasons are about: what ships, or on a device what would be chosen there."""
    if target.would_choose is None:
        return "ships" if name in target.shipped else "does not ship"
    return "would ship" if name in target.would_choose else "would not ship"


def _estimates(candidate: CandidateResult) -> list[Estimate]:
    timed = candidate.latency.percentiles_ns.values() if candidate.latency else ()
    return [e for e in (candidate.validation_drop, candidate.speedup, *timed) if e is not None]


def _reference(target: TargetResult) -> str:
    """What drops are against: the float candidate, its ONNX model, or the first there is."""
    names = [candidate.name for candidate in target.candidates]
    if "fp32" in names or not names:
        return "fp32"
    return "fp32 ONNX" if target.candidates[0].validation_drop is not None else names[0]
