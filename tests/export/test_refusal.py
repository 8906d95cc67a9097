"""Models that the exporter refuses: the message names the operation or the user's line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgestill.artifact import TensorSpec
from edgestill.errors import ExportError
from edgestill.export.config import ExportConfig
from edgestill.export.stage import write_onnx
from edgestill.models.wrapper import DeviceModel

pytestmark = pytest.mark.filterwarnings(
    "ignore:# The axis name", "ignore:.torch.jit.script. is deprecated:DeprecationWarning"
)


class Calls(nn.Module):
    """Returns what a function makes of its layer and its input."""

    def __init__(self, function: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.layer, x)


def branch(layer: nn.Module, x: Tensor) -> Any:
    return layer(x) if x.sum() > 0 else layer(-x)  # the line of the branch


def loop(layer: nn.Module, x: Tensor) -> Any:
    y = layer(x)
    for _ in range(int(x.abs().sum())):  # the line of the loop
        y = y + 1
    return y


def complains(layer: nn.Module, x: Tensor) -> Any:
    if torch.compiler.is_exporting():
        raise ValueError("only for training")  # the line that raises
    return layer(x)


def inverse(layer: nn.Module, x: Tensor) -> Any:
    return torch.linalg.inv(layer(x)[:, :, None] * layer(x)[:, None] + torch.eye(4))


def in_numpy(layer: nn.Module, x: Tensor) -> Any:
    return layer(x) * torch.from_numpy(np.linalg.svd(x.numpy())[1])[0]


@torch.library.custom_op("tests::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    return x * 2


@twice.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def line_of(comment: str) -> int:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(f"# {comment}"))


def write(module: nn.Module, folder: Path) -> None:
    spec = TensorSpec("x", "float32", (None, 4))
    arrays = {"x": np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)}
    write_onnx(DeviceModel(module, None, (spec,)).eval(), arrays, ExportConfig(), folder)


@pytest.mark.parametrize(
    ("function", "line", "message"),
    [
        (
            branch,
            "the line of the branch",
            r"GuardOnDataDependentSymNode: .*Replace a Python if or loop on a tensor's values, "
            r"for instance by torch.where$",
        ),
        (
            loop,
            "the line of the loop",
            r"GuardOnDataDependentSymNode: .*Replace a Python if or loop on a tensor's values",
        ),
        (
            complains,
            "the line that raises",
            r"ValueError: only for training. Write that line in another way$",
        ),
    ],
)
def test_the_users_line_is_named(
    tmp_path: Path, function: Callable[..., Any], line: str, message: str
) -> None:
    place = f"test_refusal.py:{line_of(line)}"
    with pytest.raises(ExportError, match=rf"^{place}: the model cannot be exported: {message}"):
        write(Calls(function), tmp_path)


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (inverse, "aten.linalg_inv_ex"),
        (in_numpy, "aten._linalg_svd"),
        (lambda layer, x: twice(layer(x)), "tests.twice"),
    ],
    ids=["torch.linalg", "numpy inside forward", "an operator of the user's own"],
)
def test_the_operation_that_onnx_lacks_is_named(
    tmp_path: Path, function: Callable[..., Any], operator: str
) -> None:
    message = (
        rf"^the model cannot be exported: ONNX has no counterpart of {operator}. "
        r"Write it in forward with operations that ONNX has$"
    )
    with pytest.raises(ExportError, match=message):
        write(Calls(function), tmp_path)


def test_a_torchscript_module(tmp_path: Path) -> None:
    scripted = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    with pytest.raises(ExportError, match=r"^a TorchScript module cannot .* Give the Python modu"):
        write(nn.Sequential(nn.Linear(4, 4), scripted), tmp_path)


@pytest.mark.parametrize(
    "function",
    [
        lambda layer, x: layer(x.view(int(x.shape[0]), 4)),
        lambda layer, x: layer(x) + torch.zeros(len(x), 4),
    ],
    ids=["int", "len"],
)
def test_a_batch_size_that_became_a_constant(tmp_path: Path, function: Callable[..., Any]) -> None:
    message = (
        r"^the batch of x should be free in the export, and is 2. Look in forward for "
        r"len\(x\), int\(x.shape\[0\]\) and sizes written as numbers, or say which batch the "
        r"device will use, such as export: {batch: 1}$"
    )
    with pytest.raises(ExportError, match=message):
        write(Calls(function), tmp_path)


class Root(torch.autograd.Function):
    """A function with a gradient of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sign() * x.abs().sqrt()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0]


@pytest.mark.parametrize(
    "function",
    [
        lambda layer, x: Root.apply(layer(x)),
        lambda layer, x: layer(torch.from_numpy(np.tanh(x.numpy()))),
        lambda layer, x: layer(x) if x.shape[1] > 3 else x,
        lambda layer, x: torch.stack([layer(x) * i for i in range(x.shape[1])], 1),
    ],
    ids=["own gradient", "numpy that torch knows", "branch on a size", "loop over a size"],
)
def test_what_looks_hard_and_is_not(tmp_path: Path, function: Callable[..., Any]) -> None:
    write(Calls(function), tmp_path)


def test_what_onnx_runtime_cannot_run(tmp_path: Path) -> None:
    message = (
        r"^ONNX Runtime cannot load the exported model \(.*Could not find an implementation for "
        r"Gemm.*\). Use float32 and operations that it has$"
    )
    narrow = nn.Linear(4, 4).bfloat16()
    with pytest.raises(ExportError, match=message):
        write(Calls(lambda layer, x: narrow(x.bfloat16()).float()), tmp_path)


def test_the_line_of_a_library(tmp_path: Path) -> None:
    """BEiT's default attention is laid out in a way that the exporter cannot follow."""
    transformers = pytest.importorskip(
        "transformers", reason="pip install 'edgestill[transformers]'"
    )
    config = transformers.BeitConfig(
        image_size=16,
        patch_size=8,
        hidden_size=16,
        num_hidden_layers=1,
        use_relative_position_bias=True,
        num_attention_heads=2,
        intermediate_size=16,
    )
    image = TensorSpec("pixel_values", "float32", (None, 3, 16, 16))
    model = DeviceModel(transformers.BeitForImageClassification(config), None, (image,)).eval()
    message = (
        r"^beit/modeling_beit.py:\d+: the model cannot be exported: .* It is a library's line: "
        r"look for a setting that takes another way, such as attn_implementation=eager"
    )
    arrays = {"pixel_values": np.ones((4, 3, 16, 16), np.float32)}
    with pytest.raises(ExportError, match=message):
        write_onnx(model, arrays, ExportConfig(), tmp_path)
