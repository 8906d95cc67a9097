"""The table of a report's formats: name -> the module whose `render` gives it as text."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgestill.report.judgement import Judgement
    from edgestill.report.model import Report

# fmt: off
FORMATS: Mapping[str, str] = {
    "terminal": "edgestill.report.terminal",
    "markdown": "edgestill.report.markdown",
    "json":     "edgestill.report.model",
    "junit":    "edgestill.report.junit",
    "html":     "edgestill.report.html",
    "github":   "edgestill.report.github",
}
# fmt: on

# Those of a comparison or a check, which annotate by themselves and have nothing to draw.
JUDGEMENTS = ("terminal", "markdown", "json", "junit")

# Those that a release has, and that a verification writes: by the suffix of the file.
BESIDE: Mapping[str, str] = {".json": "json", ".md": "markdown", ".html": "html"}


def render(found: Report | Judgement, shape: str) -> str:
    """It in one of its formats; for a terminal of 80 columns, without colour."""
    text: str = import_module(FORMATS[shape]).render(found)
    return text
