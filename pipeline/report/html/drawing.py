"""Parts of a drawing: the SVG itself, axes, marks. Every colour and font is the style sheet's."""

from __future__ import annotations

from collections.abc import Callable

from edgestill.report.html.markup import Child, Markup, tag, together
from edgestill.report.html.scale import Scale

NARROW = 336
MARGIN = 14  # on the right of every drawing
CHARACTER = 7.4  # wide: the font of drawings is the reader's, and 12 pixels high
_TONES = ("fp32", "fp16", "int8", "teacher")
_SHAPES = ("circle", "square", "triangle", "diamond")


def drawing(width: float, height: float, words: str | None, *children: Child) -> Markup:
    """An SVG that grows with its place, within reason.

    Args:
        words: what it shows, for who does not see it; None where the words beside it say so.
    """
    return tag(
        "svg",
        *children,
        viewBox=f"0 0 {width:g} {height:g}",
        style=f"max-width:{width * 1.25:g}px",
        role="img" if words else None,
        aria_label=words,
        aria_hidden=None if words else "true",
    )


def twice(draw: Callable[[float], Markup], wide: float) -> Markup:
    """A drawing for wide and one for narrow screens: the style sheet shows one of them."""
    return together(
        tag("div", draw(wide), class_="wide"), tag("div", draw(NARROW), class_="narrow")
    )


def tone(candidate: str) -> str:
    """The class of the colour of a candidate, one for each precision and the baseline."""
    return f"tone-{candidate}" if candidate in _TONES else "tone-other"


def label(x: float, y: float, words: str, anchor: str = "start", class_: str = "label") -> Markup:
    """Text whose base line is at `y`."""
    return tag("text", words, x=x, y=y, text_anchor=anchor, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str, title: str = "") -> Markup:
    hint = tag("title", title) if title else None
    return tag("line", hint, x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def mark(index: int, x: float, y: float, class_: str, title: str = "", size: float = 5) -> Markup:
    """A point; which shape it has tells the targets apart."""
    shape = _SHAPES[index % len(_SHAPES)]
    hint = tag("title", title) if title else None
    if shape == "circle":
        return tag("circle", hint, cx=x, cy=y, r=size, class_=class_)
    corners = {
        "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        "triangle": ((0, -1.15), (1.1, 0.85), (-1.1, 0.85)),
        "diamond": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
    }[shape]
    points = " ".join(f"{x + dx * size:.1f},{y + dy * size:.1f}" for dx, dy in corners)
    return tag("polygon", hint, points=points, class_=class_)


def bottom_axis(
    scale: Scale, y: float, top: float, text: Callable[[float], str], most: int
) -> Markup:
    """Ticks below a drawing with faint lines up to `top`; words that would touch are left out."""
    drawn: list[Markup] = []
    end = float("-inf")
    for tick in scale.ticks(most):
        half = len(text(tick)) * CHARACTER / 2
        at = min(scale(tick), scale.end + MARGIN - half)  # within the drawing
        drawn.append(line(scale(tick), top, scale(tick), y, "grid"))
        if at - half > end + 6:
            drawn.append(label(at, y + 16, text(tick), "middle"))
            end = at + half
    return together(drawn)


def left_axis(
    scale: Scale, x: float, right: float, text: Callable[[float], str], most: int
) -> Markup:
    """Ticks beside a drawing with faint lines up to `right`."""
    return together(
        (
            line(x, scale(tick), right, scale(tick), "grid"),
            label(x - 8, scale(tick) + 4, text(tick), "end"),
        )
        for tick in scale.ticks(most)
    )
