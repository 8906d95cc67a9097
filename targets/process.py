"""The user's side of worker processes: starts them, asks them, and survives what they do."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from types import TracebackType
from typing import Any

from edgestill import errors
from edgestill.digest import canonical_json
from edgestill.errors import DeviceError, EdgestillError
from edgestill.targets import worker
from edgestill.targets.jobs import Job

_START_LIMIT_S = 120.0
_LAST_WORDS = 5

# A module beside the user's recipe must not shadow a library, so the working folder leaves the path
# before anything is imported. PYTHONSAFEPATH would do that too, but only from Python 3.11 on.
_START = f"""\
import sys
sys.path = [entry for entry in sys.path if entry]
from {worker.__name__} import main
main()
"""

# No thread pool may exist beside the runtime's own.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Workers:
    """One worker process for each target, started when first asked, ended on exit.

    Starting one costs its runtime's import, 0.2 to 0.6 s; a job in it costs milliseconds.

    Args:
        fork: whether a process may fork for each job; else each job starts its own.
    """

    def __init__(self, *, fork: bool = hasattr(os, "fork")) -> None:
        self._mode = worker.FORK if fork else worker.ONCE
        self._running: dict[str, _Worker] = {}

    def ask(self, target: str, job: Job, limit_s: float) -> Any:
        """The answer to a job.

        Args:
            limit_s: the longest time without a sign of life.

        Raises:
            DeviceError: the process crashed, hung (and was killed) or answered nonsense.
            EdgestillError: what the job itself raised.
        """
        process = self._running.pop(target, None)
        if process is not None and not process.is_alive():
            process.close()
            process = None
        if process is None:
            process = _Worker(target, self._mode)
        try:
            answer = process.ask(job, limit_s)
        except BaseException:
            if process.usable and self._mode == worker.FORK:
                self._running[target] = process
            else:
                process.close()
            raise
        if self._mode == worker.FORK:
            self._running[target] = process
        else:
            process.close()
        return answer

    def close(self) -> None:
        """End all processes."""
        while self._running:
            self._running.popitem()[1].close()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Worker:
    """One process. It is `usable` for another job while no job is open."""

    def __init__(self, target: str, mode: str) -> None:
        self.target = target
        self.usable = False
        self._pending = b""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._job_start = 0
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, str(os.getpid()), target, mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **_ONE_THREAD},
            # Its own group, so that it is killed with its children and not by our Ctrl-C.
            start_new_session=True,
        )
        try:
            message = self._receive(_START_LIMIT_S)
            if "error" in message:
                raise _revived(message["error"])
        except BaseException:
            self.close()
            raise
        self.usable = True

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, job: Job, limit_s: float) -> Any:
        self.usable = False
        self._job_start = os.fstat(self._log.fileno()).st_size
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # a dead process shows when its answer is awaited
            self._process.stdin.write(canonical_json(job).encode() + b"\n")
            self._process.stdin.flush()
        outcome: dict[str, Any] = {}
        while "exit" not in outcome:
            # A call that takes as long as it may can begin right before a sign of life was due.
            outcome |= self._receive(limit_s, worker.SIGN_OF_LIFE_S)
        self.usable = True
        if outcome["exit"] != 0:
            raise self._failure(f"crashed ({_cause(outcome['exit'])})")
        if "error" in outcome:
            raise _revived(outcome["error"])
        if "answer" not in outcome:
            raise self._failure("ended without an answer")
        return outcome["answer"]

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def _receive(self, limit_s: float, late_s: float = 0.0) -> dict[str, Any]:
        """The next message.

        Args:
            late_s: how much later than `limit_s` it may come.

        Raises:
            DeviceError: none came in time, the process ended, or it is not a message.
        """
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        deadline = time.monotonic() + limit_s + late_s
        while b"\n" not in self._pending:
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise self._failure(f"gave no sign of life for {limit_s:g} s and was stopped")
            piece = os.read(pipe, 1 << 20)
            if not piece:
                raise self._failure(f"crashed ({_cause(self._process.wait())})")
            self._pending += piece
        line, _, self._pending = self._pending.partition(b"\n")
        with suppress(ValueError):
            message = json.loads(line)
            if isinstance(message, dict):
                return message
        raise self._failure(f"answered nonsense ({line[:60]!r})")

    def _failure(self, what: str) -> DeviceError:
        """An error with what the runtime printed last."""
        # Read at a place: the process writes to the same open file, whose position is shared.
        size = os.fstat(self._log.fileno()).st_size
        start = max(self._job_start, size - (1 << 14))
        text = os.pread(self._log.fileno(), size - start, start).decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()][-_LAST_WORDS:]
        words = f"; its last words: {' | '.join(lines)}" if lines else ""
        return DeviceError(f"{self.target} {what}{words}")


def _cause(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"


def _revived(description: dict[str, str | None]) -> EdgestillError:
    """The error that a worker described."""
    kind: type[EdgestillError] = getattr(errors, description["type"] or "DeviceError")
    return kind(description["what"] or "", where=description["where"], fix=description["fix"])
