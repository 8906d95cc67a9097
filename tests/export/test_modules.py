"""An export keeps the PyTorch module of each node, and says where it departs from PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from edgestill.artifact import Signature, TensorSpec
from edgestill.errors import ExportError
from edgestill.export.config import ExportConfig
from edgestill.export.modules import first_departing
from edgestill.export.parity import require_parity
from edgestill.export.stage import write_onnx
from edgestill.models.wrapper import DeviceModel

ARRAYS = {"x": np.random.default_rng(0).normal(size=(8, 1, 8, 8)).astype(np.float32)}


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(x + self.norm(self.conv(x)))


class Net(nn.Module):
    """Convolutions with shortcuts, one module that is used twice, and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.body = nn.Sequential(Block(), Block())
        self.shared = nn.Linear(8, 8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.body(self.stem(x)).flatten(2).transpose(1, 2)
        tokens = self.shared(torch.tanh(self.shared(tokens)))
        return self.head(self.encoder(tokens).mean(1))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[DeviceModel, Path, Signature]:
    torch.manual_seed(0)
    spec = TensorSpec("x", "float32", (None, 1, 8, 8))
    model = DeviceModel(Net(), None, (spec,)).eval()
    folder = tmp_path_factory.mktemp("exported")
    signature = write_onnx(model, ARRAYS, ExportConfig(), folder)
    return model, folder / "model.onnx", signature


def modules(file: Path) -> dict[str, str]:
    """The module that each node with a weight came from, by the weight."""
    graph: Any = onnx.load(file).graph
    weights = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 1}
    return {
        name: node.name.rpartition("/")[0]
        for node in graph.node
        for name in node.input
        if name in weights
    }


def test_nodes_are_named_by_their_module(exported: tuple[DeviceModel, Path, Signature]) -> None:
    model, file, _ = exported
    named = modules(file)
    assert named["module.stem.weight"] == "stem"
    # What is left of a convolution and its norm computes what the norm gives.
    assert named["module.body.1.conv.weight"] == "body.1.norm"
    assert named["module.head.weight"] == "head"
    paths = {name for name, _ in model.module.named_modules()}
    assert set(named.values()) <= paths
    names = [node.name for node in onnx.load(file).graph.node]
    assert len(set(names)) == len(names)


def test_an_export_that_is_right_departs_nowhere(
    exported: tuple[DeviceModel, Path, Signature],
) -> None:
    model, file, _ = exported
    assert first_departing(file, model, ARRAYS) is None


@pytest.mark.parametrize(
    ("weight", "place"),
    [
        ("module.stem.weight", r"stem \(Conv\), from 0.00%"),
        ("module.body.0.conv.weight", r"body\.0\.norm \(Conv\), from 0\.00%"),
        ("module.body.1.conv.weight", r"body\.1\.norm \(Conv\), from 0\.00%"),
        # Called twice, it has no one output; the next that has shows it.
        ("shared", r"encoder\.self_attn \(Transpose\), from 0\.00%"),
        ("module.head.weight", r"head \(Gemm\), from 0\.00%"),
    ],
)
def test_the_module_that_onnx_computes_otherwise_is_named(
    exported: tuple[DeviceModel, Path, Signature], weight: str, place: str, tmp_path: Path
) -> None:
    model, file, signature = exported
    altered = onnx.load(file)
    names = {module: name for name, module in modules(file).items()}
    name = names.get(weight, weight)
    tensor = next(tensor for tensor in altered.graph.initializer if tensor.name == name)
    array = numpy_helper.to_array(tensor) * np.float32(1.5)
    tensor.CopyFrom(numpy_helper.from_array(array, name))
    onnx.save(altered, tmp_path / "model.onnx")
    message = (
        r"^output logits differs by [\d.]+ between ONNX and torch for a batch of 8 \(largest value "
        rf"[\d.]+, allowed [\d.e-]+\)\. It departs first at {place} to \d+%\. Look in forward for "
    )
    with pytest.raises(ExportError, match=message):
        require_parity(tmp_path / "model.onnx", model, ARRAYS, signature, 1e-3)


def test_a_graph_that_cannot_be_cut_leaves_the_error_as_it_is(
    exported: tuple[DeviceModel, Path, Signature], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, file, signature = exported
    altered = onnx.load(file)
    tensor = next(t for t in altered.graph.initializer if t.name == "module.head.weight")
    array = numpy_helper.to_array(tensor) * np.float32(1.5)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(altered, tmp_path / "model.onnx")

    def refuse(*given: Any) -> None:
        raise ExportError("ONNX Runtime cannot run the graph in parts")

    monkeypatch.setattr("edgestill.export.parity.first_departing", refuse)
    with pytest.raises(ExportError, match=r"allowed [\d.e-]+\)\. Look in forward"):
        require_parity(tmp_path / "model.onnx", model, ARRAYS, signature, 1e-3)
