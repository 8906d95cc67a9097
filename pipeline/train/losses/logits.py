"""Losses on the models' predictions: `ce`, `kd`, `dkd` and `mse`.

Logits are `[b, c, ...]`: every position after the class axis, such as a token or a pixel, is
classified by itself and counts like a sample.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from edgestill.metrics import IGNORED_LABEL
from edgestill.train.losses.base import Labels, Loss, LossInputs
from edgestill.train.losses.config import CeLoss, DkdLoss, KdLoss, MseLoss, reads_of
from edgestill.train.losses.positions import class_rows, is_binary, paired_rows, rows_of_one
from edgestill.train.losses.temperature import make_temperature, standardized


class CrossEntropy(Loss):
    """Cross-entropy with the labels, the mean over all that have one.

    `[b, c, ...]` logits with `[b, ...]` class numbers (the ignored label counts for nothing), or
    `[b, k]` logits with `[b, k]` zeros and ones for multi-label tasks, where label smoothing
    moves targets towards one half. Of mixed samples each label counts by its share (Zhang et al.,
    "mixup", 2018). Use it wherever labels exist; beside `kd` with a low weight.
    """

    def __init__(self, config: CeLoss, task: str) -> None:
        super().__init__("ce", config.weight, reads_of(config))
        self.label_smoothing = config.label_smoothing
        self.task = task

    def forward(self, inputs: LossInputs) -> Tensor:
        assert inputs.labels is not None
        logits, labels = inputs.student.logits, inputs.labels
        terms, known = cross_entropies(logits, labels, self.task, self.label_smoothing)
        # Not a mean: that is NaN where a batch has no label at all.
        return terms.sum() / known.sum().clamp(min=1)


def cross_entropies(
    logits: Tensor, labels: Labels, task: str, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Each label's term, 0 for ignored ones, and how much of it is known: 0 or 1, or between them
    where a label was mixed with an ignored one.

    Both `[b, ...]` for classes, and as the logits where each is a yes or no.
    """
    terms, known = _cross_entropies(logits, labels.own, task, smoothing)
    if labels.partner is not None and labels.share is not None:
        others, others_known = _cross_entropies(logits, labels.partner, task, smoothing)
        share = labels.share.reshape(-1, *[1] * (terms.ndim - 1))
        terms = share * terms + (1 - share) * others
        known = share * known + (1 - share) * others_known
    return terms, known


def _cross_entropies(
    logits: Tensor, labels: Tensor, task: str, smoothing: float
) -> tuple[Tensor, Tensor]:
    known = labels != IGNORED_LABEL
    if is_binary(logits, task):
        known = known.reshape(logits.shape)
        targets = torch.where(known, labels.reshape(logits.shape), 0).to(logits.dtype)
        targets = targets * (1 - smoothing) + smoothing / 2
        terms = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return terms * known, known.to(logits.dtype)
    # Row by row: on a GPU PyTorch warns that the terms of whole images may differ each time.
    terms = functional.cross_entropy(
        class_rows(logits, task),
        labels.reshape(-1).long(),
        ignore_index=IGNORED_LABEL,
        label_smoothing=smoothing,
        reduction="none",
    )
    return terms.reshape(labels.shape), known.to(logits.dtype)


class Distillation(Loss):
    """`T^2 KL(softmax(teacher / T) || softmax(student / T))`, the mean over samples.

    `[b, c, ...]` logits. For multi-label tasks each logit is a distribution over yes and no,
    summed over the labels. T^2 keeps the gradient's size when the temperature changes (Hinton,
    Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2.1).
    `standardize` takes z-scores over the classes first, so that a student need not copy the
    teacher's range (Sun et al., "Logit Standardization in Knowledge Distillation", 2024; their code
    takes the deviation over c - 1, a temperature higher by sqrt(c / (c - 1))); weights are then
    higher, about 9 to 1 of `ce`. The first choice for classification.
    """

    def __init__(self, config: KdLoss, task: str) -> None:
        super().__init__("kd", config.weight, reads_of(config))
        self.standardize = config.standardize
        self.temperature = make_temperature(config.temperature)
        self.task = task

    def forward(self, inputs: LossInputs) -> Tensor:
        student, teacher = paired_rows(inputs, self.task)
        if self.standardize:
            student, teacher = standardized(student), standardized(teacher)
        temperature: Tensor | float = self.temperature(inputs.progress)
        divergence = functional.kl_div(
            functional.log_softmax(student / temperature, dim=1),
            functional.log_softmax(teacher / temperature, dim=1),
            reduction="sum",
            log_target=True,
        )
        rows = len(student) / rows_of_one(inputs.student.logits, self.task)
        return divergence * temperature**2 / max(1, rows)


class DecoupledDistillation(Loss):
    """`T^2 (alpha KL(b_t || b_s) + beta KL(q_t || q_s))`, the mean over samples.

    `b` is the probability of the label against all others, `q` the distribution over the others
    alone; plain `kd` ties beta to how unsure the teacher is, which mutes what a good teacher
    knows about the other classes (Zhao et al., "Decoupled Knowledge Distillation", 2022, equations
    4 to 7). `[b, c, ...]` logits with `[b, ...]` labels; positions without a label do not count,
    and of mixed samples each label counts by its share. Of multi-label tasks each logit is two
    classes, summed over the labels. Use it where the teacher is much stronger than the student,
    with a warm-up of its weight.
    """

    def __init__(self, config: DkdLoss, task: str) -> None:
        super().__init__("dkd", config.weight, reads_of(config))
        self.alpha = config.alpha
        self.beta = config.beta
        self.standardize = config.standardize
        self.temperature = make_temperature(config.temperature)
        self.task = task

    def forward(self, inputs: LossInputs) -> Tensor:
        assert inputs.teacher is not None and inputs.labels is not None
        student = class_rows(inputs.student.logits, self.task)
        teacher = class_rows(inputs.teacher.logits, self.task)
        if self.standardize:
            student, teacher = standardized(student), standardized(teacher)
        temperature: Tensor | float = self.temperature(inputs.progress)
        student, teacher = student / temperature, teacher / temperature
        labels = inputs.labels
        terms, known = self._terms(student, teacher, labels.own.reshape(-1))
        if labels.partner is not None and labels.share is not None:
            others, others_known = self._terms(student, teacher, labels.partner.reshape(-1))
            share = labels.share.repeat_interleave(len(terms) // len(labels.share))
            terms = share * terms + (1 - share) * others
            known = share * known + (1 - share) * others_known
        rows = (known.sum() / rows_of_one(inputs.student.logits, self.task)).clamp(min=1)
        return terms.sum() * temperature**2 / rows

    def _terms(self, student: Tensor, teacher: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Each row's term, 0 for ignored ones, and whether its label is known."""
        known = labels != IGNORED_LABEL
        label = torch.where(known, labels, 0).long()
        target_student, rest_student = _split(student, label)
        target_teacher, rest_teacher = _split(teacher, label)
        target = target_teacher.exp() * (target_teacher - target_student)
        # In the label's own column `rest` is no probability.
        of_rest = rest_teacher.exp().scatter(1, label.unsqueeze(1), 0.0)
        rest = of_rest * (rest_teacher - rest_student)
        terms = self.alpha * target.sum(1) + self.beta * rest.sum(1)
        return terms * known, known.to(terms.dtype)


def _split(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of label and not-label `[n, 2]`, and among the other classes `[n, c]`."""
    column = label.unsqueeze(1)
    others = logits.scatter(1, column, -math.inf).logsumexp(dim=1, keepdim=True)
    binary = torch.cat([logits.gather(1, column), others], dim=1)
    return functional.log_softmax(binary, dim=1), logits - others


class SquaredError(Loss):
    """Mean squared error of the prediction to the labels, or to the teacher's prediction.

    Both `[b, ...]`. Use it for regression; on logits it is the T -> infinity limit of `kd` up to a
    factor (Hinton et al. 2015, section 2.1; Kim et al., "Comparing KL Divergence and MSE Loss in
    Knowledge Distillation", 2021). Labels of mixed samples are mixed by their shares.
    """

    def __init__(self, config: MseLoss, task: str) -> None:
        del task
        name = "mse" if config.to == "teacher" else "mse to labels"
        super().__init__(name, config.weight, reads_of(config))

    def forward(self, inputs: LossInputs) -> Tensor:
        prediction = inputs.student.logits
        if self.needs_teacher:
            _, target = self.pair(inputs)
        else:
            assert inputs.labels is not None
            target = _mixed(inputs.labels, prediction)
        return functional.mse_loss(
            prediction, target.to(prediction.dtype).reshape(prediction.shape)
        )


def _mixed(labels: Labels, prediction: Tensor) -> Tensor:
    own = labels.own.to(prediction.dtype)
    if labels.partner is None or labels.share is None:
        return own
    share = labels.share.reshape(-1, *[1] * (own.ndim - 1))
    return share * own + (1 - share) * labels.partner.to(prediction.dtype)
