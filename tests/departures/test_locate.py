"""What is told of a search for a departure, whatever becomes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgestill.artifact import Engine, EngineDescription, OnnxModel, Signature
from edgestill.departures.locate import options_of, outcome
from edgestill.departures.result import Departure
from edgestill.errors import ExportError, UsageError
from edgestill.targets.options import OpenVinoOptions


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


def compiled(target: str, options: dict[str, object], folder: Path) -> Engine:
    signature = Signature((), (), "logits")
    description = EngineDescription(target, "fp32", None, signature, "model", options, {})
    return Engine.seal(folder, description)


@pytest.mark.parametrize(
    ("target", "options", "told"),
    [
        ("openvino", {"inference_precision": "f32", "hint": "latency"}, "hint: latency"),
        ("tensorrt", {"max_batch": 0}, "max_batch: 0"),
    ],
)
def test_options_of_another_version_are_an_error_with_a_fix(
    target: str, options: dict[str, object], told: str, tmp_path: Path
) -> None:
    engine = compiled(target, options, tmp_path)
    with pytest.raises(UsageError) as raised:
        options_of(engine)
    assert raised.value.what.startswith(
        f"the engine was compiled with options that {target} does not have in this version"
    )
    assert told in raised.value.what
    assert raised.value.where == str(tmp_path)
    assert raised.value.fix == (
        "Verify it with the version that built it, or build it again with this one"
    )


def test_options_that_are_known_are_of_their_type(tmp_path: Path) -> None:
    engine = compiled("openvino", {"inference_precision": "bf16"}, tmp_path)
    assert options_of(engine) == OpenVinoOptions("bf16")
