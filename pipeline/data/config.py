"""What a recipe says about its data."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edgestill.config import config
from edgestill.data.origin import LIBRARIES, Kind, Origin, existing, resolve
from edgestill.errors import DataError

ROLES = ("train", "calibration", "validation", "test")
Pixels = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


@config
class SplitConfig:
    """Which share of a source each role gets, by a hash of seed and sample.

    Shares are expectations: a sample's role depends on nothing but itself. A role that has a
    source of its own (`source: {train: ..., test: ...}`) takes that source whole; the remaining
    roles take their shares of the train source.

    Attributes:
        train: by default what the others leave.
        test: by default what the others leave where `train` is given, else 0.2.
        seed: by default the recipe's, so that another seed is another split, too.
    """

    train: Fraction | None = None
    calibration: Fraction = 0.1
    validation: Fraction = 0.1
    test: Fraction | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None


@config
class ImageConfig:
    """How encoded images become arrays: decoded, turned upright, resized, `uint8`.

    Attributes:
        size: height and width in pixels; the aspect ratio is not kept.
        mode: colour or grey; transparency is dropped.
    """

    size: tuple[Pixels, Pixels] | None = None
    mode: Literal["RGB", "L"] = "RGB"
    layout: Literal["NCHW", "NHWC"] = "NCHW"


@config
class DataConfig:
    """Where samples come from.

    Attributes:
        source: `sklearn.digits`, an `.npz` file, a `.parquet`, `.csv` or `.tsv` file, a folder or
            a glob of such tables (of one format, with the same columns), a folder of images with a
            folder for each class, or `file.py:callable`; or one of these per role.
        inputs: columns or arrays that feed the model, in order; by default all but the labels.
        labels: the column or array of labels; by default `label`, `labels` or `y`. A source of
            train or calibration alone may lack it, or have samples without a label.
        files: files and folders that a `file.py:callable` reads, so that a change is noticed; of
            a folder everything counts but hidden files (`edgestill.user_files` has the rule).
        limit: take at most so many samples from each source, by a hash of their own.
    """

    source: str | dict[Literal["train", "calibration", "validation", "test"], str]
    split: SplitConfig = SplitConfig()
    inputs: tuple[str, ...] = ()
    labels: str | None = None
    image: ImageConfig = ImageConfig()
    files: tuple[str, ...] = ()
    limit: Annotated[int, Field(gt=0)] | None = None


@config
class SplitStep:
    """The split stage: everything but the sources' content that decides its result."""

    data: DataConfig
    task: str
    seed: int


def sources(config: DataConfig) -> dict[str, str]:
    """The source of each role that has one of its own; a single source counts as train's."""
    if isinstance(config.source, str):
        return {"train": config.source}
    return {role: config.source[role] for role in ROLES if role in config.source}


def shares(config: DataConfig) -> dict[str, float]:
    """The share of the train source that each role takes, in the order in which it is cut.

    Train comes last, so that another share of one role moves as few samples as it can.

    Raises:
        DataError: no train source, a role without samples, or shares that add up to more than 1.
    """
    own, split = sources(config), config.split
    if "train" not in own:
        raise DataError(
            f"there is no source for train (there is for {', '.join(own) or 'no role'})",
            where="data.source",
            fix="Add train: to data.source",
        )
    if "test" in own and split.test is not None:
        raise DataError(
            "test has a source of its own, which it takes whole",
            where="data.split.test",
            fix="Remove data.split.test, or data.source.test",
        )
    cut = {"validation": split.validation, "calibration": split.calibration}
    cut = {role: share for role, share in cut.items() if role not in own}
    if "test" not in own:
        left = 0.2 if split.train is None else 1 - split.train - sum(cut.values())
        cut = {"test": left if split.test is None else split.test, **cut}
    cut["train"] = 1 - sum(cut.values()) if split.train is None else split.train
    # Rounded, because 1 - 0.4 - 0.1 - 0.1 is a little off 0.4.
    cut = {role: round(share, 12) for role, share in cut.items()}
    listed = ", ".join(f"{role} {share:g}" for role, share in cut.items() if share > 0)
    if round(sum(cut.values()), 9) > 1:
        raise DataError(f"the shares add up to more than 1: {listed}", where="data.split")
    empty = [role for role, share in cut.items() if share <= 0]
    if empty:
        raise DataError(
            f"nothing is left for {' and '.join(empty)} beside {listed}",
            where="data.split",
            fix="Every role needs samples: give it a share above 0, or a source of its own",
        )
    return cut


def origins(config: DataConfig, base: Path) -> dict[str, Origin]:
    """The source of each role that has one of its own, looked up on disk.

    Raises:
        DataError: a source does not exist or cannot be one, or a file is in the sources of two
            roles that have to be apart.
    """
    found = {role: resolve(source, base) for role, source in sources(config).items()}
    for one, other in combinations((role for role in found if role != "calibration"), 2):
        files, others = ({path.resolve(): path for path in found[r].paths} for r in (one, other))
        shared = [path for file, path in files.items() if file in others]
        # The same source twice is meant; patterns that overlap are not.
        if shared and files.keys() != others.keys():
            raise DataError(
                f"{shared[0].name} is in the source of {one} and in that of {other}",
                where="data.source",
                fix=f"Name apart what each role takes: {found[one].source} and "
                f"{found[other].source} overlap",
            )
    return found


def source_files(config: DataConfig, base: Path) -> tuple[Path, ...]:
    """The files and folders that the data is read from, sorted; a folder of images is one.

    Raises:
        DataError: a source or one of `files` does not exist.
    """
    found = {path for item in origins(config, base).values() for path in item.paths}
    declared = {existing(file, base, "data.files") for file in config.files}
    return tuple(sorted(found | declared))


def source_code(config: DataConfig, base: Path) -> tuple[str, ...]:
    """The callables that bring data."""
    found = origins(config, base).values()
    return tuple(dict.fromkeys(item.source for item in found if item.kind is Kind.CALLABLE))


def source_libraries(config: DataConfig, base: Path) -> tuple[str, ...]:
    """The distributions whose version may change what is read."""
    kinds = {item.kind for item in origins(config, base).values()}
    return tuple(sorted({name for kind in kinds for name in LIBRARIES[kind]}))
