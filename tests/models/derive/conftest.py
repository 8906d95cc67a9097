"""Small networks of the kinds that users bring, and a way to derive from them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgestill.artifact import TensorSpec
from edgestill.models.derive import derive
from edgestill.models.wrapper import DeviceModel

Derive = Callable[..., tuple[nn.Module, str]]


@pytest.fixture
def derived() -> Derive:
    """Derives from a copy of a module, whose input is `[2, *shape] float32`."""

    def make(
        module: nn.Module, shape: Sequence[int] = (3, 16, 16), depth: float = 1, width: float = 1
    ) -> tuple[nn.Module, str]:
        spec = TensorSpec("x", "float32", (None, *shape))
        model = DeviceModel(copy.deepcopy(module), None, [spec])
        example = torch.rand(2, *shape, generator=torch.Generator().manual_seed(1))
        return model.module, derive(model, [example], depth, width)

    return make


def _norm(channels: int) -> nn.Module:
    """With statistics and weights as after a training."""
    norm = nn.BatchNorm2d(channels)
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert tensor is not None
        tensor.data.uniform_(0.5, 1.5)
    return norm


def _unit(before: int, after: int, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Module:
    convolution = nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, _norm(after), nn.ReLU(inplace=True))


class Residual(nn.Module):
    def __init__(self, before: int, after: int, stride: int, groups: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = _norm(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, groups=groups, bias=False)
        self.bn2 = _norm(after)
        self.downsample = None
        if stride > 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride), _norm(after))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """Three stages, of which the second and third halve the resolution."""

    def __init__(self, blocks: int = 3, width: int = 8, groups: int = 1) -> None:
        super().__init__()
        self.stem = _unit(3, width)
        self.layer1 = self._stage(width, width, blocks, 1, groups)
        self.layer2 = self._stage(width, 2 * width, blocks, 2, groups)
        self.layer3 = self._stage(2 * width, 4 * width, blocks, 2, groups)
        self.fc = nn.Linear(4 * width, 5)

    @staticmethod
    def _stage(before: int, after: int, blocks: int, stride: int, groups: int) -> nn.Sequential:
        first = Residual(before, after, stride, groups)
        return nn.Sequential(first, *(Residual(after, after, 1, groups) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer3(self.layer2(self.layer1(self.stem(x))))
        return self.fc(functional.adaptive_avg_pool2d(y, 1).flatten(1))  # type: ignore[no-any-return]


def vgg() -> nn.Module:
    """No norms; a flattened map of 4 x 4 before the linear layers."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 10, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(160, 20), nn.ReLU(), nn.Dropout(), nn.Linear(20, 5)),
    )


class Inverted(nn.Module):
    """MobileNet's: wider inside, a depthwise convolution, squeeze and excitation."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        inside = 2 * before
        self.residual = stride == 1 and before == after
        self.conv = nn.Sequential(
            _unit(before, inside, 1), _unit(inside, inside, 3, stride, groups=inside)
        )
        self.squeeze, self.excite = nn.Conv2d(inside, 4, 1), nn.Conv2d(4, inside, 1)
        self.last = nn.Sequential(nn.Conv2d(inside, after, 1), _norm(after))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y = y * self.excite(self.squeeze(y.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return x + self.last(y) if self.residual else self.last(y)


def mobilenet() -> nn.Module:
    """Stages in one flat container, as torchvision has them."""
    features = nn.Sequential(
        _unit(3, 8, 3, 2),
        *(Inverted(8, 12, 1), Inverted(12, 12, 1), Inverted(12, 12, 1)),
        *(Inverted(12, 16, 2), Inverted(16, 16, 1)),
        _unit(16, 32, 1),
    )
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5))


class UNet(nn.Module):
    """A mask of two classes; what went down is concatenated on the way up."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = _unit(3, 6), _unit(6, 10)
        self.bottom = _unit(10, 16)
        self.up2 = nn.ConvTranspose2d(16, 10, 2, 2)
        self.join2 = _unit(20, 10)
        self.up1 = nn.ConvTranspose2d(10, 6, 2, 2)
        self.join1 = _unit(12, 6)
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(functional.max_pool2d(first, 2))
        y = self.up2(self.bottom(functional.max_pool2d(second, 2)))
        y = self.up1(self.join2(torch.cat([y, second], 1)))
        return self.head(self.join1(torch.cat([first, y], 1)))  # type: ignore[no-any-return]


class DenseNet(nn.Module):
    """Each layer sees all before it; a GroupNorm over what is concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.layers = nn.ModuleList(nn.Conv2d(8 + 4 * i, 4, 3, padding=1) for i in range(3))
        self.norm = nn.GroupNorm(2, 20)
        self.head = nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        for layer in self.layers:
            y = torch.cat([y, layer(y).relu()], 1)
        return self.head(self.norm(y).amax((2, 3)))  # type: ignore[no-any-return]


class Attending(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.qkv, self.projection = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.mlp = nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(self.norm1(x)).chunk(3, -1)
        x = x + self.projection(functional.scaled_dot_product_attention(query, key, value))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class ViT(nn.Module):
    """A transformer of the user's own: no class of torch's for it, no positions to learn."""

    def __init__(self, blocks: int = 5, size: int = 12) -> None:
        super().__init__()
        self.depth = blocks
        self.patches = nn.Conv2d(3, size, 4, 4)
        self.blocks = nn.ModuleList(Attending(size) for _ in range(blocks))
        self.head = nn.Linear(size, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.patches(x).flatten(2).transpose(1, 2)
        for index in range(self.depth):
            y = self.blocks[index](y)
        return self.head(y.mean(1))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """As Hugging Face has it: given by name, in a tuple, and it knows its place."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.attention = nn.Module()
        self.attention.layer_idx = index  # type: ignore[assignment]
        self.dense = nn.Linear(8, 8)

    def forward(self, hidden_states: Tensor) -> tuple[Tensor]:
        return (hidden_states + self.dense(hidden_states).tanh(),)


class Bert(nn.Module):
    """A loop over as many layers as the configuration, shared by all parts, has."""

    def __init__(self, layers: int = 12) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_hidden_layers=layers)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(Layer(index) for index in range(layers))
        self.classifier = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        layers = self.encoder.layer
        assert isinstance(layers, nn.ModuleList)
        for index in range(self.config.num_hidden_layers):
            (x,) = layers[index](hidden_states=x)
        return self.classifier(x[:, 0])  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """torch's own encoder."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).mean(1))  # type: ignore[no-any-return]


@pytest.fixture
def nets() -> dict[str, tuple[Callable[..., nn.Module], tuple[int, ...]]]:
    """Each network with the shape of its input; their weights are those of one seed."""
    torch.manual_seed(0)
    image, tokens = (3, 16, 16), (4, 8)
    return {
        "resnet": (ResNet, image),
        "vgg": (vgg, image),
        "mobilenet": (mobilenet, image),
        "unet": (UNet, image),
        "densenet": (DenseNet, image),
        "vit": (ViT, image),
        "bert": (Bert, tokens),
        "encoder": (Encoder, tokens),
    }
