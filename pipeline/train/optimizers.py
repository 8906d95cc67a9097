"""The optimizer, its learning rate and the moving average of what it trains."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from edgestill.errors import ModelError
from edgestill.train.config import TrainConfig

Tensors = Sequence[Tensor]

# Of one_cycle: the first rate and the last, as parts of the highest.
_FIRST, _LAST = 1 / 25, 1e-4
_DROPS = (5 / 8, 6 / 8, 7 / 8)


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW or SGD over what is trained; biases and normalisation parameters are not decayed.

    Raises:
        ModelError: nothing is trained.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise ModelError(
            "the model has no trainable parameters", fix="Give it weights, or leave out train"
        )
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate)
    return torch.optim.SGD(
        groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0
    )


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """The rate at `step` of `steps`.

    `cosine`: a linear rise over the warm-up, then half a cosine to zero (Loshchilov and Hutter,
    "SGDR", 2017, equation 5, without restarts). `one_cycle`: half a cosine up, half a cosine down
    (Smith and Topin, "Super-Convergence", 2019). `step` and `constant`: after a linear rise.
    """
    warmup = round(config.warmup * steps)
    highest = config.learning_rate
    after = (step - warmup) / max(1, steps - warmup)
    if config.schedule == "one_cycle":
        if step < warmup:
            return _between(_FIRST, 1.0, step / warmup) * highest
        return _between(1.0, _LAST, after) * highest
    if step < warmup:
        return highest * (step + 1) / warmup
    if config.schedule == "cosine":
        return highest * 0.5 * (1 + math.cos(math.pi * after))
    if config.schedule == "step":
        return highest * 0.1 ** sum(step >= drop * steps for drop in _DROPS)
    return highest


def _between(first: float, last: float, share: float) -> float:
    return first + (last - first) * 0.5 * (1 - math.cos(math.pi * share))


def make_average(model: nn.Module, decay: float) -> AveragedModel:
    """A moving average of `model`'s weights and buffers.

    The decay rises to `decay` with the number of updates, (1 + n) / (10 + n), so that the first
    weights are soon forgotten.
    """

    def average(averages: Tensors, values: Tensors, _: Tensor | int) -> None:
        # Not the number that is given, which is on the device and would be waited for.
        count = int(averaged.n_averaged)
        weight = 1 - min(decay, (1 + count) / (10 + count))
        for own, value in zip(averages, values, strict=True):
            if own.is_floating_point():
                own.lerp_(value.to(own.dtype), weight)
            else:
                own.copy_(value)

    averaged = AveragedModel(model, multi_avg_fn=average, use_buffers=True)
    return averaged
