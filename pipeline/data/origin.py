"""What a source is, and which files and libraries it stands on: known without reading it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from edgestill.data import shards
from edgestill.data.shards import TABLES, WHERE, suffix
from edgestill.errors import DataError
from edgestill.reference import parse
from edgestill.spelling import nearest
from edgestill.user_files import counts, reading, walk

BUILT_IN = ("sklearn.digits",)


class Kind(Enum):
    """The readers there are."""

    DIGITS = "sklearn.digits"
    ARRAYS = ".npz"
    PARQUET = ".parquet"
    TABLE = ".csv or .tsv"
    IMAGES = "a folder of images with a folder for each class"
    CALLABLE = "file.py:callable"


LIBRARIES: dict[Kind, tuple[str, ...]] = {
    Kind.DIGITS: ("scikit-learn",),
    Kind.ARRAYS: (),
    Kind.PARQUET: ("datasets", "pillow", "pyarrow"),
    Kind.TABLE: (),
    Kind.IMAGES: ("pillow",),
    Kind.CALLABLE: (),
}

IMAGES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".avif"),
        *(".tif", ".tiff", ".ppm", ".pgm", ".pbm"),
    )
)

_FILES = {
    ".npz": Kind.ARRAYS,
    ".parquet": Kind.PARQUET,
    ".csv": Kind.TABLE,
    ".tsv": Kind.TABLE,
}


@dataclass(frozen=True)
class Origin:
    """A source that was looked up on disk.

    Attributes:
        source: as the recipe has it.
        paths: the file, the tables in the order in which they are read, or the folder of images;
            none for what is built in and for a callable, whose code is not data.
        ignored: the names of the files in a folder of tables that are none.
    """

    source: str
    kind: Kind
    paths: tuple[Path, ...] = ()
    ignored: tuple[str, ...] = ()


def resolve(source: str, base: Path) -> Origin:
    """What a source of a recipe stands for.

    Args:
        base: the folder that relative paths and patterns start from.

    Raises:
        DataError: it does not exist, no reader knows it, or it holds what is no one source.
    """
    if not source:
        raise DataError("it is empty", where=WHERE, fix=f"Name a source: {_known()}")
    if source in BUILT_IN:
        return Origin(source, Kind.DIGITS)
    if source.startswith("sklearn."):
        raise DataError(
            f"there is no built-in source {source!r}",
            where=WHERE,
            fix=f"Built in: {', '.join(BUILT_IN)}; anything else through file.py:callable",
        )
    if ":" in source:
        reference = parse(source, DataError)
        if reference.is_file:
            existing(reference.module, base, WHERE)
        return Origin(source, Kind.CALLABLE)
    with reading(base / source):
        if shards.is_glob(source, base):
            existing(shards.fixed_folder(source), base, WHERE)
            paths = shards.matched(source, base)
            return Origin(source, _FILES[suffix(paths[0].name)], paths)
        path = existing(source, base, WHERE)
        return _folder(source, base) if path.is_dir() else _file(source, path)


def existing(name: str, base: Path, where: str) -> Path:
    """The path of a file or folder that has to be there.

    Raises:
        DataError: it is not.
    """
    path = base / name
    if path.exists():
        return path
    if not path.parent.is_dir():
        fix = f"There is no folder {path.parent} either"
    else:
        siblings = sorted(item.name for item in path.parent.iterdir())
        fix = nearest(path.name, siblings, f"{path.parent} has")
    raise DataError(f"there is no {path}", where=where, fix=fix)


def below(folder: Path) -> list[tuple[str, Path]]:
    """Every file that counts below a folder, by its relative name, sorted.

    Raises:
        DataError: a folder cannot be read.
    """
    with reading(folder):
        return [(name, Path(path)) for name, path in sorted(walk(str(folder)))]


def _file(source: str, path: Path) -> Origin:
    kind = _FILES.get(suffix(path.name))
    if kind is None:
        raise DataError(f"no reader for {path.name}", where=WHERE, fix=f"Known: {_known()}")
    return Origin(source, kind, (path,))


def _known() -> str:
    return f"{', '.join(item.value for item in Kind)}; tables also as a glob or as a folder"


def _folder(source: str, base: Path) -> Origin:
    """Images, if there are any; else tables.

    A table deeper than the first level does not count beside images: some data sets have one in
    the folder of each class.
    """
    folder = base / source
    with os.scandir(folder) as items:
        names = sorted(item.name for item in items if counts(item.name) and item.is_file())
    loose = [name for name in names if suffix(name) in TABLES]
    # The first image decides, so that a folder with many is not looked through.
    image = next((name for name, _ in walk(str(folder)) if suffix(name) in IMAGES), None)
    if image is not None and loose:
        raise DataError(
            f"{source} holds images ({image}) and tables ({loose[0]})",
            where=WHERE,
            fix=f"Name the tables by a glob, such as {Path(source, f'*{suffix(loose[0])}')}, "
            "or move them out of the folder of images",
        )
    if image is not None:
        return Origin(source, Kind.IMAGES, (folder,))
    tables, ignored = shards.in_folder(source, base)
    if not tables:
        held = f" (it has {', '.join(ignored[:3])})" if ignored else ""
        raise DataError(
            f"{source} holds neither images nor tables{held}",
            where=WHERE,
            fix=f"Put images into a folder for each class, or tables ({', '.join(TABLES)}) into it",
        )
    return Origin(source, _FILES[suffix(tables[0].name)], tables, ignored)
