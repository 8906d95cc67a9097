"""Fewer channels: each layer keeps a share of its own, and of the others' what reaches it.

Which channels of a layer's input stay is found by one pass in which those that go are NaN: whatever
stands between two layers (activations, pooling, sums, concatenation, flattening) carries them to
the right place, however forward is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import lcm
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.overrides import TorchFunctionMode

from edgestill.errors import ModelError
from edgestill.models.derive.layers import (
    FOLLOWING,
    SCALED,
    Slice,
    channel_axis,
    channels_in,
    channels_out,
    cut,
    equal_parts,
    follows,
    groups_of,
)
from edgestill.models.derive.probe import OWN, Probe, first_tensor

_NETWORKS = "width is for convolutional and fully connected networks"
_FIX = f"Use depth: alone, {OWN}"
# Products of two activations, as in attention.
_PRODUCTS = {
    *(torch.matmul, torch.bmm, torch.baddbmm, torch.einsum, Tensor.matmul, Tensor.bmm),
    *(Tensor.__matmul__, nn.functional.scaled_dot_product_attention),
}


def narrow(probe: Probe, width: float) -> dict[int, int]:
    """Take channels out of every layer but where inputs and outputs are, in place.

    Returns:
        For each number of channels in the teacher that changed, the new one.

    Raises:
        ModelError: the network has layers whose width is not theirs to choose, its channels
            cannot be followed, or nothing changes.
    """
    layers = _scalable(probe.module)
    final = _final_layers(probe, layers)
    try:
        slices, counts = _Pass(probe, layers, final, width, evenly).slices()
    except ModelError as error:
        try:  # where forward reads neighbouring channels as one, such as PixelShuffle
            slices, counts = _Pass(probe, layers, final, width, leading).slices()
        except ModelError:
            raise error from None
    if not counts:
        raise ModelError(
            f"width: {width:g} leaves every layer as it is", fix=f"Try another width, {OWN}"
        )
    for layer, kept in slices.items():
        cut(layer, kept)
    return counts


def evenly(count: int, kept: int) -> tuple[int, ...]:
    """Evenly spread: as many of each half, and of each group, where that is possible."""
    return tuple(index * count // kept for index in range(kept))


def leading(count: int, kept: int) -> tuple[int, ...]:
    """The first."""
    del count
    return tuple(range(kept))


def _scalable(module: nn.Module) -> dict[nn.Module, str]:
    """The layers with weights, by path.

    Raises:
        ModelError: one of them has weights that cannot be made narrower.
    """
    layers: dict[nn.Module, str] = {}
    owners: dict[nn.Parameter, str] = {}
    for path, layer in module.named_modules():
        own = {name: p for name, p in layer._parameters.items() if p is not None}
        where = path or "the model"
        if isinstance(layer, (*SCALED, *FOLLOWING)):
            if is_parametrized(layer) or (isinstance(layer, SCALED) and "weight" not in own):
                raise ModelError(f"the weight of {where} is computed from others", fix=_FIX)
            if isinstance(layer, nn.LayerNorm) and len(layer.normalized_shape) > 1:
                raise ModelError(f"{where} normalises over more than the channels", fix=_FIX)
            layers[layer] = path
        elif own:
            raise ModelError(
                f"{_NETWORKS}; {where} ({type(layer).__name__}) has weights of its own: "
                f"{', '.join(own)}",
                fix=_FIX,
            )
        for parameter in own.values():
            if parameter in owners:
                raise ModelError(f"{owners[parameter]} and {where} share a weight", fix=_FIX)
            owners[parameter] = where
    return layers


def _final_layers(probe: Probe, layers: dict[nn.Module, str]) -> set[nn.Module]:
    """The layers from whose output a way leads to the model's outputs through no other layer."""
    made: dict[Any, nn.Module] = {}

    def watch(layer: nn.Module, _: Any, __: Any, output: Tensor) -> None:
        if output.grad_fn is not None:
            made[output.grad_fn] = layer

    scaled = [layer for layer in layers if not follows(layer)]
    frozen = [p for p in probe.module.parameters() if not p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(parameter.is_floating_point())
    with torch.enable_grad(), probe.watched(scaled, watch):
        ahead = [output.grad_fn for output in probe.run()]
    for parameter in frozen:
        parameter.requires_grad_(False)
    final, seen = set(), set()
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in made:
            final.add(made[node])
        else:
            ahead += [before for before, _ in node.next_functions]
    return final


class _Pass:
    """One pass of the teacher, from which each layer learns what stays of its input.

    Args:
        choose: which channels of a layer stay, given how many there are and how many stay.
    """

    def __init__(
        self,
        probe: Probe,
        layers: dict[nn.Module, str],
        final: set[nn.Module],
        width: float,
        choose: Callable[[int, int], tuple[int, ...]],
    ) -> None:
        self.probe = probe
        self.layers = layers
        self.final = final
        self.width = width
        self.choose = choose
        self.found: dict[nn.Module, Slice] = {}
        # For a number of channels, what the number of those that stay has to be a multiple of.
        self.multiples: dict[int, int] = {}
        self.wanted: dict[int, int] = {}

    def slices(self) -> tuple[dict[nn.Module, Slice], dict[int, int]]:
        """What stays of each layer, and each number of channels that changes with the new one."""
        while True:
            self.found, self.wanted = {}, {}
            self.random = torch.Generator().manual_seed(0)
            with self.probe.watched(list(self.layers), self._watch), _NoProducts():
                self.probe.run()
            if not self.wanted:
                break
            self.multiples |= self.wanted
        counts = {
            channels_out(layer): len(kept.outputs)
            for layer, kept in self.found.items()
            if not follows(layer) and len(kept.outputs) < channels_out(layer)
        }
        return self.found, counts

    def _watch(self, layer: nn.Module, args: Any, kwargs: Any, output: Tensor) -> Tensor:
        given = first_tensor(*args, *kwargs.values())
        assert given is not None
        inputs = self._staying(layer, given)
        if follows(layer):
            size = channels_out(layer) // channels_in(layer)
            outputs = tuple(channel * size + i for channel in inputs for i in range(size))
        elif layer in self.final:
            outputs = tuple(range(channels_out(layer)))
        else:
            count = channels_out(layer)
            multiple = self._multiple(count, groups_of(layer))
            kept = max(1, int(count * self.width / multiple + 0.5)) * multiple
            outputs = self.choose(count, kept)
        if groups_of(layer) > 1:
            self._require_equal(layer, inputs)
        found = Slice(inputs, outputs)
        if self.found.setdefault(layer, found) != found:
            raise ModelError(
                f"{self.layers[layer]} is called several times, and other channels reach it",
                fix=_FIX,
            )
        return self._marked(output, layer, outputs)

    def _staying(self, layer: nn.Module, given: Tensor) -> tuple[int, ...]:
        """The channels of a layer's input that stay."""
        axis = channel_axis(layer)
        if isinstance(layer, nn.PReLU) and layer.num_parameters == 1:
            return (0,)
        gone = given.isnan().movedim(axis, -1).flatten(end_dim=-2).any(0)
        staying = tuple((~gone).nonzero().flatten().tolist())
        if staying:
            return staying
        if given.isnan().all():
            # A mean or a product over all channels: each of them still comes.
            return tuple(range(len(gone)))
        raise ModelError(
            f"{self.layers[layer]} takes parts of channels for channels, or another axis for them",
            fix=f"Try another width, {OWN}",
        )

    def _multiple(self, count: int, groups: int) -> int:
        known = self.multiples.get(count, 1)
        if known % groups:
            known = self.wanted[count] = lcm(groups, known)
        return known

    def _require_equal(self, layer: nn.Module, inputs: Sequence[int]) -> None:
        """Of each group as many channels, or the pass is made anew with numbers that divide."""
        count, groups = channels_in(layer), groups_of(layer)
        if equal_parts(inputs, count, groups):
            return
        if self.multiples.get(count, 1) % groups == 0:
            raise ModelError(
                f"{len(inputs)} channels would reach {self.layers[layer]}, unequally spread "
                f"over its {groups} groups",
                fix=f"Try another width, {OWN}",
            )
        self.wanted[count] = lcm(groups, self.multiples.get(count, 1))

    def _marked(self, output: Tensor, layer: nn.Module, outputs: Sequence[int]) -> Tensor:
        """Something like the output, with NaN in the channels that go."""
        if isinstance(layer, nn.PReLU) and layer.num_parameters == 1:
            return output
        # No zeros, which an activation of the user's could divide by.
        marked = torch.rand(output.shape, generator=self.random).to(output) + 0.5
        axis = channel_axis(layer)
        gone = torch.ones(output.shape[axis], dtype=torch.bool)
        gone[list(outputs)] = False
        marked.movedim(axis, -1)[..., gone] = torch.nan
        return marked


class _NoProducts(TorchFunctionMode):
    """Refuses attention: a product of two activations mixes their channels."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function in _PRODUCTS:
            raise ModelError(
                f"{_NETWORKS}; forward multiplies activations with each other, as attention does "
                f"({getattr(function, '__name__', function)})",
                fix=_FIX,
            )
        return function(*args, **(kwargs or {}))
