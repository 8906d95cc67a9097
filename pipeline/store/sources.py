"""Digests of a user's files and folders, with an index so that what is unchanged is not read."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from edgestill.digest import digest_bytes, digest_file, digest_value
from edgestill.errors import DataError
from edgestill.store.disk import Damaged, seal, touch, unseal
from edgestill.store.layout import Layout
from edgestill.store.staging import Staging

# A file that changed this recently may change again without its times showing it: FAT counts in
# steps of 2 s. Such a file is read each time (git's racy-git.txt tells the story).
_RACY_SECONDS = 2.0
_ATTEMPTS = 3

# Size, modification and status-change time in ns, inode. The status-change time is there because
# `cp -p` and `rsync -t` put back the modification time.
Stamp = list[int]
Index = dict[str, tuple[Stamp, str]]
Identity = tuple[int, int]  # device and inode


def source_digest(layout: Layout, staging: Staging, path: Path) -> str:
    """The digest of a file's bytes, or of the names and bytes of all files below a folder.

    Raises:
        DataError: `path` is missing, cannot be read, or keeps changing while it is read.
    """
    index_path = layout.sources / f"{digest_bytes(os.fsencode(path.absolute()))}.json"
    known = _load(index_path)
    fresh: Index = {}
    try:
        if not path.is_dir():
            return _file_digest(str(path), "", known, fresh)
        files = _walk(str(path), "", ())
        return digest_value({name: _file_digest(file, name, known, fresh) for name, file in files})
    except FileNotFoundError as error:
        raise DataError("no such file or folder", where=error.filename or str(path)) from error
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise DataError(what, where=error.filename or str(path)) from error
    finally:
        if fresh == known:
            touch(index_path)
        else:
            with contextlib.suppress(OSError):  # the index only saves time
                staging.replace(index_path, seal({"path": str(path.absolute()), "files": fresh}))


def _load(index_path: Path) -> Index:
    try:
        return {n: (stamp, d) for n, (stamp, d) in unseal(index_path)["files"].items()}
    except (OSError, Damaged):
        return {}


def _file_digest(path: str, name: str, known: Index, fresh: Index) -> str:
    """The digest of one file, from the index `known` where it serves; noted in `fresh`."""
    for _ in range(_ATTEMPTS):
        began = time.time()
        stamp = _stamp(path)
        if name in known and known[name][0] == stamp:
            fresh[name] = known[name]
            return known[name][1]
        digest = digest_file(Path(path))
        if _stamp(path) == stamp:
            if max(stamp[1], stamp[2]) / 1e9 < began - _RACY_SECONDS:
                fresh[name] = (stamp, digest)
            return digest
    raise DataError("the file changes while it is read", where=path, fix="Stop what writes to it")


def _stamp(path: str) -> Stamp:
    status = os.stat(path)  # noqa: PTH116 - a Path for each of 100,000 images costs seconds
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _walk(folder: str, prefix: str, above: tuple[Identity, ...]) -> Iterator[tuple[str, str]]:
    """Every regular file below `folder` by its relative posix path, through links too."""
    status = os.stat(folder)  # noqa: PTH116
    identity = (status.st_dev, status.st_ino)
    if identity in above:  # a link to a folder that holds it
        return
    with os.scandir(folder) as items:
        for item in items:
            if item.is_dir():
                yield from _walk(item.path, f"{prefix}{item.name}/", (*above, identity))
            elif item.is_file():  # not so for sockets, pipes and links that lead nowhere
                yield f"{prefix}{item.name}", item.path
