"""A report as GitHub-flavoured Markdown: the same as on the terminal, and how it was obtained."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgestill.report import content, provenance, targets, way
from edgestill.report.figures import Cell, Section
from edgestill.report.judgement import Judgement
from edgestill.report.layers import quantized
from edgestill.report.model import Report
from edgestill.verify.results import MOST_CLASSES, GateResult


def render(found: Report | Judgement) -> str:
    """All that was found as a Markdown document."""
    parts = _judgement(found) if isinstance(found, Judgement) else _report(found)
    return "\n\n".join(part for part in parts if part) + "\n"


def _judgement(found: Judgement) -> list[str]:
    parts = [f"# {_escaped(found.name)}", f"**{_escaped(found.headline)}**"]
    if not found.sections:
        parts.append(_gates(content.worst_first(found.gates)))
    for section in found.sections:
        parts += _section(section)
    return [*parts, *_notes(found.notes)]


def _notes(notes: Sequence[str]) -> list[str]:
    return ["## Notes", "\n".join(f"- {_escaped(note)}" for note in notes)] if notes else []


def _report(report: Report) -> list[str]:
    parts = [f"# {_escaped(report.name)}", f"**{_escaped(content.headline(report))}**"]
    if report.gates:
        parts += ["## Gates", _gates(content.worst_first(report.gates))]
    if report.targets:
        parts.append("## Targets")
    for target in targets.sections(report):
        parts += _section(target, level=3)
    if report.hops:
        parts += _section(way.hops(report))
    for changed in (*way.classes(report, MOST_CLASSES), *way.flips(report)):
        parts += _section(changed, level=3)
    if report.models:
        parts += _section(content.models(report))
    parts += _notes(content.notes(report))
    # Folded, so that the rest is a comment that people read to its end.
    return [
        *parts,
        "<details>\n<summary>How this was obtained</summary>",
        *_obtained(report),
        "</details>",
    ]


def _gates(gates: Sequence[GateResult]) -> str:
    rows = [
        [str(gate.verdict), gate.gate, gate.target, gate.budget, gate.found, gate.advice]
        for gate in gates
    ]
    titles = ["Verdict", "Gate", "On", "Budget", "Found", "Advice"]
    return _table(titles, ["---"] * 6, [[_escaped(item) for item in row] for row in rows])


def _section(section: Section, level: int = 2) -> list[str]:
    parts = [f"{'#' * level} {_escaped(section.title)}"] if section.title else []
    if section.rows:
        titles = [_escaped(column.title) for column in section.columns]
        rules = ["---:" if column.numeric else "---" for column in section.columns]
        parts.append(_table(titles, rules, [[_cell(cell) for cell in row] for row in section.rows]))
    parts += [_escaped(line) for line in section.lines]
    return parts


def _obtained(report: Report) -> list[str]:
    rows = [[_escaped(n), _escaped(value)] for n, value in provenance.facts(report).items()]
    parts = [_table(["", ""], ["---", "---"], rows)]
    parts += _measurements(report)
    for model in quantized(report):
        parts += _section(model, level=3)
    if report.steps:
        parts += _section(content.steps(report, len(report.steps)), level=3)
    again = [f"`{command.line}` {_escaped(command.words)}" for command in provenance.again(report)]
    return [*parts, "### How to get it again", *again]


def _measurements(report: Report) -> list[str]:
    section = provenance.measurements(report)
    if not section.rows:
        return []
    digests = "\n".join(
        f"- {_escaped(name)}: `{digest}`" for name, digest in provenance.digests(report).items()
    )
    return [*_section(section, level=3), "Digests of the engines:", digests]


def _table(titles: Sequence[str], rules: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (titles, rules, *rows))


def _cell(cell: Cell) -> str:
    text, basis = cell.text.lstrip(" "), cell.basis.strip()
    indented = "\N{NO-BREAK SPACE}" * (len(cell.text) - len(text)) + _escaped(text)
    if basis and not basis.startswith("["):
        basis = f"({basis})"
    return f"{indented} {_escaped(basis)}".rstrip(" ")


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is; underscores within words need nothing."""
    text = re.sub(
        r"([\\`*|]|(?<!\w)_|_(?!\w))", r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;")
    )
    return text.replace("\n", "<br>")
