"""Views: how a sample looks in an epoch, as a function of the sample and the view's number alone.

Kept answers of a teacher stay true only if the view of a sample can be made again. So nothing here
draws from a generator whose state depends on what came before: every choice is a hash of the
sample's id, the view's number and a seed, and even the image that is mixed in is chosen so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edgestill.digest import digest_value
from edgestill.errors import ModelError
from edgestill.extras import require
from edgestill.train.config import AugmentConfig
from edgestill.train.predict import Arrays, placed, to_tensors

Ids = NDArray[numpy.uint64]
Rows = NDArray[numpy.int64]
Uniform = NDArray[numpy.float64]

_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class View:
    """A batch as both models see it.

    Attributes:
        inputs: each `[b, ...]`.
        partners: the rows of the samples that were mixed in; None without mixing.
        share: `[b] float32`, how much of each sample is its own; None without mixing.
    """

    inputs: list[Tensor]
    partners: Rows | None = None
    share: Tensor | None = None


class Views:
    """Makes views of the samples of one split.

    Args:
        arrays: the inputs, each `[n, ...]`.
        ids: each sample's hash, `[n]`.

    Raises:
        ModelError: not exactly one input is an image, or a crop that leaves nothing of it.
    """

    def __init__(self, config: AugmentConfig | None, arrays: Arrays, ids: Ids) -> None:
        self.config = config
        self.arrays = arrays
        self.ids = ids
        if config is not None:
            self.image, self.channels_first = _image(arrays)
            shape = list(arrays.values())[self.image].shape
            side = min(shape[2:] if self.channels_first else shape[1:3])
            if config.crop >= side:
                raise ModelError(
                    f"crop adds {config.crop} pixels to each side of images of {side}",
                    where="augment.crop",
                    fix="An eighth of the image is usual: much more leaves nothing but border",
                )

    @property
    def mixed_input(self) -> str | None:
        """The input whose values are blended from two samples, which makes floats of them."""
        if self.config is None or not (self.config.mixup or self.config.cutmix):
            return None
        return list(self.arrays)[self.image]

    def of(self, rows: Rows, view: int, device: torch.device) -> View:
        """The samples of `rows` in their view number `view`."""
        inputs = to_tensors(self.arrays, rows, device)
        config = self.config
        if config is None:
            return View(inputs)
        images = self._moved(inputs[self.image], rows, view)
        if self.mixed_input is None:
            inputs[self.image] = self._as_stored(images)
            return View(inputs)
        partners = (self._uniform(rows, view, "partner") * len(self.ids)).astype(numpy.int64)
        name = self.mixed_input
        (others,) = to_tensors({name: self.arrays[name]}, partners, device)
        others = self._moved(others, partners, view)
        mixed, share = self._mixed(images.float(), others.float(), rows, view)
        inputs[self.image] = self._as_stored(mixed)
        return View(inputs, partners, share)

    def _moved(self, images: Tensor, rows: Rows, view: int) -> Tensor:
        """Cut and flipped, `[b, c, h, w]`."""
        assert self.config is not None
        if not self.channels_first:
            images = images.movedim(-1, 1)
        pad = self.config.crop
        if pad:
            corners = [self._uniform(rows, view, word) for word in ("down", "right")]
            moved = (numpy.stack(corners) * (2 * pad + 1)).astype(numpy.int64)
            down, right = placed(moved, images.device)
            height, width = images.shape[2:]
            padded = functional.pad(images, (pad, pad, pad, pad))
            windows = padded.unfold(2, height, 1).unfold(3, width, 1)
            images = windows[torch.arange(len(rows), device=images.device), :, down, right]
        if self.config.flip:
            flipped = placed(self._uniform(rows, view, "flip") < 0.5, images.device)
            flipped = flipped[:, None, None, None]
            images = torch.where(flipped, images.flip(3), images)
        return images

    def _mixed(
        self, images: Tensor, others: Tensor, rows: Rows, view: int
    ) -> tuple[Tensor, Tensor]:
        """Blends or patchworks, and how much of each sample is its own."""
        assert self.config is not None
        mixup, cutmix = self.config.mixup, self.config.cutmix
        blend = numpy.full(len(rows), bool(mixup))
        if mixup and cutmix:
            blend = self._uniform(rows, view, "which") < 0.5
        alphas = numpy.where(blend, mixup or 1.0, cutmix or 1.0)
        special = require("scipy.special", extra="build")
        share = special.betaincinv(alphas, alphas, self._uniform(rows, view, "share"))
        cut = self._boxes(rows, view, share, images.shape[2:])
        share = numpy.where(blend, share, 1 - cut.mean((1, 2), dtype=numpy.float32))
        own = placed(share.astype(numpy.float32), images.device)
        blended = placed(blend, images.device)[:, None, None, None]
        weight = own[:, None, None, None]
        patched = torch.where(placed(cut, images.device)[:, None], others, images)
        return torch.where(blended, weight * images + (1 - weight) * others, patched), own

    def _boxes(
        self, rows: Rows, view: int, share: Uniform, size: torch.Size
    ) -> NDArray[numpy.bool_]:
        """For cutmix, which pixels `[b, h, w]` come from the other image: a box around a point.

        (Yun et al., "CutMix", 2019, equation 2; the part beyond the border is lost.)
        """
        inside = []
        for word, length in zip(("row", "column"), size, strict=True):
            centre = self._uniform(rows, view, word) * length
            half = length * numpy.sqrt(1 - share) / 2
            at = numpy.arange(length) + 0.5
            inside.append(numpy.abs(at - centre[:, None]) < half[:, None])
        return inside[0][:, :, None] & inside[1][:, None, :]

    def _as_stored(self, images: Tensor) -> Tensor:
        return images if self.channels_first else images.movedim(1, -1)

    def _uniform(self, rows: Rows, view: int, word: str) -> Uniform:
        """A number of [0, 1) for each sample, view and use."""
        assert self.config is not None
        salt = digest_value([self.config.seed, view, word])
        mixed = _scrambled(self.ids[rows] ^ numpy.uint64(int(salt[:16], 16)))
        return (mixed >> numpy.uint64(11)).astype(numpy.float64) * 2.0**-53


def require_whole_labels(config: AugmentConfig | None, labels: NDArray[Any] | None) -> None:
    """Refuse labels of pixels, which would stay where they are while the image moves.

    Raises:
        ModelError: labels have positions.
    """
    if config is not None and labels is not None and labels.ndim > 2:
        raise ModelError(
            f"augment moves pixels, and the labels {list(labels.shape[1:])} of a sample belong to "
            "positions",
            where="augment",
            fix="Leave augment out, or augment in the data that you bring",
        )


def _scrambled(numbers: Ids) -> Ids:
    """SplitMix64's output function (Steele, Lea and Flood, 2014): every bit moves every bit."""
    numbers = numbers + numpy.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> numpy.uint64(31))


def _image(arrays: Arrays) -> tuple[int, bool]:
    """The position of the one input that is an image, and whether its channels come first."""
    found = [
        (position, array.shape[1] in _CHANNELS)
        for position, array in enumerate(arrays.values())
        if array.ndim == 4 and (array.shape[1] in _CHANNELS or array.shape[3] in _CHANNELS)
    ]
    if len(found) != 1:
        shapes = ", ".join(f"{name} {list(array.shape[1:])}" for name, array in arrays.items())
        raise ModelError(
            f"augment needs one image among the inputs, and {len(found)} of them are: {shapes}",
            where="augment",
            fix="An image is [channels, height, width] or [height, width, channels] with 1, 3 or 4 "
            "channels. Leave augment out for other data",
        )
    return found[0]
