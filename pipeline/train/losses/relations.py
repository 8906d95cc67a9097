"""Losses that compare how samples relate: to the classes, and to each other within a batch.

A batch is that of all processes together, because half a batch has other relations.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from edgestill.train.losses.base import Labels, Loss, LossInputs, Outputs
from edgestill.train.losses.config import DistLoss, RelationLoss, SimilarityLoss, reads_of
from edgestill.train.losses.positions import paired_rows
from edgestill.train.losses.temperature import make_temperature


class Correlation(Loss):
    """`T^2 (beta (1 - r over classes) + gamma (1 - r over samples))`, r being Pearson's.

    Of `softmax(logits / T)`, `[b, c, ...]`, or of `sigmoid(logits / T)` for multi-label tasks: for
    each sample the correlation over its classes, for each class that over the batch, each
    averaged. It asks for the teacher's order and proportions, not its values, so a scale or a
    shift of a row of probabilities costs nothing (Huang et al., "Knowledge Distillation from A
    Stronger Teacher", 2022, equations 8 to 10). Use it where the teacher is so strong that plain
    `kd` does worse than no teacher. Of two classes only the correlation over samples teaches.
    """

    relates_samples = True

    def __init__(self, config: DistLoss, task: str) -> None:
        super().__init__("dist", config.weight, reads_of(config))
        self.between_classes = config.between_classes
        self.within_classes = config.within_classes
        self.temperature = make_temperature(config.temperature)
        self.soften = torch.sigmoid if task == "multilabel" else _softmax

    def forward(self, inputs: LossInputs) -> Tensor:
        # The labels of a multi-label sample are columns here, as classes are.
        student, teacher = paired_rows(_of_all(inputs), "classification")
        if len(student) == 0:
            return student.sum()
        temperature: Tensor | float = self.temperature(inputs.progress)
        student = self.soften(student / temperature)
        teacher = self.soften(teacher / temperature)
        between = 1 - correlation(student, teacher).mean()
        within = 1 - correlation(student.T, teacher.T).mean()
        apart = self.between_classes * between + self.within_classes * within
        return apart * temperature**2


def _softmax(rows: Tensor) -> Tensor:
    return rows.softmax(dim=1)


def _of_all(inputs: LossInputs) -> LossInputs:
    """The predictions of all processes, and what says which of their positions count."""
    assert inputs.teacher is not None
    labels, attended = inputs.labels, inputs.attended
    return replace(
        inputs,
        student=Outputs(inputs.gather(inputs.student.logits)),
        teacher=Outputs(inputs.gather(inputs.teacher.logits)),
        labels=None if labels is None else Labels(inputs.gather(labels.own)),
        attended=None if attended is None else inputs.gather(attended),
    )


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation of each row of two `[n, m]`, `[n]`.

    Where a row is constant but for rounding it is 0, without a gradient: an untrained head gives
    such rows, and the true gradient is endless there.
    """
    return (_z_scores(first) * _z_scores(second)).sum(1)


def _z_scores(rows: Tensor) -> Tensor:
    """Each row around its mean, of length 1, or 0 where nothing but rounding is left of it."""
    centred = rows - rows.mean(dim=1, keepdim=True)
    power = centred.pow(2).sum(dim=1, keepdim=True)
    rounding = 32 * torch.finfo(rows.dtype).eps
    varies = power > rounding**2 * rows.pow(2).sum(dim=1, keepdim=True)
    return centred * torch.where(varies, power, 1.0).rsqrt() * varies


class Similarity(Loss):
    """`|| G_t - G_s ||^2 / b^2`, G being the samples' similarities with each row of length 1.

    G = F F^T of a feature flattened to `[b, ...]`, so the shapes of the two features need not
    agree and no adapter is learnt (Tung and Mori, "Similarity-Preserving Knowledge Distillation",
    2019, equations 2 to 4). Use it between layers that differ too much for `hint`; its values are
    small, weights in the hundreds or thousands.
    """

    relates_samples = True

    def __init__(self, config: SimilarityLoss, task: str) -> None:
        del task
        super().__init__(f"similarity {config.student}", config.weight, reads_of(config))

    def forward(self, inputs: LossInputs) -> Tensor:
        student, teacher = (inputs.gather(feature) for feature in self.pair(inputs))
        return (_similarities(teacher) - _similarities(student)).pow(2).mean()


def _similarities(feature: Tensor) -> Tensor:
    flat = feature.reshape(len(feature), -1)
    return functional.normalize(flat @ flat.T, dim=1)


class Relation(Loss):
    """Huber distance of the batch's geometry: of its distances, and of its angles.

    Distances of all pairs, divided by their mean; the cosines of the angles at the second of every
    three samples (Park et al., "Relational Knowledge Distillation", 2019, equations 5 to 9). Of a
    feature flattened to `[b, ...]`, or of the prediction. Use it on an embedding that is searched
    or compared, where distances matter more than values.
    """

    relates_samples = True

    def __init__(self, config: RelationLoss, task: str) -> None:
        del task
        name = f"relation {config.student}" if config.student else "relation"
        super().__init__(name, config.weight, reads_of(config))
        self.distance = config.distance
        self.angle = config.angle

    def forward(self, inputs: LossInputs) -> Tensor:
        student, teacher = (_products(inputs.gather(part)) for part in self.pair(inputs))
        total = student.new_zeros(())
        if self.distance:
            distances = functional.smooth_l1_loss(
                _relative_distances(student), _relative_distances(teacher)
            )
            total = total + self.distance * distances
        if self.angle:
            angles = functional.smooth_l1_loss(_angles(student), _angles(teacher))
            total = total + self.angle * angles
        return total


def _products(feature: Tensor) -> Tensor:
    """Inner products of all pairs, `[b, b]`, of `[b, ...]` around its mean.

    Distances and angles follow from them, where differences of all pairs are b times the memory.
    """
    rows = feature.reshape(len(feature), -1)
    # Distances do not change with the origin; rounding is least around the mean.
    rows = rows - rows.mean(0)
    return rows @ rows.T


def _distances(products: Tensor) -> Tensor:
    """Of all pairs, `[b, b]`; 0, without a gradient, where rounding is all that is between them."""
    powers = products.diagonal()
    sums = powers.unsqueeze(0) + powers.unsqueeze(1)
    squares = sums - 2 * products
    apart = squares > 32 * torch.finfo(squares.dtype).eps * sums
    return torch.where(apart, squares, 1.0).sqrt() * apart


def _relative_distances(products: Tensor) -> Tensor:
    """In units of the mean over different samples, `[b, b]`."""
    distances = _distances(products)
    return distances / (distances.sum() / distances.count_nonzero().clamp(min=1)).clamp(min=1e-12)


def _angles(products: Tensor) -> Tensor:
    """The cosine at each sample of the angle between two others, `[b, b, b]`."""
    distances = _distances(products)
    inverse = torch.where(distances > 0, 1 / torch.where(distances > 0, distances, 1.0), 0.0)
    # (x_j - x_i)(x_k - x_i) = x_j x_k - x_i x_j - x_i x_k + x_i x_i, the last shared by both.
    shared = products.diagonal().unsqueeze(1) / 2 - products
    edges = products + shared.unsqueeze(2) + shared.unsqueeze(1)
    return edges * inverse.unsqueeze(2) * inverse.unsqueeze(1)
