"""What a source is, and which files and libraries it stands on: known without reading it."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path

from edgestill.errors import DataError
from edgestill.reference import parse
from edgestill.spelling import nearest

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

_SUFFIXES = {
    ".npz": Kind.ARRAYS,
    ".parquet": Kind.PARQUET,
    ".csv": Kind.TABLE,
    ".tsv": Kind.TABLE,
}


def kind(source: str) -> Kind:
    """Which reader a source needs.

    Raises:
        DataError: a name that starts like a built-in source and is none.
    """
    if source in BUILT_IN:
        return Kind.DIGITS
    if source.startswith("sklearn."):
        raise DataError(
            f"there is no built-in source {source!r}",
            where="data.source",
            fix=f"Built in: {', '.join(BUILT_IN)}; anything else through file.py:callable",
        )
    if ":" in source:
        parse(source, DataError)
        return Kind.CALLABLE
    return _SUFFIXES.get(Path(source).suffix.lower(), Kind.IMAGES)


def files(source: str, base: Path) -> tuple[Path, ...]:
    """The files that a source consists of; none for a callable, whose code is not data.

    Raises:
        DataError: it does not exist, or no reader knows it.
    """
    found = kind(source)
    if found is Kind.DIGITS:
        return ()
    if found is Kind.CALLABLE:
        reference = parse(source, DataError)
        if reference.is_file:
            _require(reference.module, base, "data.source")
        return ()
    path = _require(source, base, "data.source")
    if found is Kind.IMAGES and path.is_file():
        raise DataError(
            f"no reader for {path.name}",
            where="data.source",
            fix=f"Known: {', '.join(item.value for item in Kind)}",
        )
    if found is not Kind.IMAGES and path.is_dir():
        raise DataError(f"{path} is a folder, not a file", where="data.source")
    return below(path)


def declared(file: str, base: Path) -> tuple[Path, ...]:
    """The files that an entry of `data.files` stands for: itself, or all in the folder.

    Raises:
        DataError: it does not exist.
    """
    return below(_require(file, base, "data.files"))


def below(path: Path) -> tuple[Path, ...]:
    """`path` itself, or every file below the folder but the hidden ones, sorted."""
    if not path.is_dir():
        return (path,)
    found = []
    for folder, folders, names in os.walk(path, followlinks=True):
        here = Path(folder).resolve()
        # A link to a folder above would never end.
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and not here.is_relative_to(Path(folder, name).resolve())
        ]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    return tuple(sorted(found))


def _require(name: str, base: Path, where: str) -> Path:
    path = base / name
    if path.exists():
        return path
    if not path.parent.is_dir():
        fix = f"There is no folder {path.parent} either"
    else:
        siblings = sorted(item.name for item in path.parent.iterdir())
        fix = nearest(path.name, siblings, f"{path.parent} has")
    raise DataError(f"there is no {path}", where=where, fix=fix)
