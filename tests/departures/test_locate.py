"""What is told of a search for a departure, whatever becomes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgestill.artifact import OnnxModel
from edgestill.departures.locate import outcome
from edgestill.departures.result import Departure
from edgestill.errors import ExportError


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ExportError("ONNX Runtime cannot run the graph in parts."), "ONNX Runtime cannot run"),
        (MemoryError(), "the search failed (MemoryError)"),
        (ValueError("no such axis"), "the search failed (ValueError: no such axis)"),
    ],
)
def test_a_search_that_breaks_takes_no_finding_away(error: Exception, told: str) -> None:
    def find() -> Departure | None:
        raise error

    departure, why = outcome(OnnxModel(Path("model"), ""), find)
    assert departure is None
    assert why.startswith(told) and not why.endswith(".")
