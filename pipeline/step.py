"""What a stage is given beside its config and inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StepContext:
    """Where one execution of a stage works, and whom it tells.

    Attributes:
        base: the folder that relative paths and `file.py:callable` of a recipe start from.
        work: a folder that survives a kill and is handed to the next try of the same step.
        progress: called with the share done, 0 to 1, and a few words such as `epoch 3/20`.
        say: called with a line that the user should read.
    """

    base: Path
    work: Path
    progress: Callable[[float, str], None]
    say: Callable[[str], None]
