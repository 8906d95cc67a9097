"""What a report says, as sections that the terminal and Markdown lay out their own way."""

from __future__ import annotations

from collections.abc import Sequence

from edgestill.errors import ExitCode
from edgestill.metrics import METRICS
from edgestill.quantities import count_text, digits, score_text, size_text, worse
from edgestill.report.figures import (
    Cell,
    Column,
    Section,
    figure,
    interval_text,
    measured_percentile,
    noise_floors,
    remarks,
    seconds_text,
)
from edgestill.report.loads import lines_under_loads
from edgestill.report.model import ModelSummary, Report, StepSummary
from edgestill.verdict import Estimate, Verdict
from edgestill.verify.results import (
    EVERY_GATE,
    CandidateResult,
    Changes,
    GateResult,
    HopResult,
    LatencyResult,
    TargetResult,
)

# Tasks whose answers agree more or less, not sample by sample.
_CORRELATED = ("regression", "custom")
_CONCORDANCE = (
    "Agreement is the concordance correlation of the two models' values (Lin 1989): 100% where all "
    "are equal, less for noise, for a shift and for another scale."
)
_FLIPS = (
    "-3 +2: three samples that were right before are wrong, two the other way round; p is the "
    "chance of so uneven a count where neither is better (McNemar's exact test)."
)
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


def unit_of(report: Report) -> str:
    """`pp` where the metric is a proportion; a user's own is a plain number."""
    spec = METRICS.get(report.metric)
    return spec.unit if spec is not None else "plain"


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


def targets(report: Report) -> list[Section]:
    """Each target with its candidates."""
    return [_target(report, target) for target in report.targets]


def hops(report: Report) -> Section:
    """The way from teacher to device, each hop under the one that it was made from."""
    unit = unit_of(report)
    lost = most_lost(report.hops)
    rows = tuple(_hop(hop, depth, unit, hop is lost) for hop, depth in in_order(report.hops))
    columns = (
        Column("place", numeric=False),
        Column(report.metric),
        Column(worse(report.bigger_is_better)),
        Column("agreement"),
        Column("largest difference"),
    )
    lines = tuple(_hop_lines(report, lost))
    return _without_empty(Section("Where it was lost", columns, rows, lines))


def most_lost(found: Sequence[HopResult]) -> HopResult | None:
    """The hop with the largest drop on the way to what ships; None where none lost anything."""
    way = [hop for hop in found if hop.ships] or found
    losing = [(hop.drop.value, hop) for hop in way if hop.drop and hop.drop.value > 0]
    return max(losing, key=lambda item: item[0])[1] if losing else None


def classes(report: Report, most: int) -> list[Section]:
    """For what ships, the classes that lost most against the model that accuracy is owed to.

    Args:
        most: so many classes of each at most.
    """
    found = []
    for changes, places in _overall(report):
        dropped = [drop for drop in changes.classes if drop.drop.value > 0]
        if not dropped:
            continue
        columns = (
            Column("class", numeric=False),
            Column("samples"),
            Column(changes.reference),
            Column("now"),
            Column("drop"),
        )
        rows = tuple(
            (
                Cell(drop.name),
                Cell(str(drop.drop.count)),
                Cell(score_text(drop.before, "pp")),
                Cell(score_text(drop.after, "pp")),
                figure(drop.drop, lambda value: score_text(value, "pp", drop=True)),
            )
            for drop in dropped[:most]
        )
        title = f"Classes that lost most: {places}"
        found.append(Section(title, columns, rows, _class_lines(changes, len(rows))))
    return found


def flips(report: Report) -> list[Section]:
    """For what ships, the samples that were answered right and are answered wrong now."""
    columns = tuple(
        Column(title, numeric=False) for title in ("row", "sample", "is", "was answered", "now")
    )
    found = []
    for changes, places in _overall(report):
        rows = tuple(
            (Cell(str(f.sample)), Cell(f.id), Cell(f.label), Cell(f.before), Cell(f.after))
            for f in changes.flips
        )
        lines = (f"The first {len(rows)} of {changes.lost}.",) if changes.lost > len(rows) else ()
        if rows:
            found.append(Section(f"Samples that were lost: {places}", columns, rows, lines))
    return found


def models(report: Report) -> Section:
    """Teachers and student, and how much smaller the one is."""
    unit = unit_of(report)
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
    return _without_empty(Section("Models", columns, rows, tuple(lines)))


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
    rows = [_candidate(candidate, target, unit_of(report)) for candidate in everyone]
    return _without_empty(
        Section(title, columns, tuple(rows), tuple(_target_lines(report, target, everyone)))
    )


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
    lines += [line for name, latency in timed for line in remarks(name, latency)]
    return lines + [line for candidate in everyone for line in lines_under_loads(candidate)]


def _fate(name: str, target: TargetResult) -> str:
    """What the reasons are about: what ships, or on a device what would be chosen there."""
    if target.would_choose is None:
        return "ships" if name in target.shipped else "does not ship"
    return "would ship" if name in target.would_choose else "would not ship"


def _estimates(candidate: CandidateResult) -> list[Estimate]:
    timed = candidate.latency.percentiles_ns.values() if candidate.latency else ()
    return [e for e in (candidate.validation_drop, candidate.speedup, *timed) if e is not None]


def _reference(target: TargetResult) -> str:
    """The candidate that drops are against: the float one, or the first there is."""
    names = [candidate.name for candidate in target.candidates]
    return "fp32" if "fp32" in names or not names else names[0]


def in_order(found: Sequence[HopResult]) -> list[tuple[HopResult, int]]:
    """Each hop with its depth, parents before their children."""
    known = {hop.name for hop in found}

    def below(parent: str | None, depth: int) -> list[tuple[HopResult, int]]:
        ordered = []
        for hop in found:
            if hop.parent == parent or (parent is None and hop.parent not in known):
                ordered += [(hop, depth), *below(hop.name, depth + 1)]
        return ordered

    return below(None, 0)


def _overall(report: Report) -> list[tuple[Changes, str]]:
    """What changed in all, with the places that ship it: two runtimes may answer alike."""
    places: dict[int, list[str]] = {}
    found: list[Changes] = []
    for hop in report.hops:
        if hop.overall is not None:
            if hop.overall not in found:
                found.append(hop.overall)
            places.setdefault(found.index(hop.overall), []).append(hop.name)
    return [(changes, ", ".join(places[index])) for index, changes in enumerate(found)]


def _class_lines(changes: Changes, shown: int) -> tuple[str, ...]:
    samples, level = _changed_text(changes), changes.classes[0].drop.interval
    lines = [f"Against the {changes.reference}, {samples}."]
    if level is not None:
        lines.append(
            f"{shown} of {count_text(changes.class_count, 'class', 'classes')}; their exact "
            f"intervals are such that all hold together with {level.level:.0%}."
        )
    return tuple(lines)


def _changed_text(changes: Changes) -> str:
    """Such as `19 samples were lost and 5 won (p = 0.0066)`."""
    lost = count_text(changes.lost, "sample was", "samples were")
    return f"{lost} lost and {changes.won} won (p = {changes.p_value:.2g})"


def _hop(hop: HopResult, depth: int, unit: str, lost: bool) -> tuple[Cell, ...]:
    drop = hop.drop
    difference = hop.largest_difference
    return (
        Cell("  " * depth + hop.name, "  " * depth + "lost most" if lost else ""),
        Cell(
            score_text(hop.score, unit) if hop.score is not None else "",
            f"-{hop.changes.lost} +{hop.changes.won}" if hop.changes else "",
        ),
        figure(drop, lambda value: score_text(value, unit, drop=True)) if drop else Cell(),
        Cell(score_text(hop.agreement, "pp")) if hop.agreement is not None else Cell(),
        Cell(f"{difference:.2g}") if difference is not None else Cell(),
    )


def _hop_lines(report: Report, lost: HopResult | None) -> list[str]:
    unit = unit_of(report)
    lines = []
    if lost is not None and lost.drop is not None:
        drop = score_text(lost.drop.value, unit, drop=True)
        changed = f", {_changed_text(lost.changes)}" if lost.changes else ""
        basis = interval_text(lost.drop, lambda value: score_text(value, unit, drop=True))
        lines.append(
            f"Most was lost from {lost.parent} to {lost.name}: {drop} {basis}{changed}"
            + (", which may be chance." if _by_chance(lost) else ".")
        )
    for hop in report.hops:
        if hop.departure is not None:
            lines.append(f"{hop.name} {hop.departure}.")
        elif hop.unfound:
            lines.append(f"Where {hop.name} departs from {hop.parent} is not known: {hop.unfound}.")
    counts = sorted({hop.drop.count for hop in report.hops if hop.drop})
    if counts:
        samples = " to ".join(str(count) for count in dict.fromkeys([counts[0], counts[-1]]))
        lines.append(
            f"Each is compared with the one that it is indented under, on {samples} test samples."
        )
    if any(hop.changes for hop in report.hops):
        lines.append(_FLIPS)
    if any(hop.agreement is not None for hop in report.hops) and report.task in _CORRELATED:
        lines.append(_CONCORDANCE)
    return lines


def _by_chance(hop: HopResult) -> bool:
    """Whether a drop is one that two equally good models may show."""
    interval = hop.drop.interval if hop.drop else None
    if interval is None:
        return True
    if hop.changes is not None and hop.changes.lost > hop.changes.won:
        return hop.changes.p_value > 1 - interval.level
    return interval.low <= 0


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


def _without_empty(section: Section) -> Section:
    """Without the columns in which nothing stands."""
    kept = [i for i, _ in enumerate(section.columns) if any(row[i].text for row in section.rows)]
    return Section(
        section.title,
        tuple(section.columns[i] for i in kept),
        tuple(tuple(row[i] for i in kept) for row in section.rows),
        section.lines,
    )


def _share(some: Sequence[GateResult], of: Sequence[GateResult]) -> str:
    return f"{len(some)} of {len(of)} gates"


def _place(gate: GateResult) -> str:
    return gate.target if gate.gate == EVERY_GATE else f"{gate.gate} on {gate.target}"


def _names(gates: Sequence[GateResult], most: int = 3) -> str:
    names = [_place(gate) for gate in gates[:most]]
    return ", ".join([*names, *([f"{len(gates) - most} more"] if len(gates) > most else [])])
