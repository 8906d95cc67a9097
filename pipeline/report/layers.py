"""What a report says of the layers of an int8 model."""

from __future__ import annotations

from edgestill.artifact import LayerError
from edgestill.report.figures import Cell, Column, Section
from edgestill.report.model import QuantizedModel, Report

MOST_LAYERS = 30


def quantized(report: Report) -> list[Section]:
    """For each int8 model how far its layers answer from the float ones, the largest errors."""
    return [_layers(model) for model in report.quantized if model.layers]


def _layers(model: QuantizedModel) -> Section:
    shown = largest_errors(model)
    line = "Root mean square difference to the float model on calibration samples, as a share of "
    line += "the float output's standard deviation. The errors of former layers are in it."
    if len(shown) < len(model.layers):
        line += f" These are the {len(shown)} largest of {len(model.layers)} layers."
    return Section(
        f"int8 {model.scheme}, layer by layer",
        (Column("layer", numeric=False), Column("operator", numeric=False), Column("error")),
        tuple((Cell(x.name), Cell(x.operator), Cell(f"{100 * x.error:.2g}%")) for x in shown),
        (line,),
    )


def largest_errors(model: QuantizedModel) -> list[LayerError]:
    """The layers that are shown, in the order of the graph."""
    ranked = sorted(range(len(model.layers)), key=lambda index: -model.layers[index].error)
    return [model.layers[index] for index in sorted(ranked[:MOST_LAYERS])]
