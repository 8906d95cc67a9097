"""A verdict and what it rests on: what CI is shown of a run, of a comparison and of a check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from edgestill.errors import ExitCode
from edgestill.report.figures import Section
from edgestill.verdict import Verdict
from edgestill.verify.results import GateResult


class Judged(Protocol):
    """What the formats for CI need, which a report has too."""

    @property
    def name(self) -> str:
        """What was judged, the same from one run of a job to the next."""

    @property
    def verdict(self) -> Verdict: ...

    @property
    def exit_code(self) -> ExitCode: ...

    @property
    def created(self) -> str:
        """ISO 8601, UTC."""

    @property
    def gates(self) -> Sequence[GateResult]: ...

    @property
    def failures(self) -> Sequence[str]:
        """What had to run and could not."""

    @property
    def facts(self) -> Mapping[str, str]:
        """With what, and on which machine."""


@dataclass(frozen=True)
class Judgement:
    """A comparison or a check, as every format shows it.

    Attributes:
        headline: the one line for a reader in a hurry, which starts with the verdict.
        sections: tables in which the gates stand with more than verdicts; without one, the gates
            are shown as they are.
        json: all of it as data.
    """

    name: str
    headline: str
    verdict: Verdict
    exit_code: ExitCode
    created: str
    gates: tuple[GateResult, ...]
    json: str
    failures: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    sections: tuple[Section, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        return self.json
