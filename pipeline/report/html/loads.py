"""Offline and at a rate: what the search for throughput tried, and how busy a device is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgestill.quantities import count_text, digits, rate_text
from edgestill.report import targets
from edgestill.report.figures import Section
from edgestill.report.html.drawing import (
    MARGIN,
    bottom_axis,
    drawing,
    label,
    left_axis,
    mark,
    tone,
    twice,
)
from edgestill.report.html.markup import Markup, tag, together
from edgestill.report.html.scale import Scale, around
from edgestill.report.html.tables import bars, section_table
from edgestill.report.loads import paced_latencies, throughputs
from edgestill.report.model import Report
from edgestill.targets.blocks import Trial
from edgestill.verify.results import OfflineResult, PacedResult

_WIDE, _LEFT, _HEIGHT = 520, 66, 170

Offline = Sequence[tuple[str, str, OfflineResult]]


def loads(report: Report) -> Iterator[Markup | None]:
    """A table and a drawing for each kind of load; what disturbed them stands with the targets."""
    engines = [(t.target, engine) for t in report.targets for engine in targets.engines(t)]
    offline = [(t, engine.name, engine.offline) for t, engine in engines if engine.offline]
    paced = [
        (f"{target} {engine.name}", found) for target, engine in engines for found in engine.paced
    ]
    if offline:
        section = throughputs([(f"{target} {name}", found) for target, name, found in offline])
        served = bars([found.throughput.value for _, _, found in offline])
        yield tag("h3", "All samples at once")
        yield section_table(section, "Throughput", {1: served})
        searched = [
            _trials(name, [one for one in offline if one[0] == name])
            for name in dict.fromkeys(target for target, _, _ in offline)
        ]
        yield tag("div", searched, class_="pair measured")
    if paced:
        yield tag("h3", "Requests at a rate")
        yield _paced(paced)


def _paced(paced: Sequence[tuple[str, PacedResult]]) -> Markup | None:
    named = [(f"{name} at {rate_text(found.rate)}", found) for name, found in paced]
    section: Section = paced_latencies(named)
    at = [column.title for column in section.columns].index("busy")
    busy = bars([min(1.0, found.rate / found.capacity.value) for _, found in paced])
    return section_table(section, "Latency at a rate", {at: busy})


def _trials(target: str, offline: Offline) -> Markup:
    """What the search tried for each engine of a target, and which was chosen."""
    caption = (
        "Tried in short blocks: samples a second by batch, a line for each number of streams "
        "(circles for one, then squares, triangles, diamonds). Filled is what was then measured."
    )
    return tag(
        "figure",
        twice(lambda width: _search(target, offline, width), _WIDE),
        tag("figcaption", caption),
    )


def _search(target: str, offline: Offline, width: float) -> Markup:
    tried = [trial for _, _, found in offline for trial in _served(found)]
    if not tried:
        return drawing(width, 20, f"{target}: no trial served anything")
    x = Scale(*around([t.batch for t in tried], log=True), _LEFT, width - MARGIN, log=True)
    y = Scale(*around([t.per_second for t in tried], log=True), _HEIGHT, 20, log=True)
    words = "; ".join(
        f"{name} best at batch {found.batch} in {count_text(found.streams, 'stream', 'streams')}"
        for _, name, found in offline
    )
    return drawing(
        width,
        _HEIGHT + 26,
        f"Search for the throughput of {target}: {words}",
        label(_LEFT, 12, f"{target}, samples/s", class_="axis"),
        left_axis(y, _LEFT, width - MARGIN, lambda value: digits(value, 3), 5),
        bottom_axis(x, _HEIGHT, _HEIGHT, lambda value: f"{value:g}", 6),
        [_engine(name, found, x, y) for _, name, found in offline],
    )


def _served(found: OfflineResult) -> list[Trial]:
    return [trial for trial in found.trials if not trial.failure]


def _engine(name: str, found: OfflineResult, x: Scale, y: Scale) -> Markup:
    numbers = sorted({trial.streams for trial in found.trials})
    return tag("g", [_line(name, found, n, x, y) for n in numbers], class_=tone(name))


def _line(name: str, found: OfflineResult, streams: int, x: Scale, y: Scale) -> Markup:
    """The trials with so many streams; each number that was tried doubles the one before."""
    trials = sorted((t for t in _served(found) if t.streams == streams), key=lambda t: t.batch)
    places = [(x(trial.batch), y(trial.per_second)) for trial in trials]
    words = count_text(streams, "stream", "streams")
    marks = [
        mark(
            streams.bit_length() - 1,
            *place,
            "dot filled" if (trial.batch, streams) == (found.batch, found.streams) else "dot",
            f"{name}, batch {trial.batch} in {words}: {digits(trial.per_second, 3)} samples/s",
            3.6,
        )
        for trial, place in zip(trials, places, strict=True)
    ]
    points = " ".join(f"{left:.1f},{top:.1f}" for left, top in places)
    return together(tag("polyline", points=points, class_="trend"), marks)
