"""Tables: sections of a report, with small drawings between their columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgestill.report.figures import Cell, Section
from edgestill.report.html.drawing import drawing, line, mark
from edgestill.report.html.markup import Child, Markup, tag, together
from edgestill.report.html.scale import Scale, around
from edgestill.verdict import Estimate, Verdict
from edgestill.verify.results import EVERY_GATE, GateResult

Drawn = Mapping[int, Sequence[Markup | None]]


def chip(verdict: Verdict) -> Markup:
    """A verdict that is seen."""
    return tag("span", str(verdict), class_=f"chip {css_class(verdict)}")


def css_class(verdict: Verdict) -> str:
    return verdict.name.lower().replace("_", "-")


def gates_table(gates: Sequence[GateResult]) -> Markup:
    """A row for each gate; on narrow screens a card."""
    heads = ("Verdict", "Gate", "On", "Budget", "Found")
    rows = [
        tag(
            "tr",
            tag("td", chip(gate.verdict)),
            tag("th", "every gate" if gate.gate == EVERY_GATE else gate.gate, scope="row"),
            tag("td", gate.target),
            tag("td", gate.budget.replace("<=", "≤").replace(">=", "≥")),
            tag("td", gate.found, tag("p", gate.advice, class_="advice") if gate.advice else None),
            class_=css_class(gate.verdict),
        )
        for gate in gates
    ]
    head = tag("tr", [tag("th", title, scope="col") for title in heads])
    return tag("table", tag("thead", head), tag("tbody", rows), class_="gates")


def section_table(section: Section, name: str, drawn: Drawn | None = None) -> Markup | None:
    """The rows of a section; None where it has none.

    Args:
        name: what the table is of, for who does not see it.
        drawn: a drawing for each row, after the column of this number.
    """
    if not section.rows:
        return None
    drawn = drawn or {}
    head: list[Child] = []
    for index, column in enumerate(section.columns):
        head.append(
            tag("th", column.title, scope="col", class_="figure" if column.numeric else None)
        )
        if index in drawn:
            head.append(tag("td", class_="drawn"))
    rows = [
        tag("tr", _cells(section, row, [(i, cells[number]) for i, cells in drawn.items()]))
        for number, row in enumerate(section.rows)
    ]
    table = tag("table", tag("thead", tag("tr", head)), tag("tbody", rows))
    # A table that is wider than the screen moves under its own window, not the page.
    return tag("div", table, class_="scroll", role="region", aria_label=name, tabindex="0")


def lines(section: Section) -> Markup:
    return together(tag("p", text) for text in section.lines)


def _cells(
    section: Section, row: Sequence[Cell], drawn: Sequence[tuple[int, Markup | None]]
) -> list[Child]:
    after = dict(drawn)
    cells: list[Child] = []
    for index, (column, cell) in enumerate(zip(section.columns, row, strict=True)):
        text = cell.text.lstrip(" ")
        basis = tag("small", cell.basis.strip()) if cell.basis.strip() else None
        depth = (len(cell.text) - len(text)) // 2
        cells.append(
            tag(
                "th" if index == 0 else "td",
                text,
                basis,
                scope="row" if index == 0 else None,
                class_="figure" if column.numeric else None,
                style=f"--depth:{depth}" if depth else None,
            )
        )
        if index in after:
            cells.append(tag("td", after[index], class_="drawn"))
    return cells


def bars(values: Sequence[float | None]) -> list[Markup | None]:
    """A bar for each value that has a length, the largest as long as there is room."""
    known = [value if value and math.isfinite(value) else 0.0 for value in values]
    largest = max(known, default=0.0)
    return [
        tag("div", class_="bar", style=f"--share:{100 * value / largest:.1f}%") if value else None
        for value in known
    ]


def forest(estimates: Sequence[Estimate | None]) -> list[Markup | None]:
    """Each estimate with its interval about the line of no difference; what is worse is right."""
    ends = [0.0]
    for estimate in estimates:
        if estimate is not None:
            interval = estimate.interval
            ends += [estimate.value, *((interval.low, interval.high) if interval else ())]
    low, high = around(ends)
    x = Scale(low, high, 2, 138)
    return [
        _whiskers(estimate, x) if estimate is not None and not math.isnan(estimate.value) else None
        for estimate in estimates
    ]


def _whiskers(estimate: Estimate, x: Scale) -> Markup:
    interval = estimate.interval
    surely_worse = interval is not None and interval.low > 0
    return drawing(
        140,
        18,
        None,
        line(x(0), 0, x(0), 18, "zero"),
        tag(
            "g",
            line(x(interval.low), 9, x(interval.high), 9, "whisker") if interval else None,
            mark(0, x(estimate.value), 9, "dot filled", size=3.4),
            class_="worse" if surely_worse else "same",
        ),
    )
