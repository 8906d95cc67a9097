"""The settings of every loss, as a recipe writes them, and what each reads of the two models.

Layers are named by module path as in `model.named_modules()`, such as `stages.2`; a further
teacher's begin with its name, as in `wide:stages.2`. A loss that reads a layer of the student and
one of a teacher appears once per pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from edgestill.bounds import Count, NonNegative, Positive, Share
from edgestill.config import config
from edgestill.train.schedule import Schedule, Scheduled, extremes
from edgestill.train.voices import TEACHER

Temperature = Positive | Schedule | Literal["adaptive"]


@config
class CeLoss:
    """Cross-entropy with the labels; binary cross-entropy for multi-label tasks."""

    weight: Scheduled = 1.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


@config
class KdLoss:
    """Divergence of the student's softened outputs from the teacher's.

    Attributes:
        temperature: a number, a schedule, or `adaptive`: learnt against the student, so that its
            task grows harder.
        standardize: make each sample's logits mean 0 and deviation 1 before they are softened.
    """

    weight: Scheduled = 1.0
    temperature: Temperature = 4.0
    standardize: bool = False

    def __post_init__(self) -> None:
        _require_positive(self.temperature)


@config
class DkdLoss:
    """`kd` in two parts: how sure the teacher is of the label, and how it ranks the rest.

    Attributes:
        alpha: weight of the part about the label.
        beta: weight of the part about the other classes.
    """

    weight: Scheduled = 1.0
    temperature: Temperature = 4.0
    alpha: NonNegative = 1.0
    beta: NonNegative = 8.0
    standardize: bool = False

    def __post_init__(self) -> None:
        _require_positive(self.temperature)


@config
class DistLoss:
    """Correlation with the teacher, over the classes of a sample and over the samples of a class.

    Attributes:
        between_classes: weight of the correlation over classes.
        within_classes: weight of the correlation over samples.
    """

    weight: Scheduled = 1.0
    temperature: Temperature = 1.0
    between_classes: NonNegative = 1.0
    within_classes: NonNegative = 1.0

    def __post_init__(self) -> None:
        _require_positive(self.temperature)


@config
class MseLoss:
    """Mean squared error to the labels, or to the teacher's outputs."""

    weight: Scheduled = 1.0
    to: Literal["labels", "teacher"] = "teacher"


@config
class HintLoss:
    """Distance of a student's feature from a teacher's, through an adapter where shapes differ.

    Attributes:
        channels: which axis of a feature holds its channels; by default the second of an image's
            feature and the last of a sequence's.
    """

    student: str
    teacher: str
    weight: Scheduled = 1.0
    distance: Literal["mse", "cosine"] = "mse"
    channels: Literal["first", "last"] | None = None


@config
class HiddenLoss:
    """`hint` for several layers of two transformers.

    Attributes:
        student: the path of the list of layers, such as `encoder.layer`.
        map: student's layer -> teacher's layer, counted from 0.
    """

    student: str
    teacher: str
    map: dict[int, int]
    weight: Scheduled = 1.0
    distance: Literal["mse", "cosine"] = "mse"

    def __post_init__(self) -> None:
        if not self.map:
            raise ValueError("map is empty. Write student's layer: teacher's layer")
        if min(*self.map, *self.map.values()) < 0:
            raise ValueError("map has a negative layer. Layers are counted from 0")


@config
class AttentionLoss:
    """Distance of where two convolutional features are strong, whatever their channels."""

    student: str
    teacher: str
    weight: Scheduled = 1.0


@config
class SimilarityLoss:
    """Distance of which samples of a batch two features find alike."""

    student: str
    teacher: str
    weight: Scheduled = 1.0


@config
class RelationLoss:
    """Distance of the geometry of a batch: pairwise distances, and angles of triples.

    Attributes:
        student: a layer; without one the predictions are compared.
        distance: weight of the distances.
        angle: weight of the angles, which cost the cube of the batch.
    """

    student: str | None = None
    teacher: str | None = None
    weight: Scheduled = 1.0
    distance: NonNegative = 1.0
    angle: NonNegative = 2.0

    def __post_init__(self) -> None:
        _require_both(self.student, self.teacher)


@config
class MinilmLoss:
    """Divergence of the relations among queries, among keys and among values of a self-attention.

    Attributes:
        student: the path of a self-attention, such as `encoder.layer.5.attention.self`.
        heads: into how many heads both are cut, whatever heads they have; it divides both widths.
    """

    student: str
    teacher: str
    weight: Scheduled = 1.0
    heads: Count = 12


@config
class AdversarialLoss:
    """How well the student's outputs pass for the teacher's before a network that learns to tell.

    Attributes:
        student: a layer; without one the predictions are judged.
        form: `hinge`, or `bce`, binary cross-entropy with logits.
        width: neurons of each of the discriminator's two hidden layers.
        learning_rate: of the discriminator's own Adam.
    """

    student: str | None = None
    teacher: str | None = None
    weight: Scheduled = Schedule(0.0, 0.1, until=0.2)
    form: Literal["hinge", "bce"] = "hinge"
    width: Count = 128
    learning_rate: Positive = 1e-3

    def __post_init__(self) -> None:
        _require_both(self.student, self.teacher)


@config
class HeadsLoss:
    """How well classifiers on the student's own layers do, which learn from its last layer.

    Attributes:
        layers: of the student; each gets a classifier.
        alpha: how much of what a classifier learns is the student's own prediction; the rest is
            the labels.
        channels: which axis of a layer's output holds its channels, as in `hint`.
    """

    layers: tuple[str, ...]
    weight: Scheduled = 0.3
    temperature: Temperature = 3.0
    alpha: Share = 0.3
    channels: Literal["first", "last"] | None = None

    def __post_init__(self) -> None:
        _require_positive(self.temperature)
        if not self.layers:
            raise ValueError("layers is empty. Name layers of the student")
        if len({*self.layers}) < len(self.layers):
            raise ValueError("layers names a layer twice. Name each once")


LossConfig = (
    CeLoss
    | KdLoss
    | DkdLoss
    | DistLoss
    | MseLoss
    | HintLoss
    | HiddenLoss
    | AttentionLoss
    | SimilarityLoss
    | RelationLoss
    | MinilmLoss
    | AdversarialLoss
    | HeadsLoss
)

# The name that a recipe uses, and the type that holds its settings.
LOSS_CONFIGS: Mapping[str, type[LossConfig]] = {
    "ce": CeLoss,
    "kd": KdLoss,
    "dkd": DkdLoss,
    "dist": DistLoss,
    "mse": MseLoss,
    "hint": HintLoss,
    "hidden": HiddenLoss,
    "attention": AttentionLoss,
    "similarity": SimilarityLoss,
    "relation": RelationLoss,
    "minilm": MinilmLoss,
    "adversarial": AdversarialLoss,
    "heads": HeadsLoss,
}


Part = Literal["output", "attention map", "queries keys values"]


@dataclass(frozen=True)
class Tap:
    """A layer, by its module path, and what of it is read.

    Attributes:
        part: its `output`; of a convolutional layer the `attention map`; or the
            `queries keys values` of a self-attention, `[b, 3, t, d]`.
        teacher: of a teacher's layer, which teacher's.
    """

    layer: str
    part: Part = "output"
    teacher: str = TEACHER

    def __str__(self) -> str:
        return self.layer if self.part == "output" else f"{self.layer} ({self.part})"


@dataclass(frozen=True)
class Reads:
    """What a loss reads.

    Attributes:
        labels: whether it cannot do without labels.
        prediction: whether it reads the teacher's prediction.
        student, teacher: the layers of each, in pairs unless it reads the student alone.
    """

    labels: bool = False
    prediction: bool = False
    student: tuple[Tap, ...] = ()
    teacher: tuple[Tap, ...] = ()


def reads_of(config: LossConfig) -> Reads:
    """What the loss of these settings reads."""
    if isinstance(config, CeLoss):
        return Reads(labels=True)
    if isinstance(config, MseLoss):
        return Reads(labels=config.to == "labels", prediction=config.to == "teacher")
    if isinstance(config, (KdLoss, DkdLoss, DistLoss)):
        return Reads(labels=isinstance(config, DkdLoss), prediction=True)
    if isinstance(config, HiddenLoss):
        return Reads(
            student=tuple(Tap(f"{config.student}.{own}") for own in config.map),
            teacher=tuple(_teachers(f"{config.teacher}.{other}") for other in config.map.values()),
        )
    if isinstance(config, HeadsLoss):
        return Reads(student=tuple(map(Tap, config.layers)))
    if config.student is None or config.teacher is None:
        return Reads(prediction=True)
    part = _PARTS.get(type(config), "output")
    return Reads(student=(Tap(config.student, part),), teacher=(_teachers(config.teacher, part),))


def _teachers(path: str, part: Part = "output") -> Tap:
    """The layer of a teacher at `stages.2` or `wide:stages.2`."""
    teacher, _, layer = path.rpartition(":")
    return Tap(layer, part, teacher or TEACHER)


_PARTS: Mapping[type[LossConfig], Part] = {
    AttentionLoss: "attention map",
    MinilmLoss: "queries keys values",
}


def _require_positive(temperature: float | Schedule | str) -> None:
    if not isinstance(temperature, str) and extremes(temperature)[0] <= 0:
        raise ValueError("temperature reaches 0. Keep it above")


def _require_both(student: str | None, teacher: str | None) -> None:
    if (student is None) != (teacher is None):
        raise ValueError("one layer alone. Name a layer of student and one of teacher, or neither")
