"""A user's files: which of a folder count, and what is said when one cannot be read.

One rule for reading data and for the digests in keys: a file counts unless its name, or that of a
folder that it lies in, begins with a dot or is one that a system or tool leaves behind. What is
named itself counts whatever its name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgestill.errors import DataError

# What a pointer file begins with, as the specification of Git LFS has it.
_POINTER_BEGINS = b"version https://git-lfs.github.com/spec/"
# What is said of one, and the fix.
POINTER = "a pointer of Git LFS, not the file itself"
FETCH = "Fetch the file: git lfs pull"
LEFT_BEHIND = frozenset(("Thumbs.db", "desktop.ini", "__MACOSX", "__pycache__"))


def counts(name: str) -> bool:
    """Whether a file or folder of this name belongs to the content of its folder."""
    return not name.startswith(".") and name not in LEFT_BEHIND


def walk(folder: str) -> Iterator[tuple[str, str]]:
    """Every file that counts below `folder`, through links too: relative posix path, and path.

    In no order. A link to a folder that holds it is not followed; a link that leads nowhere is
    given as the file that it stands for, so that whoever reads it says that it is missing.

    Raises:
        OSError: a folder cannot be read, or vanishes.
    """
    return _walk(folder, "", frozenset())


def _walk(folder: str, prefix: str, above: frozenset[Path]) -> Iterator[tuple[str, str]]:
    with os.scandir(folder) as items:
        for item in items:
            if not counts(item.name):
                continue
            name = prefix + item.name
            if item.is_dir():
                if not item.is_symlink():
                    yield from _walk(item.path, f"{name}/", above)
                    continue
                here = Path(folder).resolve()
                holding = above | {here, *here.parents}
                if Path(item.path).resolve() not in holding:
                    yield from _walk(item.path, f"{name}/", holding)
            elif item.is_file() or _leads_nowhere(item.path):  # not so for sockets and pipes
                yield name, item.path


def is_pointer(path: Path) -> bool:
    """Whether a file is what Git LFS leaves in the place of one that was not fetched.

    Raises:
        DataError: it cannot be read.
    """
    with reading(path), path.open("rb") as file:
        return file.read(len(_POINTER_BEGINS)) == _POINTER_BEGINS


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the system says of a user's file or folder into an error with its place.

    Raises:
        DataError: something inside is missing or cannot be read.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:  # a library's own words for something else
            raise
        where = os.fsdecode(error.filename) if error.filename else str(path)
        if _leads_nowhere(where):
            fix = "Restore what it leads to, or remove it"
            raise DataError("a link that leads nowhere", where=where, fix=fix) from error
        if isinstance(error, FileNotFoundError):
            raise DataError("no such file or folder", where=where) from error
        raise DataError(f"cannot be read: {error.strerror}", where=where) from error


def _leads_nowhere(path: str) -> bool:
    return os.path.islink(path) and not os.path.exists(path)  # noqa: PTH110, PTH114
