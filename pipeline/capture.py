"""Keeps what third-party code prints off the screen: it goes to the run's log."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def captured(log: Path) -> Iterator[None]:
    """Append everything written to standard output and error, by any library, to `log`.

    Works on the file descriptors, since native code does not go through `sys.stdout`. Warnings
    are written, never raised: a library's advice to its own authors must not stop a run.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    _flush()
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.dup2(target, 1)
        os.dup2(target, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            yield
    finally:
        _flush()
        for descriptor, original in zip((1, 2), kept, strict=True):
            os.dup2(original, descriptor)
            os.close(original)
        os.close(target)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
