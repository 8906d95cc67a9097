"""The process that runtimes run in, apart from the one that the user looks at.

It imports numpy and one runtime, then forks for each job: a fresh process, with nothing loaded
by an earlier one, at the price of a few milliseconds. Jobs come in as lines of JSON; for each,
lines go out: signs of life, an answer or an error, and how the process ended. What a runtime
prints goes to a log. `edgestill.targets.process` starts it with PARENT TARGET MODE.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import sys
import warnings
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, BinaryIO

from edgestill.digest import canonical_json
from edgestill.errors import EdgestillError

if TYPE_CHECKING:
    from edgestill.targets.jobs import Job

FORK, ONCE = "fork", "once"

_PR_SET_PDEATHSIG = 1
SIGN_OF_LIFE_S = 0.5


def main() -> None:
    """Serve jobs until the pipe is closed."""
    parent, target, mode = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    _die_with(parent)
    # Only answers may reach the pipe: a runtime that prints would break the protocol.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # Runtimes leave an idle thread behind when imported, of which Python warns before a fork.
    warnings.simplefilter("ignore", DeprecationWarning)
    try:
        _import_runtime(target)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        _send(answers, {"error": _describe(error)})
        return
    from pydantic import TypeAdapter

    from edgestill.targets.jobs import Job, read_descriptions

    adapter: TypeAdapter[Job] = TypeAdapter(Job)
    # What is loaded now stays: a child's collector need not visit it, nor copy its pages.
    gc.collect()
    gc.freeze()
    _send(answers, {"ready": True})
    while line := sys.stdin.buffer.readline():
        status = 0
        try:
            job = adapter.validate_json(line)
            read_descriptions(job)
        except Exception as error:  # noqa: BLE001 - the parent raises it
            _send(answers, {"error": _describe(error)})
        else:
            status = _fork(job, answers) if mode == FORK else _execute(job, answers)
        _send(answers, {"exit": status})


def _import_runtime(target: str) -> None:
    import numpy  # noqa: F401 - inherited by every fork

    from edgestill.extras import require
    from edgestill.targets import TARGETS, prediction, timing  # noqa: F401

    require(TARGETS[target].module, extra=TARGETS[target].extra)


def _fork(job: Job, answers: BinaryIO) -> int:
    """Execute a job in a child; its exit code, negative for a signal."""
    lives, held = os.pipe()
    own = os.getpid()
    child = os.fork()
    if child == 0:
        _die_with(own)
        os.close(lives)
        # No clean-up of runtimes that may hang: the system takes everything back.
        os._exit(_execute(job, answers))
    os.close(held)
    # The child's end of the pipe closes when it ends, ours to the parent when the parent ends.
    ready, _, _ = select.select([lives, sys.stdin], [], [])
    os.close(lives)
    if lives not in ready:
        os.kill(child, signal.SIGKILL)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _execute(job: Job, answers: BinaryIO) -> int:
    from edgestill.targets.jobs import PredictJob
    from edgestill.targets.prediction import predict_all
    from edgestill.targets.timing import time_block

    try:
        if isinstance(job, PredictJob):
            predict_all(job, _pulse(answers))
            answer = None
        else:
            answer = time_block(job, _pulse(answers))
        _send(answers, {"answer": answer})
    except Exception as error:  # noqa: BLE001 - the parent raises it
        _send(answers, {"error": _describe(error)})
    return 0


def _pulse(answers: BinaryIO) -> Callable[[], None]:
    """A function that sends a sign of life, at most twice a second however often it is called."""
    told = monotonic()

    def alive() -> None:
        nonlocal told
        now = monotonic()
        if now - told > SIGN_OF_LIFE_S:
            told = now
            _send(answers, {"alive": True})

    return alive


def _describe(error: Exception) -> dict[str, str | None]:
    if isinstance(error, EdgestillError):
        kind = type(error).__name__
        return {"type": kind, "what": error.what, "where": error.where, "fix": error.fix}
    what = f"{type(error).__name__}: {error}"
    return {"type": "DeviceError", "what": what, "where": None, "fix": None}


def _send(answers: BinaryIO, message: dict[str, Any]) -> None:
    answers.write(canonical_json(message).encode() + b"\n")
    answers.flush()


def _die_with(parent: int) -> None:
    """Be killed when `parent` ends, however it ends. Elsewhere than on Linux its pipe tells."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before we asked
            os._exit(1)
