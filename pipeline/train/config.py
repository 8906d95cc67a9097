"""How a model is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgestill.bounds import Count, Fraction, NonNegative, Positive
from edgestill.config import config
from edgestill.metric_config import MetricConfig
from edgestill.models.config import ModelConfig

# Which epoch's weights a training gives: the best on the validation split, or the last.
Keep = Literal["best", "last"]


@config
class AugmentConfig:
    """How views of images are made; teacher and student always see the same one.

    Which view a sample gets depends on nothing but the sample, the number of the view and `seed`:
    not on its place in a batch, so that a teacher's answers can be kept.

    Attributes:
        crop: pixels of black border from which a window of the image's size is cut.
        flip: mirror half of them, left to right.
        mixup: alpha of the Beta distribution by which two images are blended; 0 for never.
        cutmix: alpha of the Beta distribution of the area that comes from another image; 0 for
            never. With both, each is used for half of the samples.
        seed: of the views, apart from the recipe's, so that trainings with other seeds share them.
    """

    crop: Annotated[int, Field(ge=0)] = 0
    flip: bool = False
    mixup: NonNegative = 0.0
    cutmix: NonNegative = 0.0
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


@config
class TrainConfig:
    """A training schedule.

    Attributes:
        batch_size: samples of one step of the optimizer, on all processes together.
        accumulate: in how many parts a batch is computed, to save memory.
        learning_rate: the highest rate.
        schedule: after the warm-up the rate falls by a `cosine` to zero, stays `constant`, or falls
            tenfold in a `step` at 5/8, 6/8 and 7/8 of the training; `one_cycle` rises from 1/25 by
            a cosine and falls to 1/10,000.
        warmup: the share of all steps over which the rate rises.
        clip_norm: the largest norm of all gradients together.
        ema: decay per step of a moving average of the weights, which is then what is validated and
            kept, such as 0.999.
        early_stop: epochs without a better validation after which the training ends.
        precision: of the computation; weights are float32.
        compile: compile the student with torch.compile.
        channels_last: lay out weights and features with the channels innermost, as the tensor cores
            of a GPU take them; a model that calls `view` on a convolution's output cannot.
        only: the paths of the modules that learn; without any, all of them. The rest keeps its
            weights, and its statistics, since it runs in eval mode.
        trackers: where metrics go beside the log, through Accelerate.
    """

    epochs: Count = 20
    batch_size: Count = 64
    accumulate: Count = 1
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Positive = 3e-3
    schedule: Literal["cosine", "one_cycle", "step", "constant"] = "cosine"
    weight_decay: NonNegative = 1e-2
    momentum: Fraction = 0.9
    warmup: Fraction = 0.1
    clip_norm: Positive | None = None
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    early_stop: Count | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    channels_last: bool = False
    augment: AugmentConfig | None = None
    only: tuple[str, ...] = ()
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()


@config
class TrainStep:
    """What determines a training, beside data and code."""

    model: ModelConfig
    train: TrainConfig
    task: str
    metric: MetricConfig
    seed: int
    threads: int


@config
class LoadStep:
    """A model that came trained.

    Attributes:
        seed: for a callable that fills weights at random before they are loaded.
    """

    model: ModelConfig
    task: str
    seed: int


@config
class AskStep:
    """Which model is asked."""

    model: ModelConfig
    task: str
    threads: int
