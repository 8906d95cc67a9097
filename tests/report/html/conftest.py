"""Pages as a reader's program sees them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from edgestill.report.html import render
from edgestill.report.model import Report
from edgestill.verify.results import Histogram


@pytest.fixture
def spread(passing: Report) -> Report:
    """Engines whose times lie three decades apart, with a long name and a budget among them."""
    (target,) = passing.targets
    candidates = []
    for engine, low, high in zip(target.candidates, (12e3, 900e3), (90e3, 9e6), strict=True):
        latency = engine.latency
        assert latency is not None
        histogram = Histogram(low, high, (1, 50, 9, 3, 1))
        candidates.append(replace(engine, latency=replace(latency, histogram=histogram)))
    renamed = replace(
        target, target="a-target-with-quite-a-long-name", candidates=tuple(candidates)
    )
    return replace(
        passing, name="a_model_of_a_name_that_is_long_and_has_no_room", targets=(renamed,)
    )


@pytest.fixture
def page() -> Callable[[Report], Element]:
    """The document of a report; every element of it is closed, so that XML can read it."""

    def parse(report: Report) -> Element:
        text = render(report).removeprefix("<!doctype html>\n")
        return ElementTree.fromstring(re.sub("<(meta [^>]*)>", r"<\1/>", text))

    return parse
