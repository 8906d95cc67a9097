"""Accuracy against latency: every engine with both intervals, and the box that budgets leave."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgestill.quantities import score_text, time_text
from edgestill.report import targets
from edgestill.report.figures import interval_text
from edgestill.report.html.drawing import (
    CHARACTER,
    MARGIN,
    bottom_axis,
    drawing,
    label,
    left_axis,
    line,
    mark,
    tone,
    twice,
)
from edgestill.report.html.markup import Markup, tag, together
from edgestill.report.html.scale import Scale, around
from edgestill.report.model import Report
from edgestill.verdict import Estimate, Interval
from edgestill.verify.config import GATE_CONFIGS

_WIDE, _LEFT, _TOP, _BOTTOM = 1040, 64, 18, 46
_FAR = 20.0  # a budget so many times beyond all engines would squeeze them together


@dataclass(frozen=True)
class Point:
    """An engine on the plot, its time in seconds."""

    target: str
    candidate: str
    ships: bool
    seconds: Estimate
    score: float
    score_interval: Interval | None

    @property
    def name(self) -> str:
        return f"{self.target} {self.candidate}"


@dataclass(frozen=True)
class Limits:
    """What the budgets leave; None for no budget."""

    percentile: float
    seconds: float | None
    score: float | None


def tradeoff(report: Report) -> Markup | None:
    """The plot with its words; None where no engine has both a time and a score."""
    limits = find_limits(report)
    points = find_points(report, limits.percentile)
    if not points:
        return None
    return tag(
        "figure",
        twice(lambda width: _plot(report, points, limits, width), _WIDE),
        _legend(points),
        tag("figcaption", _caption(report, points, limits)),
    )


def find_limits(report: Report) -> Limits:
    """The tightest budget on the time of a call, and on the score, of the recipe."""
    timed = [b for b in report.budgets if b.gate == "latency" and b.at_most is not None]
    tightest = min(timed, key=lambda budget: budget.at_most or 0.0, default=None)
    scores = [
        _score_limit(report, b.versus, b.at_most, b.at_least)
        for b in report.budgets
        if b.gate not in GATE_CONFIGS  # else on the metric, whatever a recipe calls it
    ]
    known = [score for score in scores if score is not None]
    chosen = max if report.bigger_is_better else min
    return Limits(
        percentile=(tightest and tightest.percentile) or 95.0,
        seconds=tightest.at_most if tightest else None,
        score=chosen(known) if known else None,
    )


def find_points(report: Report, percentile: float) -> list[Point]:
    """Every engine that was scored, and timed often enough for the percentile."""
    return [
        Point(
            target.target,
            engine.name,
            engine.name in target.shipped and engine is not target.baseline,
            _in_seconds(engine.latency.percentiles_ns[f"{percentile:g}"]),
            engine.test_score,
            engine.test_interval,
        )
        for target in report.targets
        for engine in targets.engines(target)
        if engine.latency is not None
        and f"{percentile:g}" in engine.latency.percentiles_ns
        and engine.test_score is not None
        and math.isfinite(engine.test_score)
    ]


def _score_limit(
    report: Report, versus: str | None, at_most: float | None, at_least: float | None
) -> float | None:
    if versus is None:
        return at_least if report.bigger_is_better else at_most
    reference = next((h.score for h in report.hops if h.name.startswith(f"{versus} ")), None)
    if reference is None or at_most is None:
        return None
    return reference - at_most if report.bigger_is_better else reference + at_most


def _in_seconds(estimate: Estimate) -> Estimate:
    interval = estimate.interval
    if interval is not None:
        interval = Interval(interval.low / 1e9, interval.high / 1e9, interval.level)
    return Estimate(estimate.value / 1e9, interval, estimate.count)


def _plot(report: Report, points: Sequence[Point], limits: Limits, width: float) -> Markup:
    height = 360 if width == _WIDE else 300
    ends = [end for p in points for end in _ends(p.seconds.value, p.seconds.interval)]
    near = limits.seconds is not None and limits.seconds <= _FAR * max(ends)
    low, high = around([*ends, *([limits.seconds] if near and limits.seconds else [])], log=True)
    x = Scale(low, high, _LEFT, width - MARGIN, log=True)
    scores = [end for p in points for end in _ends(p.score, p.score_interval)]
    low, high = around([*scores, *([limits.score] if limits.score is not None else [])])
    if report.unit == "pp":
        low, high = max(low, 0.0), min(high, 1.0)
    y = Scale(low, high, height - _BOTTOM, _TOP)
    targets = list(dict.fromkeys(point.target for point in points))
    unit = report.unit
    return drawing(
        width,
        height,
        _words(report, points, limits),
        _box(x, y, limits, report.bigger_is_better),
        left_axis(y, _LEFT, width - MARGIN, lambda value: _score(value, unit), 6),
        bottom_axis(x, height - _BOTTOM, _TOP, time_text, 12 if width == _WIDE else 5),
        _limit_lines(x, y, limits, near),
        label(
            width - MARGIN,
            height - 10,
            f"p{limits.percentile:g} of a call, log scale",
            "end",
            "axis",
        ),
        label(_LEFT, _TOP - 4, report.metric, "start", "axis"),
        [_point(point, x, y, targets.index(point.target), unit) for point in points],
        _labels(points, x, y, width) if width == _WIDE else None,
    )


def _box(x: Scale, y: Scale, limits: Limits, bigger: bool) -> Markup | None:
    """The area in which every budget is kept."""
    if limits.seconds is None and limits.score is None:
        return None
    right = x(limits.seconds) if limits.seconds is not None else x.end
    top, bottom = y.end, y.start
    if limits.score is not None:
        top, bottom = (top, y(limits.score)) if bigger else (y(limits.score), bottom)
    return tag("rect", x=x.start, y=top, width=right - x.start, height=bottom - top, class_="box")


def _limit_lines(x: Scale, y: Scale, limits: Limits, near: bool) -> Markup:
    drawn = []
    if limits.seconds is not None and near:
        at = x(limits.seconds)
        drawn.append(line(at, y.end, at, y.start, "limit", f"budget {time_text(limits.seconds)}"))
    if limits.score is not None:
        at = y(limits.score)
        drawn.append(line(x.start, at, x.end, at, "limit", "budget on the score"))
    return together(drawn)


def _point(point: Point, x: Scale, y: Scale, target: int, unit: str) -> Markup:
    at = x(point.seconds.value), y(point.score)
    interval, of_score = point.seconds.interval, point.score_interval
    title = (
        f"{point.name}: {_score(point.score, unit)}, {time_text(point.seconds.value)} "
        f"{interval_text(point.seconds, time_text)}"
    )
    return tag(
        "g",
        line(x(interval.low), at[1], x(interval.high), at[1], "whisker") if interval else None,
        line(at[0], y(of_score.low), at[0], y(of_score.high), "whisker") if of_score else None,
        mark(target, *at, "dot filled" if point.ships else "dot", title, 6 if point.ships else 5),
        class_=tone(point.candidate),
    )


def _labels(points: Sequence[Point], x: Scale, y: Scale, width: float) -> Markup:
    """A name beside each point, where it covers neither a point nor another name."""
    taken = [(x(p.seconds.value) - 7, y(p.score) - 7, 14.0, 14.0) for p in points]
    drawn = []
    for point in sorted(points, key=lambda p: (not p.ships, p.seconds.value)):
        at = x(point.seconds.value), y(point.score)
        size = len(point.candidate) * CHARACTER
        for dx, dy in _AROUND:
            left = at[0] + (dx if dx >= 0 else dx - size)
            place = (left, at[1] + dy - 10, size, 13.0)
            inside = x.start < left and left + size < width and y.end - 4 < place[1]
            if (
                inside
                and place[1] + 13 < y.start
                and not any(_overlap(place, other) for other in taken)
            ):
                taken.append(place)
                drawn.append(
                    label(left, at[1] + dy, point.candidate, class_=f"name {tone(point.candidate)}")
                )
                break
    return together(drawn)


# Where a name may stand, from its point to its base line: first on the right, above and below.
_AROUND = [
    (side * (10 + abs(dy) / 6), dy + 4)
    for dy in (-12, 14, -26, 28, -40, 42, -54, 56, 0)
    for side in (1, -1)
]


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    apart_x = one[0] + one[2] <= other[0] or other[0] + other[2] <= one[0]
    return not (apart_x or one[1] + one[3] <= other[1] or other[1] + other[3] <= one[1])


def _legend(points: Sequence[Point]) -> Markup:
    """Shapes are targets, colours are precisions."""
    targets = dict.fromkeys(point.target for point in points)
    candidates = dict.fromkeys(point.candidate for point in points)
    shapes = [(_swatch(index, "dot filled"), target) for index, target in enumerate(targets)]
    colours = [(_swatch(0, "dot filled", tone(name)), name) for name in candidates]
    items = [*shapes, *colours, (_swatch(0, "dot"), "hollow: does not ship")]
    return tag("ul", [tag("li", *item) for item in items], class_="legend")


def _swatch(shape: int, class_: str, colour: str | None = None) -> Markup:
    return tag(
        "svg", mark(shape, 8, 8, class_), viewBox="0 0 16 16", aria_hidden="true", class_=colour
    )


def _caption(report: Report, points: Sequence[Point], limits: Limits) -> str:
    unit = report.unit
    parts = []
    if limits.seconds is not None:
        parts.append(f"p{limits.percentile:g} at most {time_text(limits.seconds)}")
    if limits.score is not None:
        end = "at least" if report.bigger_is_better else "at most"
        parts.append(f"{report.metric} {end} {_score(limits.score, unit)}")
    levels = {i.level for p in points for i in (p.seconds.interval, p.score_interval) if i}
    text = f"Shaded: {' and '.join(parts)}. " if parts else ""
    if any(b.gate not in GATE_CONFIGS and b.versus for b in report.budgets):
        text += (
            "A budget on a drop is drawn from the score that it counts from; its gate compares "
            "sample by sample. "
        )
    if levels:
        text += (
            f"Whiskers are {' and '.join(f'{level:.0%}' for level in sorted(levels))} intervals."
        )
    return text.strip()


def _words(report: Report, points: Sequence[Point], limits: Limits) -> str:
    unit = report.unit
    found = [f"{p.name} {_score(p.score, unit)} at {time_text(p.seconds.value)}" for p in points]
    return f"{report.metric} against p{limits.percentile:g} latency: {'; '.join(found)}"


def _ends(value: float, interval: Interval | None) -> tuple[float, ...]:
    return (value,) if interval is None else (value, interval.low, interval.high)


def _score(value: float, unit: str) -> str:
    return score_text(value, unit)
