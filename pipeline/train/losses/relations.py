"""Losses that compare how samples relate: to the classes, and to each other within a batch.

A batch is that of all processes together, because half a batch has other relations.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edgestill.train.config import DistLoss, RelationLoss, SimilarityLoss
from edgestill.train.losses.base import Loss, LossInputs
from edgestill.train.losses.config import reads_of
from edgestill.train.losses.positions import paired_rows
from edgestill.train.losses.temperature import make_temperature


class Correlation(Loss):
    """`T^2 (beta (1 - r over classes) + gamma (1 - r over samples))`, r being Pearson's.

    Of `softmax(logits / T)`, `[b, c, ...]`: for each sample the correlation over its classes, for
    each class that over the batch, each averaged. It asks for the teacher's order and proportions,
    not its values, so a scale or a shift of a row costs nothing (Huang et al., "Knowledge
    Distillation from A Stronger Teacher", 2022, equations 8 to 10). Use it where the teacher is
    so strong that plain `kd` does worse than no teacher.
    """

    relates_samples = True

    def __init__(self, config: DistLoss, task: str) -> None:
        super().__init__("dist", config.weight, reads_of(config))
        self.between_classes = config.between_classes
        self.within_classes = config.within_classes
        self.temperature = make_temperature(config.temperature)
        self.task = task

    def forward(self, inputs: LossInputs) -> Tensor:
        student, teacher = paired_rows(inputs, self.task)
        temperature: Tensor | float = self.temperature(inputs.progress)
        student = inputs.gather((student / temperature).softmax(dim=1))
        teacher = inputs.gather((teacher / temperature).softmax(dim=1))
        between = 1 - correlation(student, teacher).mean()
        within = 1 - correlation(student.T, teacher.T).mean()
        apart = self.between_classes * between + self.within_classes * within
        return apart * temperature**2


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation of each row of two `[n, m]`, `[n]`; 0 where a row is constant."""
    first = first - first.mean(dim=1, keepdim=True)
    second = second - second.mean(dim=1, keepdim=True)
    return functional.cosine_similarity(first, second, dim=1, eps=1e-12)


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
        student, teacher = (
            inputs.gather(rows.reshape(len(rows), -1)) for rows in self.pair(inputs)
        )
        total = student.new_zeros(())
        if self.distance:
            distances = functional.smooth_l1_loss(_distances(student), _distances(teacher))
            total = total + self.distance * distances
        if self.angle:
            angles = functional.smooth_l1_loss(_angles(student), _angles(teacher))
            total = total + self.angle * angles
        return total


def _distances(rows: Tensor) -> Tensor:
    """Of all pairs, `[b, b]`, in units of the mean over different samples."""
    squares = (rows.unsqueeze(0) - rows.unsqueeze(1)).pow(2).sum(dim=2)
    # The distance of a sample to itself has no gradient.
    apart = squares > 0
    distances = torch.where(apart, squares, 1.0).sqrt() * apart
    return distances / (distances.sum() / apart.sum().clamp(min=1)).clamp(min=1e-12)


def _angles(rows: Tensor) -> Tensor:
    """The cosine at each sample of the angle between two others, `[b, b, b]`."""
    edges = functional.normalize(rows.unsqueeze(0) - rows.unsqueeze(1), dim=2)
    return edges @ edges.transpose(1, 2)
