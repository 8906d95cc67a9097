"""Every error a user can meet, each with what, where and the fix.

EdgestillError
├── UsageError            exit 2: the recipe or the call is wrong
│   ├── RecipeError       every static problem of a recipe at once
│   ├── DataError         the data is not what the recipe says, or cannot be used
│   ├── ModelError        a model, its weights or its outputs do not fit
│   └── ExportError       the model cannot be exported, quantized or compiled
└── EnvironmentFailure    exit 3: the machine, its software or the device failed
    ├── MissingExtra      an optional library is not installed
    ├── DeviceError       a target cannot run here, or its runtime crashed, hung or gave nonsense
    ├── DamagedRelease    a release does not match its manifest
    └── StoreError        the store cannot be read or written (full disk, permissions)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum


class ExitCode(IntEnum):
    """What the command line ends with; when several apply the order is 2, 3, 1, 4, 0."""

    PASSED = 0
    GATE_FAILED = 1
    USAGE = 2
    ENVIRONMENT = 3
    INCONCLUSIVE = 4


class EdgestillError(Exception):
    """An error that tells its reader what happened, where, and how to mend it.

    Args:
        what: one sentence, without a final period when `fix` follows.
        where: a file with line, a key of the recipe, a step or a layer.
        fix: what to do about it: a command, an allowed value, a nearest match.
    """

    exit_code = ExitCode.ENVIRONMENT

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what = what
        self.where = where
        self.fix = fix
        super().__init__(what, where, fix)

    def __str__(self) -> str:
        located = f"{self.where}: {self.what}" if self.where else self.what
        if not self.fix:
            return located
        return f"{located.removesuffix('.')}. {self.fix}"


@contextmanager
def about(place: str) -> Iterator[None]:
    """Errors from within say of what they are, before where it is."""
    try:
        yield
    except EdgestillError as error:
        error.where = f"{place}: {error.where}" if error.where else place
        raise


class UsageError(EdgestillError):
    """The recipe or the call is wrong."""

    exit_code = ExitCode.USAGE


class RecipeError(UsageError):
    """All static problems of one recipe, in the order of their lines."""

    def __init__(self, problems: Sequence[EdgestillError]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class DataError(UsageError):
    """The data is not what the recipe says, or cannot be used."""


class ModelError(UsageError):
    """A model, its weights or its outputs do not fit."""


class ExportError(UsageError):
    """A model cannot be exported, quantized or compiled."""


class EnvironmentFailure(EdgestillError):
    """The machine, its software or the device failed."""

    exit_code = ExitCode.ENVIRONMENT


class MissingExtra(EnvironmentFailure):
    """An optional library is not installed."""


class DeviceError(EnvironmentFailure):
    """A target cannot run here, or its runtime crashed, hung or gave nonsense."""


class DamagedRelease(EnvironmentFailure):
    """A release does not match its manifest."""


class StoreError(EnvironmentFailure):
    """The store cannot be read or written."""
