"""A comparison of two releases, as what every format shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgestill.errors import ExitCode
from edgestill.quantities import count_text, rate_text, score_text, size_text
from edgestill.report.figures import (
    Cell,
    Column,
    Section,
    figure,
    interval_text,
    ns_text,
    with_interval,
)
from edgestill.report.judgement import Judgement
from edgestill.targets.fingerprint import device_name
from edgestill.verdict import Decision, Unit, Verdict
from edgestill.verify.comparison import Change, Compared, Comparison, TargetComparison
from edgestill.verify.results import GateResult


def headline(found: Comparison) -> str:
    """The one line for a reader in a hurry, which starts with the verdict."""
    judged = [(t, c) for t in found.targets for c in t.changes if c.verdict is not None]
    names = {
        verdict: ", ".join(f"{c.name} on {t.target}" for t, c in judged if c.verdict is verdict)
        for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.NOT_RUN)
    }
    if found.exit_code is ExitCode.ENVIRONMENT:
        what = "an engine failed"
    elif names[Verdict.FAIL]:
        what = f"worse than allowed: {names[Verdict.FAIL]}"
    elif names[Verdict.INCONCLUSIVE]:
        what = f"not decided: {names[Verdict.INCONCLUSIVE]}"
    elif names[Verdict.NOT_RUN]:
        what = f"not run: {names[Verdict.NOT_RUN]}"
    else:
        what = f"nothing is worse than allowed, of {count_text(len(judged), 'budget', 'budgets')}"
    new, old = _told_apart(found.new, found.old)
    return f"{found.verdict}  {new} against {old}: {what}"


def _told_apart(new: Compared, old: Compared) -> tuple[str, str]:
    """Their names or, where these are one, the shortest ends of their paths that differ."""
    if new.name == old.name:
        parts = [Path(release.path).parts for release in (new, old)]
        for length in range(1, max(map(len, parts)) + 1):
            first, second = ("/".join(path[-length:]) for path in parts)
            if first != second:
                return first, second
    return new.name, old.name


def judgement(found: Comparison) -> Judgement:
    """The comparison with a gate for each change that a budget is on, and a table a target."""
    return Judgement(
        name=f"{found.new.name} against {found.old.name}",
        headline=headline(found),
        verdict=found.verdict,
        exit_code=found.exit_code,
        created=found.created,
        gates=tuple(
            _gate(target, change, change.verdict, found.metric_unit)
            for target in found.targets
            for change in target.changes
            if change.verdict is not None
        ),
        json=found.to_json(),
        failures=tuple(
            f"{target.target}: {failure}" for target in found.targets for failure in target.failures
        ),
        facts={
            "metric": found.metric,
            "device": device_name(found.device),
            "old": _release(found.old),
            "new": _release(found.new),
        },
        sections=tuple(_target(target, found) for target in found.targets),
        notes=found.notes,
    )


def _release(compared: Compared) -> str:
    return f"{compared.name} of {compared.created}, edgestill {compared.edgestill}"


def _gate(target: TargetComparison, change: Change, verdict: Verdict, unit: str) -> GateResult:
    text, by = _texts(change, unit), _by_text(change, unit)
    budget = f" <= {by(change.budget)}" if change.budget is not None else ""
    values = (text(value) if value is not None else "unknown" for value in (change.old, change.new))
    worse = f", {change.worse} {with_interval(change.by, by)}" if change.by is not None else ""
    return GateResult(
        gate=change.name,
        target=f"{target.target} {target.new}",
        verdict=verdict,
        budget=f"{change.name} {change.worse}{budget}",
        found=f"{' -> '.join(values)}{worse}",
        advice=change.advice,
        decision=_decision(change),
    )


def _decision(change: Change) -> Decision | None:
    if change.by is None or change.budget is None:
        return None
    unit: Unit = "score" if change.unit == "score" else "share"
    return Decision.of(unit, change.by, at_most=change.budget)


def _target(target: TargetComparison, found: Comparison) -> Section:
    columns = (
        Column("", numeric=False),
        Column("old"),
        Column("new"),
        Column("worse by"),
        Column("at most"),
        Column("verdict", numeric=False),
    )
    rows = tuple(_row(change, found.metric_unit) for change in target.changes)
    shipped = target.new if target.old == target.new else f"{target.old} -> {target.new}"
    return Section(
        f"{target.runtime}, {shipped}", columns, rows, tuple(_lines(target, found.metric_unit))
    )


def _row(change: Change, unit: str) -> tuple[Cell, ...]:
    text = _texts(change, unit)
    by = _by_text(change, unit)
    return (
        Cell(change.name),
        Cell(text(change.old) if change.old is not None else ""),
        Cell(text(change.new) if change.new is not None else ""),
        figure(change.by, by) if change.by is not None else Cell(),
        Cell(by(change.budget) if change.budget is not None else ""),
        Cell(str(change.verdict) if change.verdict is not None else ""),
    )


def _texts(change: Change, unit: str) -> Callable[[float], str]:
    return {
        "score": lambda value: score_text(value, unit),
        "ns": ns_text,
        "bytes": size_text,
        "per second": lambda value: rate_text(value, 4),
    }[change.unit]


def _by_text(change: Change, unit: str) -> Callable[[float], str]:
    if change.unit == "score":
        return lambda value: score_text(value, unit, drop=True)
    return lambda value: f"{100 * value:.1f}%"


def _lines(target: TargetComparison, unit: str) -> list[str]:
    lines = [f"{failure.removesuffix('.')}." for failure in target.failures]
    if target.same_engine:
        lines.append("Both ship the very same engine, so nothing was timed.")
    for change in target.changes:
        if change.verdict is Verdict.FAIL and change.by is not None:
            basis = interval_text(change.by, _by_text(change, unit))
            lines.append(f"{change.name}: the whole interval {basis} is above the budget.")
        elif change.advice:
            lines.append(f"{change.name}: {change.advice}.")
    if target.agreement is not None:
        share = figure(target.agreement, lambda value: score_text(value, "pp"))
        lines.append(f"They answer alike: {share.text} {share.basis}.")
    if target.blocks:
        blocks = count_text(target.blocks, "block", "blocks")
        threads = count_text(target.threads, "thread", "threads")
        looks = count_text(target.looks, "look", "looks")
        floor = "" if target.noise_floor is None else f", noise floor {target.noise_floor:.1%}"
        lines.append(
            f"Timed in {blocks} of each, interleaved, at {looks}, at batch {target.batch} with "
            f"{threads}{floor}; what has no `worse by` is shown and not judged. Brackets are "
            "confidence intervals of paired differences, negative is better."
        )
    return lines
