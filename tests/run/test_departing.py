"""A hop that does not answer as it should names the layer where that begins."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import onnx
import pytest
from onnx import numpy_helper

from edgestill.artifact import Engine, OnnxModel
from edgestill.onnx_file import write_model
from edgestill.targets.onnxruntime import OnnxRuntime

if TYPE_CHECKING:
    from conftest import Project

    from edgestill.report.model import Report
    from edgestill.verify.results import HopResult

# One feature is a thousand times as large as the others, so that 8 bits for all leave them none.
OUTLIER = """

class Outlier(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Flatten())
        self.narrow = nn.Linear(65, 64, bias=False)
        self.narrow.weight = nn.Parameter(torch.eye(64, 65), requires_grad=False)
        self.head = nn.Linear(64, 3)

    def forward(self, image):
        features = self.conv(image)
        large = 1000 + 1000 * image.mean((1, 2, 3))[:, None]
        return self.head(self.narrow(torch.cat([features, large], 1)))


def outlier():
    return Outlier()
"""


def named(report: Report) -> dict[str, HopResult]:
    return {hop.name: hop for hop in report.hops}


def test_int8_that_loses_too_much_names_the_layer_and_searches_once(project: Project) -> None:
    model = project.folder / "model.py"
    model.write_text("import torch\n" + model.read_text("utf-8") + OUTLIER, "utf-8")
    changed = (
        "student.model=model.py:outlier",
        "distill.epochs=20",
        "distill.learning_rate=0.01",
        "quantize.budget.accuracy_drop=5pp",
    )
    report = project.run(*changed)
    hops = named(report)
    int8 = hops["int8 cpu onnx"]
    assert int8.drop is not None and int8.drop.value > 0.05
    assert int8.departure is not None
    # The scale that all of the concatenation shares stands where the features are made; at which
    # node of these it shows first depends on the weights, and these on the processor's rounding.
    assert int8.departure.module in ("conv.0", "conv.2") and int8.departure.alone
    assert int8.departure.own > 10 * int8.departure.typical
    # What agrees with its parent is not looked into.
    assert [hop.name for hop in report.hops if hop.departure or hop.unfound] == [int8.name]
    text = (project.release / "report.md").read_text("utf-8")
    assert f"int8 cpu onnx {int8.departure}." in text
    assert "locate int8 cpu onnx" in {step.name for step in report.steps}
    again = project.run(*changed)
    assert named(again)["int8 cpu onnx"].departure == int8.departure
    assert "locate int8 cpu onnx" not in {step.name for step in again.steps}


def gets_wrong(weight: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ONNX Runtime compile a model of which one weight is another."""
    compile_right = OnnxRuntime.compile

    def compile_wrong(
        self: OnnxRuntime, model: OnnxModel, precision: str, options: Any, out: Path
    ) -> Engine:
        altered = onnx.load(model.model_path)
        tensor = next(tensor for tensor in altered.graph.initializer if tensor.name == weight)
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(numpy.ascontiguousarray(-array), weight))
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        write_model(altered, folder)
        return compile_right(
            self, OnnxModel.seal(folder, model.description), precision, options, out
        )

    monkeypatch.setattr(OnnxRuntime, "compile", compile_wrong)


def test_an_engine_that_answers_otherwise_than_its_model_names_the_layer(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gets_wrong("module.4.weight", tmp_path / "wrong", monkeypatch)
    # Another operator set, so that engines are compiled anew and nothing is trained.
    report = project.run("export.opset=21", "quantize=null", "gates=null")
    hop = named(report)["onnxruntime fp32"]
    assert hop.departure is not None and hop.departure.module == "4"
    assert hop.departure.before < 1e-4 < hop.departure.after
    assert named(report)["student onnx"].departure is None
