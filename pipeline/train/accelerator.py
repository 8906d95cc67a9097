"""Accelerate, which places a training on processors, processes and machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgestill.extras import require
from edgestill.train.config import TrainConfig


def start_accelerator(config: TrainConfig, work: Path) -> Any:
    """An `accelerate.Accelerator` for one training, with the trackers that the recipe names.

    It computes in float32: bfloat16 is the student's alone, because losses need the precision.
    """
    accelerate = require("accelerate", extra="build")
    for tracker in config.trackers:
        require(tracker, extra=tracker)
    # A term of weight 0, or an unused head, leaves parameters without a gradient.
    distributed = accelerate.DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = accelerate.Accelerator(
        mixed_precision="no",
        kwargs_handlers=[distributed],
        log_with=list(config.trackers) or None,
        project_dir=work / "trackers",
    )
    if config.trackers:
        accelerator.init_trackers("edgestill")
    return accelerator
