"""The way from teacher to device: what was lost at each hop, and in which classes and samples."""

from __future__ import annotations

from collections.abc import Sequence

from edgestill.departures.result import error_text
from edgestill.quantities import count_text, score_text, worse
from edgestill.report.figures import Cell, Column, Section, figure, interval_text
from edgestill.report.model import Report
from edgestill.verify.results import Changes, HopResult

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


def hops(report: Report) -> Section:
    """The way from teacher to device, each hop under the one that it was made from."""
    unit = report.unit
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
    return Section("Where it was lost", columns, rows, lines).without_empty_columns()


def most_lost(found: Sequence[HopResult]) -> HopResult | None:
    """The hop with the largest drop on the way to what ships; None where none lost anything."""
    way = [hop for hop in found if hop.ships] or found
    losing = [(hop.drop.value, hop) for hop in way if hop.drop and hop.drop.value > 0]
    return max(losing, key=lambda item: item[0])[1] if losing else None


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


def departures(report: Report) -> Section:
    """Of each hop that should agree with the one before and does not, the layer that is wrong."""
    titles = ("reads", "gives", "by itself", "other layers", "compared")
    found = [(hop.name, hop.departure) for hop in report.hops if hop.departure is not None]
    rows = tuple(
        (
            Cell(name),
            Cell(departure.module or departure.node, departure.operator),
            Cell(error_text(departure.before)),
            Cell(error_text(departure.after)),
            _error(departure.own),
            _error(departure.typical),
            Cell(f"{departure.compared} layers"),
        )
        for name, departure in found
    )
    columns = (
        Column("place", numeric=False),
        Column("first layer", numeric=False),
        *map(Column, titles),
    )
    line = (
        "Errors are root mean square differences as a share of the reference: of what the layer "
        "reads, of what it gives, and of what it gives when it reads the reference's values."
    )
    section = Section("Layers that depart", columns, rows, (line,) if rows else ())
    return section.without_empty_columns()


def _error(error: float | None) -> Cell:
    return Cell(error_text(error)) if error is not None else Cell()


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
    unit = report.unit
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
