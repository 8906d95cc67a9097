"""Several processes on one run, as `accelerate launch` or `torchrun` start them.

The first process is the run: it plans, hits the store, compiles, measures and writes. The others
wait, and whenever it comes to a step that trains, they run the same step on the same inputs, in a
folder that is thrown away; inside, Accelerate makes them one training. The store therefore has to
lie where all of them see it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgestill.capture import captured
from edgestill.extras import require, set_switches
from edgestill.stages import Stage
from edgestill.step import StepContext
from edgestill.train.accelerator import join_processes


@dataclass(frozen=True)
class Task:
    """A step for the companions: a stage, and what its function is called with.

    Attributes:
        inputs: the artifacts, by field of the stage's inputs.
        work: the folder that has the state of an unfinished training.
    """

    stage: Stage
    config: Any
    inputs: dict[str, Any]
    base: Path
    work: Path


def several() -> bool:
    """Whether other processes take part in this run."""
    # Schedulers set WORLD_SIZE too; the local rank is the launchers' own.
    return "LOCAL_RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_companion() -> bool:
    """Whether this process is one of the others."""
    return several() and int(os.environ.get("RANK", "0")) > 0


def announce(task: Task) -> None:
    """Make the companions, where there are any, run a step with this process, the first."""
    if several():
        _broadcast(task)


def dismiss() -> None:
    """Let the companions go when the run has ended well.

    After an error they stay where they wait, until the launcher ends them: it does when this
    process has failed.
    """
    if several():
        _broadcast(None)


def accompany(log: Path) -> None:
    """Run every step that the first process announces, until it lets us go."""
    while (task := _broadcast(None)) is not None:
        with captured(log), TemporaryDirectory() as folder:
            context = StepContext(task.base, task.work, lambda _, __: None, lambda _: None)
            task.stage.run(task.config, task.inputs, Path(folder), context)


def _broadcast(task: Task | None) -> Task | None:
    """What the first process sends, in all processes."""
    set_switches("torch")
    join_processes()
    sent = [task]
    require("accelerate.utils", extra="build").broadcast_object_list(sent)
    return sent[0]
