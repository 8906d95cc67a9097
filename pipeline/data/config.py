"""What a recipe says about its data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgestill.config import config

ROLES = ("train", "calibration", "validation", "test")
Fraction = Annotated[float, Field(ge=0, le=1)]


@config
class SplitConfig:
    """Which share of a source each role gets, by a hash of seed and sample.

    A role that has a source of its own (`source: {train: ..., test: ...}`) takes that source
    whole; the remaining roles take their shares of the train source, and train keeps the rest.
    """

    train: Fraction | None = None
    calibration: Fraction = 0.1
    validation: Fraction = 0.1
    test: Fraction | None = None


@config
class ImageConfig:
    """How encoded images become arrays: decoded, resized, `uint8` in the given layout."""

    size: tuple[int, int] | None = None
    mode: Literal["RGB", "L"] = "RGB"
    layout: Literal["NCHW", "NHWC"] = "NCHW"


@config
class DataConfig:
    """Where samples come from.

    Attributes:
        source: `sklearn.digits`, an `.npz` file, a `.parquet`, `.csv` or `.tsv` file, a folder of
            images with a folder for each class, or `file.py:callable`; or one of these per role.
        inputs: columns or arrays that feed the model, in order; by default all but the labels.
        labels: the column or array of labels; by default `label` or `labels`.
        files: what a `file.py:callable` reads, so that a change of it is noticed.
        limit: take at most so many samples from each source, by the hash.
    """

    source: str | dict[Literal["train", "calibration", "validation", "test"], str]
    split: SplitConfig = SplitConfig()
    inputs: tuple[str, ...] = ()
    labels: str | None = None
    image: ImageConfig = ImageConfig()
    files: tuple[str, ...] = ()
    limit: Annotated[int, Field(gt=0)] | None = None
