"""The page: the verdict first, then what it rests on, at last how to get it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from edgestill.quantities import digits, score_text, size_text
from edgestill.report import content, provenance, targets
from edgestill.report.figures import Cell, Column, Section, figure, measured_percentile, ns_text
from edgestill.report.html.loads import loads
from edgestill.report.html.losses import losses
from edgestill.report.html.markup import Child, Markup, tag, together
from edgestill.report.html.tables import (
    bars,
    chip,
    css_class,
    gates_table,
    lines,
    section_table,
)
from edgestill.report.html.times import times
from edgestill.report.html.tradeoff import Limits, find_limits, tradeoff
from edgestill.report.layers import largest_errors, quantized
from edgestill.report.model import Report
from edgestill.verify.results import CandidateResult, TargetResult

_RESOURCES = ("peak memory", "first load", "later loads")
_STYLE = Path(__file__).with_name("style.css")


def render(report: Report) -> str:
    """The report as one HTML file that needs nothing else, no script and no network."""
    style = Markup(_STYLE.read_text("utf-8"))
    limits = find_limits(report)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{report.verdict} {report.name}, edgestill"),
        tag("style", style),
    )
    sections = list(_sections(report, limits))
    contents = [tag("a", title, href=f"#{_anchor(title)}") for title, _ in sections]
    body = tag(
        "body",
        _header(report, limits),
        tag("nav", contents, aria_label="Contents") if contents else None,
        tag("main", [_section(title, *children) for title, children in sections]),
        tag("footer", f"edgestill {report.edgestill}, {report.created}"),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _header(report: Report, limits: Limits) -> Markup:
    where = report.device_name
    kind = "Verification" if report.kind == "verify" else "Run"
    return tag(
        "header",
        tag(
            "p", " · ".join(part for part in (kind, where, _day(report)) if part), class_="eyebrow"
        ),
        tag("h1", report.name),
        tag(
            "p",
            chip(report.verdict),
            tag("span", _sentence(content.finding(report))),
            class_="verdict",
        ),
        tag("div", list(_cards(report, limits)), class_="cards"),
        class_=css_class(report.verdict),
    )


def _cards(report: Report, limits: Limits) -> Iterator[Markup]:
    """What ships, in a few figures each."""
    for target in report.targets:
        shipped = [engine for engine in target.candidates if engine.name in target.shipped]
        if target.verify == "elsewhere":
            sizes = [(engine.name, Cell(size_text(engine.size_bytes))) for engine in shipped]
            yield _card(target.target, "compiled, not run here", sizes)
            continue
        for engine in shipped:
            figures = _key_figures(report, target, engine, limits)
            yield _card(f"{target.target} {engine.name}", "ships", figures)


def _key_figures(
    report: Report, target: TargetResult, engine: CandidateResult, limits: Limits
) -> list[tuple[str, Cell]]:
    unit, share = report.unit, f"{limits.percentile:g}"
    figures = []
    if engine.test_score is not None:
        figures.append((report.metric, Cell(score_text(engine.test_score, unit))))
    if engine.latency is not None:
        figures.append((f"p{share}", measured_percentile(engine.latency, share)))
    if engine.speedup is not None:
        speedup = figure(engine.speedup, lambda value: f"{digits(value)}x")
        figures.append(("speedup", speedup))
    basis = f"teacher {size_text(target.baseline.size_bytes)}" if target.baseline else ""
    return [*figures, ("size", Cell(size_text(engine.size_bytes), basis))]


def _card(title: str, note: str, figures: Sequence[tuple[str, Cell]]) -> Markup:
    entries = [
        tag(
            "div",
            tag("dt", name),
            tag("dd", cell.text, tag("small", cell.basis) if cell.basis else None),
        )
        for name, cell in figures
    ]
    return tag("section", tag("h2", title, tag("small", note)), tag("dl", entries), class_="card")


def _sections(report: Report, limits: Limits) -> Iterator[tuple[str, Sequence[Child]]]:
    """Every part that has something to say, by title."""
    if report.gates:
        yield "Gates", [gates_table(content.worst_first(report.gates))]
    if content.notes(report):
        failed = [tag("li", failure, class_="worse") for failure in report.failures]
        yield "Notes", [tag("ul", failed, [tag("li", n) for n in report.notes], class_="notes")]
    if plot := tradeoff(report):
        yield "Accuracy and latency", [plot]
    if report.targets:
        yield "Targets", [_target(section) for section in targets.sections(report)]
    if report.hops:
        yield "Where it was lost", list(losses(report))
    if quantized(report):
        yield "Quantization", [tag("div", list(_quantized(report)), class_="pair")]
    if drawn := [found for target in report.targets if (found := times(target, limits))]:
        yield "Time of a call", [*drawn, _measured(provenance.measurements(report))]
    if under_load := list(loads(report)):
        yield "Under load", under_load
    if targets.timed(report):
        yield "Size, memory and loading", [_resources(report)]
    if report.models:
        models = content.models(report)
        yield models.title, [section_table(models, models.title), lines(models)]
    yield "Device and versions", [_facts(report)]
    if report.steps:
        yield "Steps", [_steps(report)]
    yield "How to get it again", _again(report)


def _section(title: str, *children: Child) -> Markup:
    return tag("section", tag("h2", title), *children, id=_anchor(title))


def _target(section: Section) -> Markup:
    table = section_table(section, section.title)
    return tag("div", tag("h3", section.title), table, tag("div", lines(section), class_="lines"))


def _quantized(report: Report) -> Iterator[Markup]:
    models = [model for model in report.quantized if model.layers]
    for model, section in zip(models, quantized(report), strict=True):
        errors = bars([layer.error for layer in largest_errors(model)])
        table = section_table(section, section.title, {2: errors})
        words = tag("div", lines(section), class_="lines")
        yield tag("div", tag("h3", section.title), table, words)


def _measured(section: Section) -> Markup:
    """Without what stands in the table of size, memory and loading."""
    kept = [i for i, column in enumerate(section.columns) if column.title not in _RESOURCES]
    section = replace(
        section,
        columns=tuple(section.columns[i] for i in kept),
        rows=tuple(tuple(row[i] for i in kept) for row in section.rows),
    )
    table = section_table(section, section.title)
    return tag("div", table, tag("div", lines(section), class_="lines"), class_="measured")


def _resources(report: Report) -> Markup | None:
    """What an engine takes beside time."""
    found = [
        (f"{target.target} {engine.name}", engine)
        for target in report.targets
        for engine in targets.engines(target)
    ]
    rows = tuple(
        (
            Cell(name),
            Cell(size_text(engine.size_bytes)),
            Cell(size_text(engine.latency.memory_bytes) if engine.latency else ""),
            Cell(ns_text(engine.latency.first_load_ns) if engine.latency else ""),
            Cell(ns_text(engine.latency.later_load_ns) if engine.latency else ""),
        )
        for name, engine in found
    )
    columns = (Column("engine", numeric=False), *map(Column, ("size", *_RESOURCES)))
    section = Section("", columns, rows)
    memory = [engine.latency.memory_bytes if engine.latency else None for _, engine in found]
    drawn = {1: bars([engine.size_bytes for _, engine in found]), 2: bars(memory)}
    return section_table(section, "Size, memory and loading", drawn)


def _facts(report: Report) -> Markup:
    entries = provenance.facts(report).items()
    digests = provenance.digests(report)
    return together(
        tag(
            "dl",
            [tag("div", tag("dt", name), tag("dd", value)) for name, value in entries],
            class_="facts",
        ),
        tag("h3", "Digests of the engines") if digests else None,
        tag(
            "dl",
            [
                tag("div", tag("dt", name), tag("dd", tag("code", digest)))
                for name, digest in digests.items()
            ],
            class_="facts",
        )
        if digests
        else None,
    )


def _steps(report: Report) -> Markup:
    section = content.steps(report, len(report.steps))
    seconds = sorted((step.seconds for step in report.steps), reverse=True)
    return together(section_table(section, section.title, {1: bars(seconds)}), lines(section))


def _again(report: Report) -> list[Child]:
    return [
        tag("p", tag("code", command.line, class_="command"), f" {command.words}")
        for command in provenance.again(report)
    ]


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-").replace(",", "")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _day(report: Report) -> str:
    return report.created.replace("T", " ").replace("+00:00", " UTC")
