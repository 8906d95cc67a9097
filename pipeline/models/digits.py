"""The models of the `digits` preset: handwritten digits, `image` `[b, 1, 8, 8]`."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DigitsNet(nn.Module):
    """3x3 convolutions with batch normalisation, the mean of each channel, a linear layer:
    `[b, 1, 8, 8] float32` to `[b, 10] float32`.

    Convolution, normalisation and ReLU in a row fuse into one int8 operation on every target.
    """

    def __init__(self, widths: tuple[int, ...], strides: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for width, stride in zip(widths, strides, strict=True):
            layers.append(_convolution(channels, width, stride))
            channels = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(channels, 10)

    def forward(self, image: Tensor) -> Tensor:
        features = self.body(image)
        logits: Tensor = self.head(torch.mean(features, dim=(2, 3)))
        return logits


def _convolution(channels: int, width: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )


def teacher() -> nn.Module:
    """0.56 M parameters, 8.8 M multiplications an image."""
    return DigitsNet((64, 96, 192, 192), (1, 2, 1, 1))


def student() -> nn.Module:
    """0.024 M parameters, 0.38 M multiplications an image."""
    return DigitsNet((16, 32, 64), (1, 2, 1))
