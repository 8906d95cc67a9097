"""What would decide a gate on time, or a choice by speed, that is open: in numbers."""

from __future__ import annotations

from edgestill.quantities import count_text
from edgestill.stats import (
    MOST_FORESEEN,
    SMALLEST_BLOCKS,
    Estimate,
    Look,
    look_for_calls,
    look_to_decide,
)
from edgestill.verify.config import Load
from edgestill.verify.evidence import Evidence


def more_rounds(
    evidence: Evidence, load: int | Load, estimate: Estimate, budget: float, level: float
) -> str:
    """Of an estimate that a budget lies within; empty where more calls are what it lacks."""
    look, first = _place(evidence, load)
    if look.rounds < SMALLEST_BLOCKS:
        found = count_text(look.rounds, "block", "blocks")
        return f"{found}; an interval needs {SMALLEST_BLOCKS} (measure.rounds)"
    if estimate.interval is None:
        return ""
    enough = look_to_decide(estimate, budget, look, first, level)
    if enough is None:
        most = look.rounds * MOST_FORESEEN
        return (
            f"even {most} rounds like these would not decide it: the figure is too near the "
            "budget, or the machine too noisy"
        )
    return f"about {enough.rounds} rounds would decide it, {_measured(look)}"


def rounds_to_tell_apart(evidence: Evidence, batch: int, speedup: Estimate, level: float) -> str:
    """Of two engines of which neither is surely faster: measuring does not go on for a choice."""
    look, first = _place(evidence, batch)
    enough = look_to_decide(speedup, 1.0, look, first, level)
    if enough is None or speedup.value == 1.0:
        return f"even {look.rounds * MOST_FORESEEN} rounds like these would not tell them apart"
    return f"about {enough.rounds} rounds would tell (measure.rounds), {look.rounds} were measured"


def more_calls(
    evidence: Evidence, load: int | Load, percentile: float, calls: int, level: float
) -> str:
    """Of a percentile that so many calls do not carry."""
    look, first = _place(evidence, load)
    needed, enough = look_for_calls(percentile, calls / look.rounds, look, first, level)
    return f"p{percentile:g} needs {needed} calls: about {enough.rounds} rounds, {_measured(look)}"


def _measured(look: Look) -> str:
    verb = "was" if look.rounds == 1 else "were"
    return f"{look.rounds} {verb} measured (measure.decide_within)"


def _place(evidence: Evidence, load: int | Load) -> tuple[Look, int]:
    """The look that was reached, and the rounds of the first."""
    rounds = len(evidence.rounds[load])
    return evidence.look(load) or Look(1, rounds), evidence.first_look or rounds
