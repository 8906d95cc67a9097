"""Two features brought to one form, so that they can be compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from edgestill.errors import ModelError
from edgestill.train.voices import TEACHER

Channels = Literal["first", "last"]


def channels_last(feature: Tensor, channels: Channels | None = None) -> Tensor:
    """`[b, ..., c]`; by default channels are axis 1 of an image's feature, else the last axis.

    A signal `[b, c, t]`, of which `channels` says so, becomes an image of height 1, `[b, 1, t, c]`:
    its positions lie in a line, where those of a sequence may be an image's.
    """
    first = channels == "first" or (channels is None and feature.ndim >= 4)
    if not first or feature.ndim == 2:
        return feature
    last = feature.movedim(1, -1)
    return last.unsqueeze(1) if last.ndim == 3 else last


class Adapter(nn.Module):
    """Brings a student's feature to a teacher's channels, and both to one grid of positions.

    Learnt is only the linear map of channels (on images, a convolution of 1x1), where their numbers
    differ; `one_grid` does the rest.

    Args:
        student: `[b, ..., c_s]`, an example with channels last.
        teacher: `[b, ..., c_t]`.
        role: what messages call the teacher.

    Attributes:
        words: what had to be brought together; None for nothing.

    Raises:
        ModelError: a sequence whose positions are no image's, beside an image's feature.
    """

    def __init__(self, student: Tensor, teacher: Tensor, role: str = TEACHER) -> None:
        super().__init__()
        positions = one_grid(student, teacher)[0].shape[1]
        widths = student.shape[-1], teacher.shape[-1]
        self.project: nn.Module = nn.Identity()
        self.words: str | None = None
        if student.shape != teacher.shape:
            own, other = (list(feature.shape[1:]) for feature in (student, teacher))
            one = "1 position" if positions == 1 else f"{positions} positions"
            self.words = f"{own} and the {role}'s {other} meet at {one}"
        if widths[0] != widths[1]:
            self.project = nn.Linear(*widths, bias=False)
            self.words = f"{self.words}, a linear map takes {widths[0]} channels to {widths[1]}"

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Both `[b, positions, c_t]`."""
        student, teacher = one_grid(student, teacher)
        return self.project(student), teacher


def one_grid(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Two features `[b, ..., c]` as `[b, positions, c]` with equal positions.

    The finer one is averaged down to the coarser. A feature without positions meets the mean of the
    other's. A sequence beside an image's feature, or beside a sequence of another length, is read
    as an image, row by row, and a class token before it is left out.

    Raises:
        ModelError: a sequence whose positions are no image's, beside an image's feature.
    """
    if min(first.ndim, second.ndim) == 2:
        first, second = _mean(first), _mean(second)
    if first.shape[1:-1] != second.shape[1:-1]:
        images = _as_image(first, second), _as_image(second, first)
        if images[0].ndim == images[1].ndim:  # else two sequences, of which one is no image
            first, second = images
    if first.ndim != second.ndim:
        raise _apart(first, second)
    grid = tuple(map(min, first.shape[1:-1], second.shape[1:-1]))
    return pooled(first, grid).flatten(1, -2), pooled(second, grid).flatten(1, -2)


def _mean(feature: Tensor) -> Tensor:
    return feature.unsqueeze(1) if feature.ndim == 2 else feature.flatten(1, -2).mean(1, True)


def _as_image(sequence: Tensor, other: Tensor) -> Tensor:
    """`[b, h, w, c]` of a sequence `[b, t, c]` that is an image, with or without a class token."""
    if sequence.ndim != 3:
        return sequence
    tokens = sequence.shape[1]
    for extra in (0, 1):
        grid: tuple[int, ...] = other.shape[1:-1]
        side = math.isqrt(tokens - extra)
        if len(grid) == 1 or tokens - extra != math.prod(grid):
            grid = (side, side)
        if tokens > extra and tokens - extra == math.prod(grid):
            return _unflattened(sequence[:, extra:], grid)
    return sequence


def _unflattened(sequence: Tensor, grid: tuple[int, ...]) -> Tensor:
    return sequence.reshape(len(sequence), *grid, sequence.shape[-1])


def pooled(feature: Tensor, grid: Sequence[int]) -> Tensor:
    """`[b, *positions, ...]` averaged down to the positions of `grid`.

    As adaptive pooling has it, whose gradient is not the same each time on a GPU.
    """
    for axis, size in enumerate(grid, start=1):
        length = feature.shape[axis]
        if length % size:
            windows = _windows(length, size).to(feature)
            feature = (feature.movedim(axis, -1) @ windows).movedim(-1, axis)
        elif length != size:
            before, after = feature.shape[:axis], feature.shape[axis + 1 :]
            feature = feature.reshape(*before, size, length // size, *after).mean(axis + 1)
    return feature


def _windows(length: int, size: int) -> Tensor:
    """`[length, size]`, the share of each position in each mean: windows overlap by one at most."""
    first = torch.arange(size) * length // size
    end = -(-(torch.arange(size) + 1) * length // size)
    position = torch.arange(length).unsqueeze(1)
    return ((position >= first) & (position < end)) / (end - first)


def _apart(first: Tensor, second: Tensor) -> ModelError:
    shapes = " and ".join(str(list(feature.shape[1:])) for feature in (first, second))
    return ModelError(
        f"features of {shapes} a sample (channels last) cannot be brought together",
        fix="Compare layers with alike positions, or say where channels lie with channels:",
    )
