"""Removing what nobody used for a while, without taking it from anybody who uses it now."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from edgestill.store.disk import remove, size_of
from edgestill.store.entry import MANIFEST
from edgestill.store.layout import Layout
from edgestill.store.lock import Lock
from edgestill.store.staging import Staging, oldest_process, sweep

_PURPOSE = "cleans up"


def collect(layout: Layout, staging: Staging, keep_days: float) -> int:
    """Remove what was not used for `keep_days` and what dead processes left; return the bytes."""
    freed = sweep(layout)
    limit = time.time() - keep_days * 86400
    freed += _collect_objects(layout, staging, min(limit, oldest_process(layout)))
    for name, folder in _keyed_folders(layout):
        committed = name == folder.name and layout.object(name).is_dir()
        if committed or _last_change(folder) < limit:
            with layout.lock(name, _PURPOSE) as lock:
                freed += _removed(folder) if lock.attempt() else 0
    for path in (*layout.damaged.glob("*"), *layout.sources.glob("*.json"), *layout.logs.glob("*")):
        freed += _removed(path) if _last_change(path) < limit else 0
    for path in layout.locks.glob("*.lock"):
        with Lock(path, _PURPOSE) as lock:
            if lock.attempt():
                lock.release(remove=True)
    return freed


def _collect_objects(layout: Layout, staging: Staging, limit: float) -> int:
    freed = 0
    for folder in layout.all_objects():
        if _last_use(folder) >= limit:
            continue
        with layout.lock(folder.name, _PURPOSE) as lock:
            if not lock.attempt() or not folder.is_dir():
                continue
            doomed = staging.path()
            folder.rename(doomed)
            # A reader notes its use before it looks: if it did so just now, it gets it back.
            if _last_use(doomed) >= limit:
                doomed.rename(folder)
                continue
            freed += _removed(doomed)
    return freed


def _keyed_folders(layout: Layout) -> Iterator[tuple[str, Path]]:
    """The name of its lock and the folder, for all unfinished work and all facts."""
    for folder in layout.work.glob("*"):
        yield folder.name, folder
    for folder in layout.facts.glob("*"):
        yield f"facts-{folder.name}", folder


def _last_use(folder: Path) -> float:
    for path in (folder / MANIFEST, folder):
        with contextlib.suppress(FileNotFoundError):
            return path.stat().st_mtime
    return float("inf")


def _last_change(folder: Path) -> float:
    """When a file, or anything below a folder, changed last: work goes on deep inside."""
    times = []
    for path in (folder, *folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            times.append(path.lstat().st_mtime)
    return max(times, default=float("inf"))


def _removed(path: Path) -> int:
    size = size_of(path)
    remove(path)
    return size
