"""Losses on what layers give: `hint`, `hidden`, `attention` and `minilm`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgestill.errors import ModelError
from edgestill.train.adapters import Adapter, Channels, channels_last, pooled
from edgestill.train.losses.base import Loss, LossInputs
from edgestill.train.losses.config import AttentionLoss, HiddenLoss, HintLoss, MinilmLoss, reads_of
from edgestill.train.voices import role_of


class Hint(Loss):
    """Distance of a student's feature from a teacher's, `[b, c, ...]` or `[b, t, c]`.

    `mse` is `|| s - t ||^2 / || t ||^2` of each sample, so 1 for a student that gives zeros,
    whatever the teacher's scale; `cosine` is one minus the cosine of the channels at each position.
    The mean over samples; padding does not count. An adapter makes up for other channels,
    resolutions or tokens (Romero et al., "FitNets", 2015, equation 3). Use it to make a thin
    student find the features that its teacher found, most of all when data are few.
    """

    def __init__(self, config: HintLoss, task: str) -> None:
        del task
        super().__init__(f"hint {config.student}", config.weight, reads_of(config))
        self.distance = config.distance
        self.channels: Channels | None = config.channels
        self.adapter: Adapter | None = None

    def adapt(self, example: LossInputs) -> str | None:
        student, teacher = self._features(example)
        role = role_of(self.reads.teacher[0].teacher)
        self.adapter = Adapter(student, teacher, role).to(student.device)
        return self.adapter.words and f"{self.name}: {self.adapter.words}"

    def forward(self, inputs: LossInputs) -> Tensor:
        assert self.adapter is not None, "adapt() comes before the first step"
        student, teacher = self.adapter(*self._features(inputs))
        counted = student.new_ones(student.shape[:2])
        if inputs.attended is not None and inputs.attended.shape == counted.shape:
            counted = inputs.attended.to(student.dtype)
        if self.distance == "cosine":
            product = (student * teacher).sum(2)
            apart = 1 - product * _inverse_length(student) * _inverse_length(teacher)
            terms = (apart * counted).sum(1) / counted.sum(1).clamp(min=1)
        else:
            error = ((student - teacher).pow(2).sum(2) * counted).sum(1)
            power = (teacher.pow(2).sum(2) * counted).sum(1)
            # Of a teacher that is silent, as dead units are, there is no scale to measure by.
            terms = error / torch.where(power > 0, power, student[0].numel())
        mean: Tensor = terms.mean()
        return mean

    def _features(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        student, teacher = self.pair(inputs)
        return channels_last(student, self.channels), channels_last(teacher, self.channels)


def _inverse_length(feature: Tensor) -> Tensor:
    """Of the channels `[b, t, c]` at each position, `[b, t]`; 1 where all are zero.

    A third of the time of functional.cosine_similarity, whose gradient at zeros is 1e8.
    """
    power = feature.pow(2).sum(2)
    return torch.where(power > 0, power, 1.0).rsqrt()


class HiddenStates(Loss):
    """The mean of `hint` over pairs of layers of two transformers, each with its own adapter.

    `[b, t, c]` each (Jiao et al., "TinyBERT", 2020, equation 8). A map that spreads the student's
    layers evenly over the teacher's is the usual choice. Use it where the student is a
    transformer that is too small to be initialised from its teacher.
    """

    def __init__(self, config: HiddenLoss, task: str) -> None:
        super().__init__(f"hidden {config.student}", config.weight, reads_of(config))
        pairs = [
            HintLoss(f"{config.student}.{own}", f"{config.teacher}.{other}", 1.0, config.distance)
            for own, other in config.map.items()
        ]
        self.hints = nn.ModuleList(Hint(pair, task) for pair in pairs)

    def adapt(self, example: LossInputs) -> str | None:
        words = [hint.adapt(example) for hint in self.hints if isinstance(hint, Hint)]
        return "; ".join(word for word in words if word) or None

    def forward(self, inputs: LossInputs) -> Tensor:
        return torch.stack([hint(inputs) for hint in self.hints]).mean()


class Attention(Loss):
    """`|| a_s / |a_s| - a_t / |a_t| ||^2`, `a` being a feature's attention map as one vector.

    Features `[b, c, h, w]`; the map is the mean of squares over channels, so other channels need no
    adapter, and the finer of two maps is averaged down. The mean over samples, 0 to 2
    (Zagoruyko and Komodakis, "Paying More Attention to Attention", 2017, equation 2, squared as in
    their code, which divides it by the number of positions too). Use it beside `kd` on
    convolutional pairs; it is cheap, and a cache of it is small.
    """

    def __init__(self, config: AttentionLoss, task: str) -> None:
        del task
        super().__init__(f"attention {config.student}", config.weight, reads_of(config))

    def forward(self, inputs: LossInputs) -> Tensor:
        student, teacher = self.pair(inputs)
        if student.shape != teacher.shape:
            grid = (
                min(student.shape[1], teacher.shape[1]),
                min(student.shape[2], teacher.shape[2]),
            )
            student, teacher = pooled(student, grid), pooled(teacher, grid)
        apart = functional.normalize(student.flatten(1)) - functional.normalize(teacher.flatten(1))
        return apart.pow(2).sum(1).mean()


class AttentionRelations(Loss):
    """`KL(R_t || R_s)` of queries, of keys and of values, summed.

    `R = softmax(X X^T / sqrt(d))` of each of `heads` slices of width `d`, `[b, heads, t, t]`, so
    neither widths nor heads of the two need agree. The mean over samples, heads and tokens;
    padding neither relates nor counts (Wang et al., "MiniLMv2", 2021, equations 5 to 7). Use it
    alone, on the last layer of the student and a late one of the teacher, to distil a transformer
    on any text before it learns a task.
    """

    def __init__(self, config: MinilmLoss, task: str) -> None:
        del task
        super().__init__(f"minilm {config.student}", config.weight, reads_of(config))
        self.heads = config.heads

    def adapt(self, example: LossInputs) -> str | None:
        (own,), (other,) = self.reads.student, self.reads.teacher
        for role, tap, feature in zip(
            ("student", role_of(other.teacher)), (own, other), self.pair(example), strict=True
        ):
            width = feature.shape[-1]
            if width % self.heads:
                raise ModelError(
                    f"{self.heads} heads do not divide the width {width}",
                    where=f"layer {tap.layer} of the {role}",
                    fix=f"Set heads to a number that divides {width}",
                )
        return None

    def forward(self, inputs: LossInputs) -> Tensor:
        student, teacher = (
            self._relations(feature, inputs.attended) for feature in self.pair(inputs)
        )
        divergence = (teacher.exp() * (teacher - student)).sum(-1)  # [b, 3, heads, t]
        if inputs.attended is None:
            return divergence.mean((0, 2, 3)).sum()
        counted = inputs.attended.to(divergence.dtype)[:, None, None, :]
        of_heads = (divergence * counted).sum(-1) / counted.sum(-1).clamp(min=1)
        total: Tensor = of_heads.mean((0, 2)).sum()
        return total

    def _relations(self, projections: Tensor, attended: Tensor | None) -> Tensor:
        """Log-probabilities `[b, 3, heads, t, t]` from `[b, 3, t, c]`."""
        heads = projections.reshape(*projections.shape[:3], self.heads, -1).transpose(2, 3)
        scores = heads @ heads.transpose(-1, -2) / math.sqrt(heads.shape[-1])
        if attended is not None:
            # Not minus infinity: infinity times a probability of 0 is NaN.
            scores = scores.masked_fill(~attended.bool()[:, None, None, None, :], -1e4)
        return scores.log_softmax(dim=-1)
