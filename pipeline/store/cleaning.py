"""Removing what nobody used for a while, without taking it from anybody who uses it now."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgestill.store.disk import remove, size_of
from edgestill.store.entry import MANIFEST
from edgestill.store.layout import Layout
from edgestill.store.lock import Lock
from edgestill.store.staging import Staging, oldest_process, sweep

_PURPOSE = "cleans up"


@dataclass(frozen=True)
class Collected:
    """What was removed, or would be.

    Attributes:
        keys: of results and of facts.
        size_bytes: of these and of everything else.
    """

    keys: tuple[str, ...]
    size_bytes: int


def collect(
    layout: Layout, staging: Staging, keep_days: float, *, dry_run: bool = False
) -> Collected:
    """Remove what was not used for `keep_days` and what dead processes left.

    Args:
        dry_run: only look: all of it stays.
    """
    removed = size_of if dry_run else _removed
    freed = sweep(layout, dry_run=dry_run)
    limit = time.time() - keep_days * 86400
    sizes = _collect_objects(layout, staging, min(limit, oldest_process(layout)), dry_run)
    for name, folder in _keyed_folders(layout):
        committed = name == folder.name and layout.object(name).is_dir()
        if committed or _last_change(folder) < limit:
            with layout.lock(name, _PURPOSE) as lock:
                size = removed(folder) if lock.attempt() else None
            if size is not None and folder.parent == layout.facts:
                sizes.append((folder.name, size))
            else:
                freed += size or 0
    for path in (*layout.damaged.glob("*"), *layout.sources.glob("*.json"), *layout.logs.glob("*")):
        freed += removed(path) if _last_change(path) < limit else 0
    for path in layout.locks.glob("*.lock"):
        with Lock(path, _PURPOSE) as lock:
            if lock.attempt():
                lock.release(remove=True)
    return Collected(tuple(key for key, _ in sizes), freed + sum(size for _, size in sizes))


def _collect_objects(
    layout: Layout, staging: Staging, limit: float, dry_run: bool
) -> list[tuple[str, int]]:
    """The key and the bytes of each result that goes."""
    sizes = []
    for folder in layout.all_objects():
        if _last_use(folder) >= limit:
            continue
        with layout.lock(folder.name, _PURPOSE) as lock:
            if not lock.attempt() or not folder.is_dir():
                continue
            if dry_run:
                sizes.append((folder.name, size_of(folder)))
                continue
            doomed = staging.path()
            folder.rename(doomed)
            # A reader notes its use before it looks: if it did so just now, it gets it back.
            if _last_use(doomed) >= limit:
                doomed.rename(folder)
                continue
            sizes.append((folder.name, _removed(doomed)))
    return sizes


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
