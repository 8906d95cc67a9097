"""Kinds of models that have to export: each family of layers in one small net."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgestill.artifact import TensorSpec
from edgestill.export.config import ExportConfig
from edgestill.export.stage import write_onnx
from edgestill.models.wrapper import DeviceModel

pytestmark = pytest.mark.filterwarnings(
    "ignore:# The axis name",
    "ignore:The .grad attribute of a Tensor that is not a leaf",
    "ignore:_check_is_size will be removed:FutureWarning",
)


class Pixels(nn.Module):
    """Convolutions of every kind, and an answer for each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Sequential(
            nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8)
        )
        self.grouped = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=2)
        self.squeeze, self.excite = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.up = nn.ConvTranspose2d(8, 8, 4, stride=2, padding=1)
        self.head = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.hardswish(self.depthwise(x))
        y = functional.relu6(self.grouped(x))
        gate = functional.adaptive_avg_pool2d(y, 1)
        y = y * torch.sigmoid(self.excite(functional.silu(self.squeeze(gate))))
        y = self.up(y) + functional.interpolate(y, scale_factor=2, mode="bilinear")
        y = functional.max_pool2d(y, 3, 1, 1, ceil_mode=True)
        return functional.pixel_shuffle(self.head(y), 2)


class Normalised(nn.Module):
    """Normalisations, and weights that are computed from others."""

    def __init__(self) -> None:
        super().__init__()
        parametrizations = nn.utils.parametrizations
        self.body = nn.Sequential(
            parametrizations.weight_norm(nn.Conv2d(3, 4, 3)),
            nn.GroupNorm(2, 4),
            nn.PReLU(),
            parametrizations.spectral_norm(nn.Conv2d(4, 4, 3)),
            nn.InstanceNorm2d(4),
            nn.GELU(),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.LayerNorm(4),
            nn.RMSNorm(4),
            nn.Linear(4, 3),
            nn.LogSoftmax(1),
        )

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.body(x)
        return answer


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 5, batch_first=True)
        self.gru = nn.GRU(5, 4, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        steps, (hidden, _) = self.lstm(x)
        steps, last = self.gru(steps * hidden[-1][:, :1, None])
        answer: Tensor = self.head(steps[:, -1] + last[0])
        return answer


class Attention(nn.Module):
    """Tied weights, a buffer that follows the length, and three sorts of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.register_buffer("position", torch.linspace(-1, 1, 80).reshape(10, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.causal = nn.Linear(8, 24)
        self.cross = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids) + self.position[: ids.shape[1]]
        padding = ids == 0
        x = self.encoder(x, src_key_padding_mask=padding)
        q, k, v = self.causal(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        y = y.transpose(1, 2).flatten(2)
        attended, _ = self.cross(y, x, x, key_padding_mask=padding)
        answer: Tensor = self.head(attended)
        return answer


class Volume(nn.Module):
    """1-D and 3-D convolutions; no batch in any constant."""

    def __init__(self) -> None:
        super().__init__()
        self.spatial = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.BatchNorm3d(2), nn.ReLU())
        self.temporal = nn.Conv1d(2, 4, 3, dilation=2, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.spatial(x).mean((3, 4))
        answer: Tensor = self.temporal(y).amax(-1)
        return answer


class Half(nn.Module):
    """Weights of half precision, and a forward that knows."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3).half()

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.layer(x.half()).float()
        return answer


class NoParameters(nn.Module):
    """Signal processing: a spectrum, a sum over time, the largest values."""

    def forward(self, x: Tensor) -> Tensor:
        energy = torch.fft.rfft(x, dim=1).abs().square().sum(-1)
        return torch.log1p(energy.cumsum(1)).topk(3, dim=1).values


@dataclass(frozen=True)
class Case:
    module: type[nn.Module]
    shape: tuple[int, ...]
    answer: tuple[int, ...]
    dtype: str = "float32"


CASES = [
    Case(Pixels, (3, 8, 8), (2, 16, 16)),
    Case(Normalised, (3, 8, 8), (3,)),
    Case(Recurrent, (4, 6), (3,)),
    Case(Attention, (10,), (10, 20), "int64"),
    Case(Volume, (1, 6, 4, 4), (4,)),
    Case(Half, (6,), (3,)),
    Case(NoParameters, (16, 4), (3,)),
]


def samples(case: Case, count: int) -> NDArray[Any]:
    rng = np.random.default_rng(0)
    if case.dtype == "int64":
        ids = rng.integers(1, 20, (count, *case.shape))
        ids[np.arange(case.shape[0])[None] > np.arange(count)[:, None] + 3] = 0
        return ids
    return rng.normal(size=(count, *case.shape)).astype(case.dtype)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.module.__name__)
def test_it_exports_and_answers_as_torch_at_any_batch(tmp_path: Path, case: Case) -> None:
    arrays = {"x": samples(case, 5)}
    spec = TensorSpec("x", case.dtype, (None, *case.shape))
    torch.manual_seed(0)
    model = DeviceModel(case.module(), None, (spec,)).eval()
    signature = write_onnx(model, arrays, ExportConfig(), tmp_path)
    assert signature.inputs == (spec,)
    assert signature.outputs == (TensorSpec("logits", "float32", (None, *case.answer)),)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for count in (1, 2, 5):
        with torch.no_grad():
            expected = model(torch.from_numpy(arrays["x"][:count]))[0].numpy()
        answered = session.run(None, {"x": arrays["x"][:count]})[0]
        assert expected.std() > 1e-3
        np.testing.assert_allclose(answered, expected, atol=2e-3 if case.module is Half else 2e-5)
