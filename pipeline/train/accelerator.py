"""Accelerate, which places a training on processors, processes and machines."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from edgestill.extras import require
from edgestill.train.config import TrainConfig

# The folder that trackers write to.
TRACKERS = "trackers"

# Processes wait for the first while it compiles, measures and reads a user's data.
_PATIENCE = timedelta(days=7)


def join_processes(**settings: Any) -> Any:
    """An `accelerate.Accelerator`; the first one of a process finds the others of its launch.

    What a recipe says of a training is not left to variables of the environment.
    """
    accelerate = require("accelerate", extra="build")
    handlers = [
        accelerate.InitProcessGroupKwargs(timeout=_PATIENCE),
        # A term of weight 0, or an unused head, leaves parameters without a gradient.
        accelerate.DistributedDataParallelKwargs(find_unused_parameters=True),
    ]
    return accelerate.Accelerator(
        kwargs_handlers=handlers, mixed_precision="no", dynamo_backend="no", **settings
    )


def start_accelerator(config: TrainConfig, work: Path) -> Any:
    """An `accelerate.Accelerator` for one training, with the trackers that the recipe names.

    It computes in float32: bfloat16 is the student's alone, because losses need the precision.
    """
    for tracker in config.trackers:
        require(tracker, extra=tracker)
    accelerator = join_processes(
        log_with=list(config.trackers) or None, project_dir=work / TRACKERS
    )
    if config.trackers:
        accelerator.init_trackers("edgestill")
    return accelerator
