"""Where it was lost: hops, the layer at which a hop departs, classes and samples."""

from __future__ import annotations

from collections.abc import Iterator

from edgestill.departures.result import Departure, error_text
from edgestill.quantities import worse
from edgestill.report import way
from edgestill.report.figures import Section
from edgestill.report.html.drawing import drawing, line, mark
from edgestill.report.html.markup import Markup, tag
from edgestill.report.html.scale import Scale, around
from edgestill.report.html.tables import forest, lines, section_table
from edgestill.report.model import Report
from edgestill.verify.results import MOST_CLASSES

_SMALLEST = 1e-7  # of an error on the axis: float32 rounds about there


def losses(report: Report) -> Iterator[Markup | None]:
    """The way as a table, and below it what is known of each loss."""
    section = way.hops(report)
    yield _with_forest(section, worse(report.bigger_is_better))
    yield lines(section)
    departed = way.departures(report)
    if departed.rows:
        found = [hop.departure for hop in report.hops if hop.departure is not None]
        yield _below(departed, section_table(departed, departed.title, {1: _steps(found)}))
    for worst in way.classes(report, MOST_CLASSES):
        yield _below(worst, _with_forest(worst, "drop"))
    for lost in way.flips(report):
        # Folded: twenty samples for each engine are for who looks for one of them.
        table = section_table(lost, lost.title)
        words = tag("div", lines(lost), class_="lines")
        yield tag("details", tag("summary", lost.title), table, words)


def _below(section: Section, table: Markup | None) -> Markup:
    words = tag("div", lines(section), class_="lines")
    return tag("div", tag("h3", section.title), table, words)


def _with_forest(section: Section, title: str) -> Markup | None:
    """The table of a section, with the estimates of the column of this title drawn beside it."""
    at = next((i for i, column in enumerate(section.columns) if column.title == title), None)
    if at is None:
        return section_table(section, section.title)
    drawn = forest([row[at].estimate for row in section.rows])
    return section_table(section, section.title, {at: drawn})


def _steps(departures: list[Departure]) -> list[Markup | None]:
    """From the error of what a layer reads to that of what it gives, on one logarithmic axis."""
    errors = [error for d in departures for error in (d.before, d.after, d.typical or 0.0)]
    x = Scale(*around([max(error, _SMALLEST) for error in errors], log=True), 6, 134, log=True)
    return [_step(departure, x) for departure in departures]


def _step(departure: Departure, x: Scale) -> Markup:
    before, after = x(max(departure.before, _SMALLEST)), x(max(departure.after, _SMALLEST))
    return drawing(
        140,
        18,
        None,
        _typical(departure.typical, x),
        tag(
            "g",
            line(before, 9, after, 9, "whisker"),
            mark(0, before, 9, "dot", f"reads {error_text(departure.before)}", 3.4),
            mark(0, after, 9, "dot filled", f"gives {error_text(departure.after)}", 3.4),
            class_="worse",
        ),
    )


def _typical(error: float | None, x: Scale) -> Markup | None:
    if error is None:
        return None
    at = x(max(error, _SMALLEST))
    return line(at, 2, at, 16, "zero", f"other layers {error_text(error)}")
