"""HTML and SVG as nested calls: text is escaped wherever it is put in, and never by the caller."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TypeAlias

from edgestill.report.characters import visible

_VOID = {"meta"}


class Markup(str):
    """Text that is markup already, which only `tag` and `together` make."""

    __slots__ = ()


Child: TypeAlias = "str | Iterable[Child] | None"


def tag(name: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """An element. Of an attribute, `_` stands for `-` and a last one for nothing: `class_`.

    An attribute that is None is left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{together(*children)}</{name}>")


def together(*children: Child) -> Markup:
    """Children in a row; a str that is no `Markup` is escaped."""
    return Markup("".join(_escaped(child) for child in children))


def _escaped(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return html.escape(visible(child), quote=False)
    return together(*child)


def _value(value: str | float) -> str:
    if isinstance(value, str):
        return html.escape(visible(value))
    return f"{value:.2f}".rstrip("0").rstrip(".")  # a hundredth of a pixel is enough
