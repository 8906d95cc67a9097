"""What can be made narrower, and how: each kind of layer with its channels and its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

# These have a channel count of their own; convolutions of one input channel per group have not.
SCALED = (_ConvNd, nn.Linear)
# These take the channels that they get.
FOLLOWING = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.PReLU)


@dataclass(frozen=True)
class Slice:
    """What stays of a layer.

    Attributes:
        inputs: the input channels that stay, in order.
        outputs: the output channels that stay, in order.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def follows(layer: nn.Module) -> bool:
    """Whether a layer has as many channels as it gets: norms, depthwise convolutions."""
    return isinstance(layer, FOLLOWING) or (
        isinstance(layer, _ConvNd) and 1 < layer.groups == layer.in_channels
    )


def groups_of(layer: nn.Module) -> int:
    """Into how many groups of equal size it divides its channels."""
    if isinstance(layer, (_ConvNd, nn.GroupNorm)):
        count: int = layer.groups if isinstance(layer, _ConvNd) else layer.num_groups
        return 1 if count == channels_in(layer) else count
    return 1


def channels_in(layer: nn.Module) -> int:
    """How many channels it takes."""
    if isinstance(layer, _ConvNd):
        return layer.in_channels
    if isinstance(layer, nn.Linear):
        return layer.in_features
    if isinstance(layer, nn.GroupNorm):
        return layer.num_channels
    if isinstance(layer, nn.LayerNorm):
        return layer.normalized_shape[-1]
    assert isinstance(layer, (_NormBase, nn.PReLU))
    return layer.num_features if isinstance(layer, _NormBase) else layer.num_parameters


def channels_out(layer: nn.Module) -> int:
    """How many channels it gives."""
    if isinstance(layer, _ConvNd):
        return layer.out_channels
    return layer.out_features if isinstance(layer, nn.Linear) else channels_in(layer)


def channel_axis(layer: nn.Module) -> int:
    """Where its inputs and outputs have their channels."""
    return -1 if isinstance(layer, (nn.Linear, nn.LayerNorm)) else 1


def cut(layer: nn.Module, kept: Slice) -> None:
    """Take the channels that do not stay out of a layer and its weights, in place.

    A sum over fewer channels is smaller: weights grow by as much, as in dropout, so that what comes
    out keeps its size and the batch statistics their meaning.
    """
    inputs, outputs = torch.tensor(kept.inputs), torch.tensor(kept.outputs)
    growth = channels_in(layer) / len(inputs)
    if isinstance(layer, _ConvNd):
        _cut_convolution(layer, inputs, outputs, growth)
    elif isinstance(layer, nn.Linear):
        _replace(layer, "weight", layer.weight[outputs][:, inputs] * growth)
        _replace(layer, "bias", layer.bias if layer.bias is None else layer.bias[outputs])
        layer.in_features, layer.out_features = len(inputs), len(outputs)
    elif isinstance(layer, _NormBase):
        for name in ("weight", "bias", "running_mean", "running_var"):
            tensor = getattr(layer, name)
            _replace(layer, name, tensor if tensor is None else tensor[inputs])
        layer.num_features = len(inputs)
    elif isinstance(layer, nn.PReLU):
        _replace(layer, "weight", layer.weight[inputs])
        layer.num_parameters = len(inputs)
    else:
        assert isinstance(layer, (nn.GroupNorm, nn.LayerNorm))
        for name in ("weight", "bias"):
            tensor = getattr(layer, name)
            _replace(layer, name, tensor if tensor is None else tensor[inputs])
        if isinstance(layer, nn.LayerNorm):
            layer.normalized_shape = (len(inputs),)
        else:
            if layer.num_groups == layer.num_channels:
                layer.num_groups = len(inputs)
            layer.num_channels = len(inputs)


def _cut_convolution(layer: _ConvNd, inputs: Tensor, outputs: Tensor, growth: float) -> None:
    """The weight is `[out, in / groups, ...]`, of transposed ones `[in, out / groups, ...]`."""
    transposed = isinstance(layer, _ConvTransposeNd)
    first, second = (inputs, outputs) if transposed else (outputs, inputs)
    weight = layer.weight
    if follows(layer):
        weight, groups = weight[first], len(inputs)
    else:
        groups = layer.groups
        blocks = weight.reshape(groups, -1, *weight.shape[1:])
        rows = first.reshape(groups, -1) % blocks.shape[1]
        columns = second.reshape(groups, -1) % weight.shape[1]
        parts = [growth * block[r][:, c] for block, r, c in zip(blocks, rows, columns, strict=True)]
        weight = torch.cat(parts)
    _replace(layer, "weight", weight)
    _replace(layer, "bias", layer.bias if layer.bias is None else layer.bias[outputs])
    layer.in_channels, layer.out_channels, layer.groups = len(inputs), len(outputs), groups


def _replace(layer: nn.Module, name: str, tensor: Tensor | None) -> None:
    if tensor is None:
        return
    old = getattr(layer, name)
    new = tensor.detach().clone()
    if isinstance(old, nn.Parameter):
        setattr(layer, name, nn.Parameter(new, requires_grad=old.requires_grad))
    else:
        setattr(layer, name, new)


def equal_parts(kept: Sequence[int], channels: int, groups: int) -> bool:
    """Whether as many of each group of `channels` are kept."""
    size = channels // groups
    counts = [sum(channel // size == group for channel in kept) for group in range(groups)]
    return len(set(counts)) == 1 and counts[0] > 0
