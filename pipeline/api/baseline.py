"""`edgestill baseline`: accepted figures in a committed file, and reports held against them."""

from __future__ import annotations

from dataclasses import dataclass

from edgestill.api.report import read_report
from edgestill.arguments import PathLike, as_path
from edgestill.baseline.accept import accepted_figures
from edgestill.baseline.check import Check, check
from edgestill.baseline.file import Accepted, Baseline, read_baseline, write_baseline
from edgestill.verdict import Verdict
from edgestill.verify.budgets import DEFAULTS, Budgets

FILE = "baseline.json"


@dataclass(frozen=True)
class Acceptance:
    """What was noted.

    Attributes:
        entries: each new one, with the one that it took the place of.
        undecided: the gates that the report could not decide: nothing shows that they are kept.
    """

    entries: tuple[tuple[Accepted, Accepted | None], ...]
    undecided: tuple[str, ...]


def accept_baseline(report: PathLike, *, reason: str, file: PathLike = FILE) -> Acceptance:
    """Note what a report found as what later ones are held against, on its machine.

    Entries of other releases, targets, precisions and machines stay as they are.

    Args:
        report: a release, or the file that a verification wrote.
        reason: why these figures may count; it stands in the file.

    Raises:
        UsageError: the report failed or measured nothing, or a file cannot be read or written.
        DamagedRelease: the report is not the one that the release was written with.
    """
    place = as_path(file, "file")
    found = read_report(report)
    new = accepted_figures(found, reason, str(report))
    former = read_baseline(place) if place.exists() else Baseline()
    write_baseline(former.with_entries(new), place)
    undecided = (
        f"{gate.gate} on {gate.target}"
        for gate in found.gates
        if gate.verdict is Verdict.INCONCLUSIVE or gate.withheld
    )
    return Acceptance(tuple((entry, former.at(entry)) for entry in new), tuple(undecided))


def check_baseline(
    report: PathLike, *, file: PathLike = FILE, budgets: Budgets = DEFAULTS
) -> Check:
    """Hold a report against what was accepted on its machine.

    Args:
        report: a release, or the file that a verification wrote.
        budgets: how much worse it may be; for the score by default half a point of a metric that
            is a proportion, else no limit.

    Raises:
        UsageError: the report or the baseline cannot be read.
        DamagedRelease: the report is not the one that the release was written with.
    """
    return check(read_report(report), read_baseline(as_path(file, "file")), budgets)
