"""Models that predict probabilities where logits are read, told by the graph that they become."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgestill.artifact import TensorSpec
from edgestill.errors import ModelError
from edgestill.export.config import ExportConfig
from edgestill.export.logits import require_logits
from edgestill.export.stage import write_onnx
from edgestill.models.wrapper import DeviceModel
from edgestill.onnx_file import read_model

pytestmark = pytest.mark.filterwarnings("ignore:# The axis name")

SIGMOID = (
    "its prediction comes out of a sigmoid, and scores and losses read what goes into it: every "
    "value would be above 0, which means yes. Return what goes into a sigmoid; an application can "
    "apply it to what the release answers"
)
SOFTMAX = (
    "its prediction comes out of a softmax, and scores and losses read what goes into it. Return "
    "what goes into a softmax; an application can apply it to what the release answers"
)


class Net(nn.Module):
    def __init__(self, outputs: int, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer = nn.Linear(4, outputs)
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.layer(x))


def refused(
    folder: Path,
    outputs: int,
    end: Callable[[Tensor], Tensor],
    task: str = "classification",
    *,
    taught: bool = True,
) -> str:
    """What is said of a model that ends so; empty where nothing is."""
    model = DeviceModel(Net(outputs, end), None, (TensorSpec("x", "float32", (None, 4)),)).eval()
    signature = write_onnx(model, {"x": np.eye(4, dtype=np.float32)}, ExportConfig(), folder)
    graph, shape = read_model(folder / "model.onnx"), model.prediction_shape
    try:
        require_logits(graph, signature.prediction, shape, task, taught=taught)
    except ModelError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("outputs", "end", "task"),
    [
        (1, torch.sigmoid, "classification"),
        (1, lambda y: y.sigmoid().squeeze(1), "classification"),
        (3, torch.sigmoid, "multilabel"),
    ],
)
@pytest.mark.parametrize("taught", [False, True])
def test_a_yes_or_no_out_of_a_sigmoid_is_refused_whoever_trained_it(
    tmp_path: Path, outputs: int, end: Callable[[Tensor], Tensor], task: str, taught: bool
) -> None:
    assert refused(tmp_path, outputs, end, task, taught=taught) == SIGMOID


def test_a_softmax_is_refused_where_losses_would_take_another(tmp_path: Path) -> None:
    assert refused(tmp_path, 3, lambda y: y.softmax(1)) == SOFTMAX
    assert refused(tmp_path, 3, lambda y: y.softmax(1), taught=False) == ""


@pytest.mark.parametrize(
    ("outputs", "end", "task"),
    [
        (3, lambda y: y, "classification"),
        (3, lambda y: y.log_softmax(1), "classification"),  # whose softmax is the model's own
        (3, lambda y: y.softmax(1) * 3, "classification"),
        (1, torch.sigmoid, "regression"),
        (3, lambda y: y.softmax(1), "custom"),
    ],
)
def test_what_may_be_logits_or_values_passes(
    tmp_path: Path, outputs: int, end: Callable[[Tensor], Tensor], task: str
) -> None:
    assert refused(tmp_path, outputs, end, task) == ""
