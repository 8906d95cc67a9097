"""Classifiers on the student's own layers, which its last layer teaches."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from edgestill.errors import ModelError
from edgestill.train.adapters import Channels, channels_last
from edgestill.train.losses.base import Loss, LossInputs, Outputs
from edgestill.train.losses.config import CeLoss, HeadsLoss, KdLoss, reads_of
from edgestill.train.losses.logits import CrossEntropy, Distillation


class Heads(Loss):
    """`(1 - alpha) ce(h, labels) + alpha kd(h, z)`, the mean over the heads h.

    A head is a linear map from the mean over positions of a layer's output, `[b, c, ...]` or
    `[b, t, c]`, to the shape of the student's prediction z, `[b, c]`, from which no gradient comes
    back; padding does not count. `ce` and `kd` are the losses of these names. Heads are learnt with
    the student and thrown away after it. So early layers learn to tell the classes apart, without
    any other teacher (Zhang et al., "Be Your Own Teacher", 2019; theirs adds the heads up, puts
    convolutions before them, and brings features together too, which `hint` does). Without labels
    a head learns from z alone, as if alpha were 1.
    """

    def __init__(self, config: HeadsLoss, task: str) -> None:
        super().__init__("heads", config.weight, reads_of(config))
        self.alpha = config.alpha
        self.channels: Channels | None = config.channels
        self.of_labels = CrossEntropy(CeLoss(), task)
        self.of_prediction = Distillation(KdLoss(temperature=config.temperature), task)
        self.heads = nn.ModuleList()

    def adapt(self, example: LossInputs) -> str | None:
        prediction = example.student.logits
        if prediction.ndim > 2:
            raise ModelError(
                f"a head classifies a whole sample, and the student predicts "
                f"{list(prediction.shape[1:])}",
                where="the loss heads",
                fix="Leave heads out where each token or pixel is classified",
            )
        classes = prediction[0].numel()
        pooled = [self._pooled(example, index) for index in range(len(self.reads.student))]
        heads = [nn.Linear(feature.shape[1], classes) for feature in pooled]
        self.heads = nn.ModuleList(heads).to(prediction.device)
        made = zip(self.reads.student, heads, strict=True)
        return "heads: " + ", ".join(f"{tap} {head.in_features} -> {classes}" for tap, head in made)

    def forward(self, inputs: LossInputs) -> Tensor:
        prediction = inputs.student.logits
        taught = replace(inputs, teacher=Outputs(prediction.detach()))
        terms = []
        for index, head in enumerate(self.heads):
            own = Outputs(head(self._pooled(inputs, index)).reshape(prediction.shape))
            terms.append(self._term(replace(taught, student=own)))
        return torch.stack(terms).mean()

    def _term(self, inputs: LossInputs) -> Tensor:
        learnt: Tensor = self.of_prediction(inputs)
        if inputs.labels is None:
            return learnt
        of_labels: Tensor = self.of_labels(inputs)
        return (1 - self.alpha) * of_labels + self.alpha * learnt

    def _pooled(self, inputs: LossInputs, index: int) -> Tensor:
        """The mean over the positions of a layer's output, `[b, c]`."""
        feature = channels_last(inputs.student.features[self.reads.student[index]], self.channels)
        if feature.ndim == 2:
            return feature
        rows = feature.flatten(1, -2)
        if inputs.attended is None or inputs.attended.shape != rows.shape[:2]:
            return rows.mean(1)
        counted = inputs.attended.to(rows.dtype).unsqueeze(2)
        return (rows * counted).sum(1) / counted.sum(1).clamp(min=1)
