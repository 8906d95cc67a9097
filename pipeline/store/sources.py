"""Digests of a user's files and folders, with an index so that what is unchanged is not read."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from edgestill.digest import digest_bytes, digest_file
from edgestill.errors import DataError
from edgestill.store.disk import Damaged, seal, touch, unseal
from edgestill.store.layout import Layout
from edgestill.store.staging import Staging
from edgestill.user_files import reading, walk

# A file that changed this recently may change again without its times showing it: FAT counts in
# steps of 2 s. Such a file is read each time (git's racy-git.txt tells the story).
_RACY_SECONDS = 2.0
_ATTEMPTS = 3

# Size, modification and status-change time in ns, inode. The status-change time is there because
# `cp -p` and `rsync -t` put back the modification time.
Stamp = list[int]
Index = dict[str, tuple[Stamp, str]]  # a file's stamp and digest by its name in the folder


def source_digest(layout: Layout, staging: Staging, path: Path) -> str:
    """The digest of a file's bytes, or of the names and bytes of all files below a folder.

    Hidden files of a folder do not count (`edgestill.user_files` has the rule).

    Raises:
        DataError: `path` is missing, cannot be read, or keeps changing while it is read.
    """
    index_path = layout.sources / f"{digest_bytes(os.fsencode(path.absolute()))}.json"
    known = _load(index_path)
    fresh: Index = {}
    try:
        with reading(path):
            if not path.is_dir():
                return _file_digest(str(path), "", known, fresh)
            digests = [(n, _file_digest(f, n, known, fresh)) for n, f in walk(str(path))]
            listing = "".join(f"{digest} {name}\0" for name, digest in sorted(digests))
            return digest_bytes(os.fsencode(listing))
    finally:
        if fresh == known:
            touch(index_path)
        else:
            with contextlib.suppress(OSError):  # the index only saves time
                staging.replace(index_path, seal({"path": str(path.absolute()), "files": fresh}))


def _load(index_path: Path) -> Index:
    try:
        files: Index = unseal(index_path)["files"]
    except (OSError, Damaged):
        return {}
    return files


def _file_digest(path: str, name: str, known: Index, fresh: Index) -> str:
    """The digest of one file, from the index `known` where it serves; noted in `fresh`."""
    entry = known.get(name)
    if entry is None or entry[0] != _stamp(path):
        return _read_digest(path, name, fresh)
    fresh[name] = entry
    return entry[1]


def _read_digest(path: str, name: str, fresh: Index) -> str:
    for _ in range(_ATTEMPTS):
        began = time.time()
        stamp = _stamp(path)
        digest = digest_file(Path(path))
        if _stamp(path) == stamp:
            if max(stamp[1], stamp[2]) / 1e9 < began - _RACY_SECONDS:
                fresh[name] = (stamp, digest)
            return digest
    raise DataError("the file changes while it is read", where=path, fix="Stop what writes to it")


def _stamp(path: str) -> Stamp:
    status = os.stat(path)  # noqa: PTH116 - a Path for each of 100,000 images costs seconds
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
