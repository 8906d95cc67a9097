"""Writing that leaves the old state or the new one, and reading that notices what rotted."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgestill.errors import StoreError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

_HEAD, _MIDDLE, _TAIL = b'{"sha256": "', b'", "record": ', b"}\n"


class Damaged(Exception):
    """What is on disk is not what was written; the text says in what way."""


def seal(record: Mapping[str, Any]) -> bytes:
    """`record` as JSON text of which every byte is fixed or covered by the digest in it."""
    payload = json.dumps(record, sort_keys=True).encode()
    return _HEAD + hashlib.sha256(payload).hexdigest().encode() + _MIDDLE + payload + _TAIL


def unseal(path: Path) -> dict[str, Any]:
    """The record in the file `path`.

    Raises:
        Damaged: it is not what `seal` wrote.
    """
    text = path.read_bytes()
    start = len(_HEAD) + 64 + len(_MIDDLE)
    payload = text[start : -len(_TAIL)]
    digest = hashlib.sha256(payload).hexdigest().encode()
    if text != _HEAD + digest + _MIDDLE + payload + _TAIL:
        raise Damaged(f"{path.name} was changed")
    record: dict[str, Any] = json.loads(payload)
    return record


def write_durably(path: Path, data: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, each of them durably."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync(path.parent)


def size_of(path: Path) -> int:
    """The bytes in a file, or in all files below a folder."""
    total = 0
    for file in (path, *path.rglob("*")):
        with contextlib.suppress(OSError):  # another process may remove what it sees
            status = file.lstat()
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def touch(path: Path) -> None:
    """Note that `path` was used; what cannot be noted (a read-only store) is let be."""
    with contextlib.suppress(OSError):
        os.utime(path)


def remove(path: Path) -> None:
    """Remove a file or a folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def storage_errors(root: Path) -> Iterator[None]:
    """Turn a full disk, a missing permission and the like into a StoreError with the fix."""
    try:
        yield
    except Exception as error:
        explained = explained_error(error, root)
        if explained is None:
            raise
        raise explained from error


def explained_error(error: Exception, root: Path) -> StoreError | None:
    """The StoreError that says what `error` means for the store; None for any other trouble."""
    if isinstance(error, StoreError):
        return None
    code = error.errno if isinstance(error, OSError) else None
    filename = error.filename if isinstance(error, OSError) else None
    path = Path(os.fsdecode(filename)).absolute() if isinstance(filename, (str, bytes)) else root
    # Libraries with writers of their own raise their own types around the system's words.
    native = code is None and any(os.strerror(full) in str(error) for full in _FULL)
    if code in _FULL or native:
        reason = os.strerror(code) if code else str(error)
        fix = "Free some space (edgestill store gc) or choose another disk with --store FOLDER"
    elif code in _REFUSED and (path.is_relative_to(root) or root.is_relative_to(path)):
        reason = os.strerror(code)
        fix = "Change the permissions or choose another folder with --store FOLDER"
    elif code in (errno.ENOTDIR, errno.EEXIST) and root.is_relative_to(path):
        reason = "its folder, or one above it, is a file"
        fix = "Choose another folder with --store FOLDER"
    elif code == errno.ENOENT and root.is_relative_to(path):
        reason = "its folder cannot be made"  # as in /proc, which has a root's permission
        fix = "Choose another folder with --store FOLDER"
    elif code in _NO_LOCKS:
        reason = f"this file system has no locks ({os.strerror(code)})"
        fix = "Choose a folder on a local disk with --store FOLDER"
    else:
        return None
    return StoreError(f"the store cannot be used: {reason}", where=str(path), fix=fix)
