"""What a report says of the layers of an int8 model."""

from __future__ import annotations

from dataclasses import replace

from edgestill.artifact import LayerError
from edgestill.report.layers import quantized
from edgestill.report.markdown import render
from edgestill.report.model import QuantizedModel, Report


def test_each_layer_stands_with_its_error(passing: Report) -> None:
    (section,) = quantized(passing)
    assert section.title == "int8 cpu, layer by layer"
    assert [[cell.text for cell in row] for row in section.rows] == [
        ["body.0.0", "Conv", "1.2%"],
        ["body.1.0", "Conv", "3%"],
        ["head", "Gemm", "2.4%"],
    ]
    assert "| body.1.0 | Conv | 3% |" in render(passing).splitlines()


def test_a_model_without_layers_is_left_out(passing: Report) -> None:
    assert quantized(replace(passing, quantized=(QuantizedModel("cpu", ()),))) == []


def test_of_many_layers_the_largest_errors_are_shown_in_the_order_of_the_graph(
    passing: Report,
) -> None:
    layers = tuple(LayerError(f"layer {i}", "Conv", (i * 7 % 100) / 100) for i in range(100))
    (section,) = quantized(replace(passing, quantized=(QuantizedModel("cpu", layers),)))
    shown = [int(row[0].text.removeprefix("layer ")) for row in section.rows]
    assert len(shown) == 30 and shown == sorted(shown)
    assert min(i * 7 % 100 for i in shown) == 70
    assert section.lines[0].endswith("These are the 30 largest of 100 layers.")
    assert section.title == "int8 cpu, layer by layer"
