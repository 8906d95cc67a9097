"""What was found, on a terminal: the verdict first, then what needs attention; fits 80 columns."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgestill.report import content, targets, way
from edgestill.report.figures import Cell, Column, Section
from edgestill.report.judgement import Judgement
from edgestill.report.model import Report
from edgestill.verdict import Verdict
from edgestill.verify.results import GateResult

LONGEST_STEPS = 5
WORST_CLASSES = 5
_WIDEST_NAME = 40

_STYLES = {
    Verdict.PASS: "bold green",
    Verdict.FAIL: "bold red",
    Verdict.INCONCLUSIVE: "bold yellow",
    Verdict.NOT_RUN: "dim",
}


def render(
    found: Report | Judgement,
    *,
    width: int = 80,
    color: bool = False,
    release: Path | None = None,
    written: Path | None = None,
) -> str:
    """All that was found as text of at most `width` columns.

    Args:
        release: where the release lies, when it was written.
        written: where the report of a verification lies, without its suffix.
    """
    page = _Page(width, color)
    style = _STYLES[found.verdict]
    if isinstance(found, Judgement):
        page.line(found.headline, style)
        _lay_out_judgement(page, found)
    else:
        page.line(content.headline(found), style)
        _lay_out(page, found)
    page.line()
    if release is not None:
        page.line(f"Release: {release} (report.html and report.md there have the details)")
    if written is not None:
        page.line(f"Report: {written}.html, .md and .json")
    page.line(f"{found.verdict}, exit code {int(found.exit_code)}", style)
    return page.text


def _lay_out(page: _Page, report: Report) -> None:
    if report.gates:
        page.gates(content.worst_first(report.gates))
    for target in targets.sections(report):
        page.section(target)
    if report.hops:
        page.section(way.hops(report))
    for worst in way.classes(report, WORST_CLASSES):
        page.section(worst)
    if report.models:
        page.section(content.models(report))
    if report.steps:
        page.section(content.steps(report, LONGEST_STEPS))
    if notes := content.notes(report):
        page.section(Section("Notes", lines=notes))


def _lay_out_judgement(page: _Page, found: Judgement) -> None:
    if not found.sections:
        page.gates(content.worst_first(found.gates))
    for section in found.sections:
        page.section(section)
    if found.notes:
        page.section(Section("Notes", lines=found.notes))


def render_figures(
    title: str,
    section: Section,
    *,
    width: int = 80,
    color: bool = False,
    notes: Sequence[str] = (),
) -> str:
    """The figures of some engines as text of at most `width` columns."""
    page = _Page(width, color)
    page.section(Section(title, section.columns, section.rows, (*section.lines, *notes)), turn=True)
    return page.text


class _Page:
    """Text that grows downwards."""

    def __init__(self, width: int, color: bool) -> None:
        self._out = io.StringIO()
        self._console = Console(
            file=self._out,
            width=width,
            force_terminal=color,
            color_system="standard" if color else None,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
        )

    @property
    def text(self) -> str:
        lines = (line.rstrip() for line in self._out.getvalue().splitlines())
        return "\n".join(lines).strip("\n") + "\n"

    def line(self, text: str = "", style: str = "") -> None:
        self._console.print(Text(text, style=style))

    def gates(self, gates: Sequence[GateResult]) -> None:
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
        table.add_column("verdict", no_wrap=True)
        table.add_column("gate", overflow="fold")
        table.add_column("on", overflow="fold")
        table.add_column("budget, and what was found", overflow="fold", ratio=1)
        for gate in gates:
            found = Text(gate.budget)
            found.append(f"\n{gate.found}")
            if gate.advice:
                found.append(f"\n{gate.advice}", style="italic")
            verdict = Text(str(gate.verdict), style=_STYLES[gate.verdict])
            table.add_row(verdict, Text(gate.gate), Text(gate.target), found)
        self.line()
        self._console.print(table)

    def section(self, section: Section, *, turn: bool = False) -> None:
        """A heading, the table and its lines.

        Args:
            turn: lay a table that is too wide on its side instead of cutting it in two.
        """
        self.line()
        if section.title:
            self.line(section.title, "bold")
        if section.rows:
            if turn and _across(_widths(section), gap=1) > self._console.width:
                section = _turned(section)
            for part in _parts(section, self._console.width):
                self._console.print(self._table(part))
        for line in section.lines:
            self.line(line)

    def _table(self, section: Section) -> Table:
        width = self._console.width
        widths = [
            max(w, len(c.title)) for w, c in zip(_widths(section), section.columns, strict=True)
        ]
        if _across(widths, gap=3) > width:
            widths = _widths(section)
        roomy = _across(widths, gap=3) <= width
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, int(roomy)))
        for column, size in zip(section.columns, widths, strict=True):
            # A width of its own: rich would take what lacks from the figures.
            side: Literal["left", "right"] = "right" if column.numeric else "left"
            table.add_column(column.title, justify=side, overflow="fold", width=size)
        for row in section.rows:
            table.add_row(*[_text(cell) for cell in row])
        return table


def _text(cell: Cell) -> Text:
    text = Text(cell.text)
    if cell.basis:
        text.append(f"\n{cell.basis}", style="dim")
    return text


def _widths(section: Section) -> list[int]:
    """The characters that each column needs: its cells on a line each, its heading by words.

    A long name takes several lines, and leaves the figures beside it as they are.
    """
    widths = []
    for index, column in enumerate(section.columns):
        cells = [part for row in section.rows for part in (row[index].text, row[index].basis)]
        needed = max(len(text) for text in (*cells, *column.title.split()))
        widths.append(needed if column.numeric else min(needed, _WIDEST_NAME))
    return widths


def _across(widths: Sequence[int], gap: int) -> int:
    """The characters of a table's line, with `gap` between two columns."""
    return sum(widths) + gap * (len(widths) - 1)


def _parts(section: Section, width: int) -> list[Section]:
    """A table cut into as many as fit `width`, each with the first column."""
    kept = [0]
    for index in range(1, len(section.columns)):
        candidate = _columns(section, [*kept, index])
        if len(kept) > 1 and _across(_widths(candidate), gap=1) > width:
            rest = [0, *range(index, len(section.columns))]
            return [_columns(section, kept), *_parts(_columns(section, rest), width)]
        kept.append(index)
    return [section]


def _columns(section: Section, kept: Sequence[int]) -> Section:
    rows = tuple(tuple(row[index] for index in kept) for row in section.rows)
    return Section(section.title, tuple(section.columns[i] for i in kept), rows, section.lines)


def _turned(section: Section) -> Section:
    """A row for each column."""
    others = section.columns[1:]
    columns = (Column("", numeric=False), *(Column(row[0].text) for row in section.rows))
    rows = tuple(
        (Cell(column.title), *(row[index] for row in section.rows))
        for index, column in enumerate(others, start=1)
    )
    return Section(section.title, columns, rows, section.lines)
