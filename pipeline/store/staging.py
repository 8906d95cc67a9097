"""A process's own part of `tmp/`, and what its being alive means to others."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
import weakref
from pathlib import Path

from edgestill.store.disk import make_folder, remove, size_of, sync, write_durably
from edgestill.store.layout import Layout
from edgestill.store.lock import Lock


class Staging:
    """Folders in which a process prepares what it then renames into place.

    `tmp/<name>.lock` is held for as long as the process lives. That tells every other process,
    on this host or another, that `tmp/<name>/` is in use, and that a result used since the lock
    was taken may still be read. (A process number tells neither across hosts or containers.)
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._folder: Path | None = None
        self._numbers = itertools.count()

    def enter(self) -> Path:
        """Announce this process, remove what dead ones left, and return its own folder."""
        if self._folder is not None:
            return self._folder
        make_folder(self._layout.tmp)
        sweep(self._layout)
        folder = self._layout.tmp / f"{os.getpid()}-{os.urandom(6).hex()}"
        lock = Lock(folder.with_suffix(".lock"), "is running")
        while not lock.attempt():  # another process that cleans up had it for a moment
            time.sleep(0.001)
        weakref.finalize(self, _leave, folder, lock, os.getpid())
        folder.mkdir()
        self._folder = folder
        return folder

    def path(self) -> Path:
        """A new path on the store's file system, with nothing there yet."""
        # The process number keeps a forked child's paths apart from its parent's.
        return self.enter() / f"{os.getpid()}-{next(self._numbers)}"

    def replace(self, target: Path, data: bytes) -> None:
        """Put a file with `data` at `target`, whole or not at all."""
        prepared = self.path()
        try:
            write_durably(prepared, data)
            make_folder(target.parent)
            prepared.replace(target)
        finally:
            prepared.unlink(missing_ok=True)
        sync(target.parent)


def _leave(folder: Path, lock: Lock, owner: int) -> None:
    if os.getpid() == owner:  # a forked child inherits the object, not the ownership
        with contextlib.suppress(OSError):
            remove(folder)
            lock.release(remove=True)


def sweep(layout: Layout, *, dry_run: bool = False) -> int:
    """Remove the staging folders of dead processes; return the bytes that this freed."""
    freed = 0
    for path in layout.tmp.glob("*.lock"):
        with contextlib.suppress(OSError), Lock(path, "cleans up") as lock:
            if lock.attempt():
                freed += size_of(path.with_suffix(""))
                if not dry_run:
                    remove(path.with_suffix(""))
                    lock.release(remove=True)
    return freed


def oldest_process(layout: Layout) -> float:
    """When the oldest of the living processes began, in seconds since the epoch; else infinity."""
    times = [float("inf")]
    for path in layout.tmp.glob("*.lock"):
        with contextlib.suppress(OSError), Lock(path, "cleans up") as lock:
            if not lock.attempt():
                times.append(path.stat().st_mtime)
    return min(times)
