"""What is decided, and what was found, in words and in numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgestill.artifact import Predictions
from edgestill.quantities import margin_text
from edgestill.scoring import Scorer
from edgestill.verdict import Decision, Verdict
from edgestill.verify.config import Load, load_text
from edgestill.verify.evidence import Candidate, Evidence

NOT_MEASURED = ("not measured", "it was not run here")


@dataclass(frozen=True)
class Subject:
    """A shipped candidate of a target, and what it is compared with.

    Attributes:
        references: predictions on the test split of `teacher` and `student` (the float model).
        scorer: the task's metric on the test split.
    """

    evidence: Evidence
    candidate: Candidate
    references: Mapping[str, Predictions]
    scorer: Scorer
    level: float


@dataclass(frozen=True)
class Finding:
    """What a gate found: a `GateResult` without the name and the target that it is given then."""

    verdict: Verdict
    budget: str
    found: str
    advice: str = ""
    open_at: str = ""
    decision: Decision | None = None

    @classmethod
    def of(
        cls,
        decision: Decision,
        budget: str,
        found: str,
        advice: str = "",
        *,
        margin: Callable[[float], str] | None = None,
        open_at: int | Load | None = None,
    ) -> Finding:
        """What was decided in numbers, with how far from its budget it is.

        Args:
            advice: what would decide it, where it is open.
            margin: how a margin is written; else it is a share of the budget.
            open_at: the batch size or load at which more rounds may decide it.
        """
        if decision.verdict is Verdict.INCONCLUSIVE:
            where = load_text(open_at) if open_at is not None else ""
            return cls(decision.verdict, budget, found, advice, where, decision)
        found = ", ".join(filter(None, (found, margin_text(decision, margin))))
        return cls(decision.verdict, budget, found, decision=decision)
