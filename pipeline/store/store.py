"""The store: find a result, or compute and commit it, once for all processes that want it."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

from edgestill.arguments import PathLike, as_path
from edgestill.digest import digest_files
from edgestill.errors import StoreError
from edgestill.store import cleaning, sources
from edgestill.store.cleaning import Collected
from edgestill.store.disk import (
    Damaged,
    make_folder,
    remove,
    storage_errors,
    sync,
    touch,
    write_durably,
)
from edgestill.store.entry import MANIFEST, RESULT, Entry, EntryInfo, Manifest
from edgestill.store.facts import Facts, FactsInfo
from edgestill.store.key import Key, differences, summary
from edgestill.store.layout import Layout
from edgestill.store.lock import Lock
from edgestill.store.staging import Staging

Produce = Callable[[Path, Path], None]


class Store:
    """Results of steps by the digest of what they depend on.

    Any number of processes may use one store at once. Nothing is written before it is needed, so
    a read-only store serves its results, and a folder that does not exist is an empty store.

    Args:
        root: the folder; it has to be on one file system.
        notify: called with each line that the user should read; by default it is printed.
    """

    def __init__(self, root: PathLike, notify: Callable[[str], None] = print) -> None:
        self.root = as_path(root, "root").absolute()
        self._notify = notify
        self._layout = Layout(self.root)
        self._staging = Staging(self._layout)
        self._manifests: dict[str, Manifest] = {}

    def find(self, key: Key) -> Entry | None:
        """The verified result, or None; what is damaged is set aside with a notice.

        Raises:
            StoreError: the store cannot be read.
        """
        with storage_errors(self.root):
            try:
                return self._verified(key)
            except Damaged:
                # Who holds the lock computes the key, and has set the damage aside or will.
                with self._lock(key) as lock:
                    return self._verified_or_set_aside(key) if lock.attempt() else None

    def look(self, key: Key) -> tuple[Entry | None, str]:
        """The verified result, or None; and what is damaged of it, which stays where it is.

        Raises:
            StoreError: the store cannot be read.
        """
        with storage_errors(self.root):
            try:
                return self._verified(key), ""
            except Damaged as damage:
                return None, str(damage)

    def compute(self, key: Key, produce: Produce) -> Entry:
        """The verified result; where there is none, what `produce(out, work)` writes into `out`.

        `work` is a folder that outlives a kill or an exception and is there again at the next
        try; it goes when the result is committed. While another process computes the key, this
        waits for it. An exception of `produce` commits nothing and comes out as it is, except:

        Raises:
            StoreError: the disk is full, or the store cannot be written or locked.
        """
        with storage_errors(self.root):
            make_folder(self.root)
            with self._lock(key) as lock:
                lock.wait(self._notify)
                entry = self._verified_or_set_aside(key)
                if entry is None:
                    entry = self._produce(key, produce)
                return entry

    def explain(self, key: Key) -> tuple[str, ...]:
        """What differs from the most similar result of the same step, or else of the same stage.

        A line for each value: `config.epochs: 20 -> 30`. Empty when there is nothing to compare.
        """
        others = [m for m in self._all_manifests().values() if m.key.digest != key.digest]
        of_step = [m for m in others if m.key.step == key.step]
        of_stage = [m for m in others if m.key.stage == key.stage]
        candidates = [
            (differences(manifest.key, key), -manifest.created) for manifest in of_step or of_stage
        ]
        nearest = min(candidates, key=lambda item: (len(item[0]), item[1]), default=((), 0.0))
        return summary(nearest[0])

    def facts(self, key: Key) -> Facts:
        """The records of a key."""
        return Facts(self._layout, self._staging, key, self._set_aside)

    def source_digest(self, path: Path) -> str:
        """The digest of a user's file, or of the names and bytes of all files below a folder.

        Hidden files of a folder do not count (`edgestill.user_files` has the rule).

        Raises:
            DataError: `path` is missing, cannot be read, or keeps changing while it is read.
        """
        return sources.source_digest(self._layout, self._staging, path)

    def entries(self) -> list[EntryInfo]:
        """All committed results, the one used last first."""
        infos = []
        for digest, manifest in self._all_manifests().items():
            try:
                used = (self._layout.object(digest) / MANIFEST).stat().st_mtime
            except OSError:
                continue
            step, stage, size = manifest.key.step, manifest.key.stage, manifest.size_bytes
            times = (manifest.seconds, manifest.created, used)
            infos.append(EntryInfo(step, stage, digest, size, *times))
        return sorted(infos, key=lambda info: info.last_used, reverse=True)

    def all_facts(self) -> list[FactsInfo]:
        """The records of every key that has some, those used last first."""
        infos = []
        for folder in self._layout.facts.glob("*"):
            with contextlib.suppress(OSError):  # another process removes it at this moment
                infos.append(FactsInfo.read(folder))
        return sorted(infos, key=lambda info: info.last_used, reverse=True)

    def collectable(self, keep_days: float) -> Collected:
        """What `gc` would remove; nothing is."""
        if not self.root.is_dir():
            return Collected((), 0)
        with storage_errors(self.root):
            return cleaning.collect(self._layout, self._staging, keep_days, dry_run=True)

    def gc(self, keep_days: float) -> int:
        """Remove what nobody used for `keep_days`; return the bytes that this freed.

        What a living process holds a lock of, or may have been given, stays whatever its age.
        """
        if not self.root.is_dir():
            return 0
        with storage_errors(self.root):
            return cleaning.collect(self._layout, self._staging, keep_days).size_bytes

    def _lock(self, key: Key) -> Lock:
        return self._layout.lock(key.digest, f"computes {key.step}")

    def _verified(self, key: Key) -> Entry | None:
        """The result after a look at each byte; None where there is none. Raises Damaged."""
        folder = self._layout.object(key.digest)
        if not folder.is_dir():
            return None
        # Before the look, so that `gc` does not take away what is about to be given out. Where
        # nothing can be written (a full disk, a read-only store), results can still be read.
        with contextlib.suppress(OSError):
            self._staging.enter()
        touch(folder / MANIFEST)
        manifest = Manifest.read(folder)
        manifest.verify(folder)
        times = (manifest.seconds, manifest.created)
        return Entry(key, folder / RESULT, manifest.files, *times, hit=True)

    def _verified_or_set_aside(self, key: Key) -> Entry | None:
        """The same under the key's lock, where damage can be moved out of the way."""
        try:
            return self._verified(key)
        except Damaged as damage:
            folder = self._layout.object(key.digest)
            if folder.is_dir():
                self._set_aside(folder, f"damaged result of {key.step} is rebuilt ({damage})")
            return None

    def _set_aside(self, path: Path, what: str) -> None:
        make_folder(self._layout.damaged)
        owner = path.name if path.is_dir() else path.parent.name
        moment = time.strftime("%Y%m%dT%H%M%S") + f"{time.time_ns() % 10**9:09}"
        target = self._layout.damaged / f"{owner}-{moment}{path.suffix}"
        path.rename(target)
        touch(target)
        self._notify(f"{what}, set aside in {target}")

    def _produce(self, key: Key, produce: Produce) -> Entry:
        work = self._layout.work / key.digest
        make_folder(work)
        staged = self._staging.path()
        out = staged / RESULT
        out.mkdir(parents=True)
        try:
            began = time.perf_counter()
            produce(out, work)
            entry = self._commit(key, staged, time.perf_counter() - began)
        finally:
            remove(staged)
        remove(work)
        return entry

    def _commit(self, key: Key, staged: Path, seconds: float) -> Entry:
        """Make the staged result durable, then visible: the rename is the commit."""
        result = staged / RESULT
        _protect(result)
        files = digest_files(result)
        sizes = {name: (result / name).stat().st_size for name in files}
        manifest = Manifest(key, files, sizes, seconds, time.time())
        write_durably(staged / MANIFEST, manifest.sealed())
        sync(staged)
        folder = self._layout.object(key.digest)
        make_folder(folder.parent)
        try:
            staged.rename(folder)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            # Somebody removed the lock, or the file system only pretends to have locks.
            winner = self._verified_or_set_aside(key)
            if winner is not None:
                return winner
            staged.rename(folder)
        sync(folder.parent)
        return Entry(key, folder / RESULT, files, seconds, manifest.created, hit=False)

    def _all_manifests(self) -> dict[str, Manifest]:
        """The readable manifests of everything committed, by the digest of their key."""
        present = {}
        for folder in self._layout.all_objects():
            with contextlib.suppress(Damaged, OSError):
                known = self._manifests.get(folder.name)
                present[folder.name] = known or Manifest.read(folder)
        self._manifests = present
        return present


def _protect(result: Path) -> None:
    """Make every file below a finished result read-only and durable, folders durable.

    Read-only because the damage that does happen is a program that edits its input in place.
    Folders stay writable, so that `rm -r` needs no `chmod`.
    """
    for parent, folders, files in os.walk(result):
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink():
                raise StoreError("a result must hold files, not links", where=str(path))
        for name in files:
            path = Path(parent, name)
            path.chmod(path.stat().st_mode & ~0o222)
            sync(path)
        sync(Path(parent))
