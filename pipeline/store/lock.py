"""Exclusive locks between processes that name their holder and end with it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import TracebackType

_POLL_SECONDS = 0.1
_POLLS_UNSIGNED = 10  # a holder signs at once, unless the disk is full


class Lock:
    """An exclusive `flock` on a file: the kernel frees it when its holder ends, however it ends.

    Args:
        path: the file; who may remove it has to hold the lock.
        purpose: what the holder does, for those who wait: "computes distill".
    """

    def __init__(self, path: Path, purpose: str) -> None:
        self.path = path
        self.purpose = purpose
        self._descriptor: int | None = None

    def attempt(self) -> bool:
        """Take the lock if it is free; False where another holds it."""
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Between open and flock the file may have been removed, and made anew by another.
                current = _is_at(descriptor, self.path)
            except BlockingIOError:
                os.close(descriptor)
                return False
            except BaseException:
                os.close(descriptor)
                raise
            if current:
                self._descriptor = descriptor
                self._sign(descriptor)
                return True
            os.close(descriptor)

    def wait(self, notify: Callable[[str], None]) -> None:
        """Take the lock, telling `notify` once for each holder that is waited for."""
        told = None
        for polls in count():
            if self.attempt():
                return
            holder = self.holder()
            if holder is None and polls == _POLLS_UNSIGNED:
                holder = f"another process, which {self.purpose}"
            if holder not in (None, told):
                notify(f"waiting for {holder}")
                told = holder
            time.sleep(_POLL_SECONDS)

    def holder(self) -> str | None:
        """Who holds the lock and for what; None while it has not signed."""
        try:
            who = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return None
        return f"process {who['pid']} on host {who['host']}, which {who['purpose']}"

    def release(self, *, remove: bool = False) -> None:
        """Free the lock, and remove its file where nobody will want it soon."""
        if self._descriptor is None:
            return
        if remove:
            self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
        self._descriptor = None

    def _sign(self, descriptor: int) -> None:
        who = {"pid": os.getpid(), "host": os.uname().nodename, "purpose": self.purpose}
        with contextlib.suppress(OSError):  # a courtesy: a full disk must not refuse the lock
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(who).encode(), 0)

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
