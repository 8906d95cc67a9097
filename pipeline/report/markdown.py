"""A report as GitHub-flavoured Markdown: the same as on the terminal, and how it was obtained."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgestill.report import content
from edgestill.report.figures import Cell, Section, latencies
from edgestill.report.model import Report
from edgestill.verify.results import MOST_CLASSES, GateResult


def render(report: Report) -> str:
    """The report as a Markdown document."""
    parts = [f"# {_escaped(report.name)}", f"**{_escaped(content.headline(report))}**"]
    if report.gates:
        parts += ["## Gates", _gates(content.worst_first(report.gates))]
    if report.targets:
        parts.append("## Targets")
    for target in content.targets(report):
        parts += _section(target, level=3)
    if report.hops:
        parts += _section(content.hops(report))
    for changed in (*content.classes(report, MOST_CLASSES), *content.flips(report)):
        parts += _section(changed, level=3)
    if report.models:
        parts += _section(content.models(report))
    if report.notes:
        parts += ["## Notes", "\n".join(f"- {_escaped(note)}" for note in report.notes)]
    parts += ["## How this was obtained", *_obtained(report)]
    return "\n\n".join(part for part in parts if part) + "\n"


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
    splits = ", ".join(f"{role} {count}" for role, count in report.splits.items())
    facts = {
        "What": f"edgestill {report.kind}, version {report.edgestill}",
        "When": report.created,
        "Task and metric": f"{report.task}, {report.metric} "
        f"({'bigger' if report.bigger_is_better else 'smaller'} is better)",
        "Samples": splits,
        "Seed": str(report.seed),
        "Threads": str(report.threads),
        "Libraries": ", ".join(f"{name} {found}" for name, found in report.versions.items()),
        **{f"Device: {name}": value for name, value in _flat(report.device)},
    }
    rows = [[_escaped(name), _escaped(value)] for name, value in facts.items() if value]
    parts = [_table(["", ""], ["---", "---"], rows)]
    parts += _measurements(report)
    if report.steps:
        parts += _section(content.steps(report, len(report.steps)), level=3)
    return [*parts, *_again(report)]


def _measurements(report: Report) -> list[str]:
    """Every percentile, load and memory figure of what was timed."""
    timed = [
        (f"{target.target} {candidate.name}", candidate.latency)
        for target in report.targets
        for candidate in (*target.candidates, *([target.baseline] if target.baseline else []))
        if candidate.latency is not None
    ]
    if not timed:
        return []
    # What is doubtful about them already stands with their target.
    section = latencies(timed)
    parts = _section(Section("Measurements", section.columns, section.rows), level=3)
    times = sorted({latency.measured_at for _, latency in timed})
    moments = " to ".join(dict.fromkeys([times[0], times[-1]]))
    batches = ", ".join(str(batch) for batch in sorted({latency.batch for _, latency in timed}))
    threads = ", ".join(str(count) for count in sorted({latency.threads for _, latency in timed}))
    parts.append(
        f"Measured {_escaped(moments)} at batch {batches} with {threads} threads, in blocks that "
        "are interleaved with those of the target's other engines, a fresh process each. "
        "Brackets are confidence intervals."
    )
    digests = [
        f"- {target.target} {candidate.name}: `{candidate.digest}`"
        for target in report.targets
        for candidate in target.candidates
    ]
    return [*parts, "Digests of the engines:", "\n".join(digests)]


def _again(report: Report) -> list[str]:
    parts = ["### How to get it again"]
    if report.kind == "run":
        parts.append(
            "`edgestill run recipe.yaml` with the recipe of this folder, beside the files that it "
            "names, and the versions above."
        )
    parts.append(
        "`edgestill verify RELEASE` measures and decides again, on this device or on another one."
    )
    return parts


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested facts as lines, without those that are unknown."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name} ")
        elif isinstance(value, (list, tuple)):
            yield f"{prefix}{name}", ", ".join(str(item) for item in value)
        elif value is not None:
            yield f"{prefix}{name}", str(value)


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
