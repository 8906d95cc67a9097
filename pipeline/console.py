"""What a user sees while a run works: progress bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from rich.console import Console as RichConsole

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PLAIN_INTERVAL_SECONDS = 15.0


class Console:
    """Writes to the standard error that it finds when it is made, whatever is captured later.

    Args:
        stream: where to write; by default a copy of standard error, closed with this object.
    """

    def __init__(self, stream: IO[str] | None = None) -> None:
        if stream is None:
            stream = _copy_of_stderr()
            weakref.finalize(self, stream.close)
        self._rich = RichConsole(file=stream, soft_wrap=True, highlight=False, markup=False)
        self._bar: tuple[Progress, TaskID] | None = None
        self._step = ""
        self._last_plain = 0.0
        self._muted = False

    def say(self, line: str, style: str | None = None) -> None:
        """A line that stays."""
        if not self._muted:
            self._rich.print(line, style=style)

    @contextmanager
    def muted(self) -> Iterator[None]:
        """While it lasts, nothing is said; how far a step is can still be seen."""
        self._muted = True
        try:
            yield
        finally:
            self._muted = False

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """While it lasts, `progress` speaks of the step `name`."""
        self._step, self._last_plain = name, time.monotonic()
        if not self._rich.is_terminal:
            yield
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[words]}"),
        )
        with Progress(*columns, console=self._rich, transient=True) as bar:
            self._bar = bar, bar.add_task(name, total=1.0, words="")
            try:
                yield
            finally:
                self._bar = None

    def progress(self, share: float, words: str) -> None:
        """How far the current step is: `share` of 1, and a few words."""
        if self._bar is not None:
            bar, task = self._bar
            bar.update(task, completed=share, words=words)
        elif time.monotonic() - self._last_plain > PLAIN_INTERVAL_SECONDS:
            self._last_plain = time.monotonic()
            self._rich.print(f"{self._step}: {share:.0%} {words}")


def _copy_of_stderr() -> IO[str]:
    try:
        descriptor = os.dup(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):  # a notebook has no descriptor for it
        descriptor = os.dup(2)
    return os.fdopen(descriptor, "w", buffering=1, errors="backslashreplace")
