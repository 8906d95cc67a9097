"""The time of a call: how it is spread, and how it went from block to block."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from edgestill.report import targets
from edgestill.report.figures import ns_text
from edgestill.report.html.drawing import (
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
from edgestill.report.html.tradeoff import Limits
from edgestill.verify.results import BlockResult, Histogram, LatencyResult, TargetResult

_WIDE, _ROW, _LEFT = 520, 46, 66
Timed = Sequence[tuple[str, LatencyResult]]


def times(target: TargetResult, limits: Limits) -> Markup | None:
    """Both drawings of a target's engines; None where none was timed."""
    timed = [(c.name, c.latency) for c in targets.engines(target) if c.latency is not None]
    spread = [(name, latency) for name, latency in timed if latency.histogram is not None]
    moving = [(name, latency) for name, latency in timed if latency.series]
    if not spread and not moving:
        return None
    return tag(
        "div",
        tag("h3", target.target),
        tag("div", _distribution(spread, limits), _series(moving), class_="pair"),
    )


def _distribution(timed: Timed, limits: Limits) -> Markup | None:
    if not timed:
        return None
    caption = "How many calls took how long, each engine on its own height. Lines: p50, p95, p99."
    return tag(
        "figure",
        twice(lambda width: _histograms(timed, limits, width), _WIDE),
        tag("figcaption", caption),
    )


def _histograms(timed: Timed, limits: Limits, width: float) -> Markup:
    found = [latency.histogram for _, latency in timed if latency.histogram]
    ends = [end for h in found for end in (h.low_ns, h.high_ns)]
    budget = limits.seconds * 1e9 if limits.seconds is not None else None
    if budget is not None and min(ends) <= budget <= 2 * max(ends):
        ends.append(budget)
    low, high = around(ends, margin=0.02, log=True)
    x = Scale(low, high, _LEFT, width - MARGIN, log=True)
    bottom = 8 + _ROW * len(timed)
    words = "; ".join(f"{name} median {ns_text(latency.median_ns)}" for name, latency in timed)
    return drawing(
        width,
        bottom + 26,
        f"Distribution of the time of a call: {words}",
        bottom_axis(x, bottom, 4, ns_text, 9 if width == _WIDE else 5),
        [
            _row(name, latency, x, 8 + _ROW * (index + 1))
            for index, (name, latency) in enumerate(timed)
        ],
        _budget(x, budget, bottom) if budget is not None and low <= budget <= high else None,
    )


def _budget(x: Scale, budget: float, bottom: float) -> Markup:
    at, words = x(budget), f"budget {ns_text(budget)}"
    left = at < (x.start + x.end) / 2  # then there is room on the right
    beside = (
        label(at + 5, 14, words, "start", "axis")
        if left
        else label(at - 5, 14, words, "end", "axis")
    )
    return together(line(at, 4, at, bottom, "limit"), beside)


def _row(name: str, latency: LatencyResult, x: Scale, base: float) -> Markup:
    assert latency.histogram is not None
    percentiles = [
        (share, latency.percentiles_ns[share].value)
        for share in ("50", "95", "99")
        if share in latency.percentiles_ns
    ]
    return tag(
        "g",
        tag("path", d=_outline(latency.histogram, x, base), class_="area"),
        [
            line(
                x(at),
                base - (26 if share == "50" else 16),
                x(at),
                base,
                "quantile",
                f"{name} p{share} {ns_text(at)}",
            )
            for share, at in percentiles
        ],
        label(_LEFT - 10, base - 12, name, "end", "name"),
        class_=tone(name),
    )


def _outline(histogram: Histogram, x: Scale, base: float) -> str:
    """The steps of the bins, the fullest as high as a row allows."""
    bins, most = len(histogram.counts), max(histogram.counts)
    start, end = x(histogram.low_ns), x(histogram.high_ns)
    width = (end - start) / bins
    path = [f"M{start:.1f} {base:.1f}"]
    for index, count in enumerate(histogram.counts):
        height = (_ROW - 10) * count / most
        path.append(f"V{base - height:.1f}H{start + width * (index + 1):.1f}")
    return "".join([*path, f"V{base:.1f}Z"])


def _series(timed: Timed) -> Markup | None:
    if not timed:
        return None
    return tag(
        "figure",
        twice(lambda width: _blocks(timed, width), _WIDE),
        tag("figcaption", _conditions([b for _, latency in timed for b in latency.series])),
    )


def _blocks(timed: Timed, width: float) -> Markup:
    blocks = [block for _, latency in timed for block in latency.series]
    begun = min(_moment(block) for block in blocks)
    last = max(_moment(block) for block in blocks) - begun
    bottom = max(170.0, 8 + _ROW * len(timed))
    x = Scale(0, max(last, 1.0), _LEFT, width - MARGIN)
    low, high = around([end for b in blocks for end in (b.p10_ns, b.p90_ns)], log=True)
    y = Scale(low, high, bottom, 10, log=True)
    words = "; ".join(
        f"{name} from {ns_text(min(b.median_ns for b in latency.series))} to "
        f"{ns_text(max(b.median_ns for b in latency.series))}"
        for name, latency in timed
    )
    return drawing(
        width,
        bottom + 26,
        f"Medians of the blocks over time: {words}",
        left_axis(y, _LEFT, width - MARGIN, ns_text, 5),
        bottom_axis(x, bottom, bottom, lambda seconds: f"{seconds:g} s", 5),
        [
            tag(
                "g",
                _connected(latency.series, begun, x, y),
                [_block(name, b, begun, x, y) for b in latency.series],
                class_=tone(name),
            )
            for name, latency in timed
        ],
    )


def _connected(series: Sequence[BlockResult], begun: float, x: Scale, y: Scale) -> Markup:
    places = [f"{x(_moment(b) - begun):.1f},{y(b.median_ns):.1f}" for b in series]
    return tag("polyline", points=" ".join(places), class_="trend")


def _block(name: str, block: BlockResult, begun: float, x: Scale, y: Scale) -> Markup:
    at = x(_moment(block) - begun)
    settled = "" if block.steady else ", the warm-up did not settle"
    title = (
        f"{name}: median {ns_text(block.median_ns)}, "
        f"p10 {ns_text(block.p10_ns)}, p90 {ns_text(block.p90_ns)}, {block.calls} calls{settled}"
    )
    return together(
        line(at, y(block.p10_ns), at, y(block.p90_ns), "whisker"),
        mark(0, at, y(block.median_ns), "dot filled" if block.steady else "dot", title, 3.2),
    )


def _conditions(blocks: Sequence[BlockResult]) -> str:
    """What the marks are, and what the machine was like meanwhile, as far as it could be read."""
    parts = ["Median of each block with p10 to p90, in the order in which they ran"]
    if not all(block.steady for block in blocks):
        parts.append("hollow where the warm-up did not settle")
    for values, text in (
        ([b.load for b in blocks], "load {} processes per core"),
        ([b.frequency_mhz for b in blocks], "clock {} MHz"),
        ([b.temperature_c for b in blocks], "{} °C"),
    ):
        known = [value for value in values if value is not None]
        if known:
            ends = dict.fromkeys(
                f"{end:.3g}" if end < 100 else f"{end:.0f}" for end in (min(known), max(known))
            )
            parts.append(text.format(" to ".join(ends)))
    return "; ".join(parts) + "."


def _moment(block: BlockResult) -> float:
    return datetime.fromisoformat(block.started).timestamp()
