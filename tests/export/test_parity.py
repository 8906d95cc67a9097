"""ONNX against torch, in a batch and alone, and torch against itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn import functional

from edgestill.artifact import Signature, TensorSpec
from edgestill.errors import ExportError, ModelError
from edgestill.export.parity import require_parity
from edgestill.models.wrapper import DeviceModel

ARRAYS = {"x": np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)}
SPEC = TensorSpec("x", "float32", (None, 4))


class Calls(nn.Module):
    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def require(
    function: Callable[[Tensor], Any], file: Path, batch: int | None = None, tolerance: float = 1e-3
) -> None:
    model = DeviceModel(Calls(function), None, (SPEC,)).eval()
    spec = TensorSpec("x", "float32", (batch, 4))
    output = TensorSpec("logits", "float32", (batch, *model.prediction_shape))
    require_parity(file, model, ARRAYS, Signature((spec,), (output,), "logits"), tolerance)


def onnx_file(folder: Path, operation: str, shape: tuple[Any, ...] = ("n", 4)) -> Path:
    """`operation(x, 2)` as ONNX."""
    graph = helper.make_graph(
        [helper.make_node(operation, ["x", "two"], ["logits"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [helper.make_tensor("two", TensorProto.FLOAT, [], [2.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def calls() -> Callable[[Tensor], Tensor]:
    """State that forward changes."""
    count = [0]

    def function(x: Tensor) -> Tensor:
        count[0] += 1
        return x + count[0]

    return function


@pytest.mark.parametrize(
    "function",
    [
        lambda x: functional.dropout(x, 0.5, training=True),
        lambda x: x + torch.randn(4),
        calls(),
        lambda x: x if len(x) > 1 else x * 2,
        lambda x: x - x.mean(0),
        lambda x: functional.batch_norm(x[..., None].expand(-1, -1, 2), None, None, training=True),
        lambda x: x * x.max().item(),
    ],
    ids=["dropout", "noise", "state", "branch", "batch mean", "batch statistics", "item"],
)
def test_an_answer_that_depends_on_more_than_its_sample(
    tmp_path: Path, function: Callable[[Tensor], Tensor]
) -> None:
    message = (
        r"^output logits differs by [\d.]+ between a batch of samples and one of them alone, in "
        r"torch \(largest value [\d.]+, allowed [\d.e-]+\). Look in forward for randomness, for "
        r"state that it changes, for branches on the batch's size, and for statistics over the "
        r"batch \(BatchNorm without running statistics\)$"
    )
    with pytest.raises(ExportError, match=message):
        require(function, tmp_path)


def test_a_forward_that_refuses_one_sample(tmp_path: Path) -> None:
    message = (
        r"test_parity.py:\d+: forward raised ValueError: Expected more than 1 value per channel .* "
        r"in eval mode, given x float32 \[1, 4\]. Compare the inputs with what the model was made"
    )
    with pytest.raises(ModelError, match=message):
        require(nn.BatchNorm1d(4, track_running_stats=False), tmp_path)


def test_a_batch_of_one_that_squeeze_drops(tmp_path: Path) -> None:
    message = (
        r"^output logits is \[4\] for 1 sample: its first axis is not the batch. "
        r"Give squeeze\(\) in forward a dim: without one it drops a batch of one$"
    )
    with pytest.raises(ModelError, match=message):
        require(lambda x: x.squeeze(), tmp_path)


def test_rows_that_come_and_go(tmp_path: Path) -> None:
    message = r"^output logits is \[5, 4\] for 6 samples: .* Return one row per sample, and None in"
    with pytest.raises(ModelError, match=message):
        require(lambda x: x if len(x) == 2 else x[1:], tmp_path)


def test_an_answer_that_is_no_number(tmp_path: Path) -> None:
    message = r"^output logits has NaN or infinite values on real samples. Look at normalize: and"
    with pytest.raises(ExportError, match=message):
        require(lambda x: (x - 1).log(), tmp_path)


@pytest.mark.parametrize("batch", [None, 1, 4, 6, 8])
def test_the_same_answers_pass_at_every_batch(tmp_path: Path, batch: int | None) -> None:
    file = onnx_file(tmp_path, "Mul", ("n" if batch is None else batch, 4))
    require(lambda x: x * 2, file, batch)


@pytest.mark.parametrize("batch", [None, 4])
def test_another_answer_than_torchs(tmp_path: Path, batch: int | None) -> None:
    count = batch or len(ARRAYS["x"])
    largest = np.abs(ARRAYS["x"] * 2.1)[: batch or 6].max()
    message = (
        rf"^output logits differs by [\d.]+ between ONNX and torch for a batch of {count} "
        rf"\(largest value {largest:.3g}, allowed {largest / 100:.3g}\). "
        r"Look in forward for branches on shapes or values, or raise export.tolerance$"
    )
    file = onnx_file(tmp_path, "Mul", (batch or "n", 4))
    with pytest.raises(ExportError, match=message):
        require(lambda x: x * 2.1, file, batch, tolerance=0.01)
    require(lambda x: x * 2.1, file, batch, tolerance=0.1)


def test_an_answer_of_another_shape(tmp_path: Path) -> None:
    message = (
        r"^output logits has other shapes between ONNX and torch for a batch of 6: "
        r"\[6, 4, 1\], \[6, 4\]. Look in forward"
    )
    with pytest.raises(ExportError, match=message):
        require(lambda x: (x * 2)[..., None], onnx_file(tmp_path, "Mul"))


def test_a_file_that_onnx_runtime_cannot_load(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ExportError, match=r"^ONNX Runtime cannot load the exported model \(Inval"):
        require(lambda x: x, tmp_path / "model.onnx")
