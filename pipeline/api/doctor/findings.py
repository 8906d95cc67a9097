"""What a look at one thing found, and what all of it together says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from edgestill.errors import EdgestillError, ExitCode, RecipeError
from edgestill.reference import describe


class State(str, Enum):
    """How a finding is meant: only a problem changes the exit code."""

    OK = "ok"
    ABSENT = "absent"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        fix: what to do about it; empty when nothing has to be done.
        exit_code: of a problem: what a run would end with.
        error: what was raised, for its traceback.
    """

    subject: str
    state: State
    found: str
    fix: str = ""
    exit_code: ExitCode = ExitCode.PASSED
    error: Exception | None = None


@dataclass(frozen=True)
class Diagnosis:
    """Everything that was looked at, in order."""

    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> ExitCode:
        codes = {finding.exit_code for finding in self.findings}
        order = (ExitCode.USAGE, ExitCode.ENVIRONMENT)
        return next((code for code in order if code in codes), ExitCode.PASSED)


def problems(subject: str, error: Exception) -> Iterator[Finding]:
    """What an error says of `subject`, which need not be named twice."""
    if not isinstance(error, EdgestillError):
        fix = "This is a fault of edgestill. Run it again with --debug and report what it prints."
        what = f"internal error: {describe(error)}"
        yield Finding(subject, State.PROBLEM, what, fix, ExitCode.ENVIRONMENT, error)
        return
    for part in error.problems if isinstance(error, RecipeError) else (error,):
        where = "" if part.where == subject else (part.where or "").removeprefix(f"{subject}: ")
        what = f"{where}: {part.what}" if where else part.what
        yield Finding(subject, State.PROBLEM, what, part.fix or "", part.exit_code, error)
