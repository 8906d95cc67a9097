"""Which candidate of a target ships: the fastest that is accurate enough, on validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgestill.verdict import Estimate
from edgestill.verify.evidence import Evidence
from edgestill.verify.latency import speedup_over


@dataclass(frozen=True)
class Choice:
    """What ships, and for each candidate why it does or does not."""

    shipped: tuple[str, ...]
    reasons: Mapping[str, str]


def choose(
    evidence: Evidence,
    drops: Mapping[str, Estimate | None],
    *,
    auto: bool,
    accuracy_drop: float | None,
    batch: int,
    level: float,
    unit: str,
) -> Choice:
    """Decide between the candidates of a target.

    A candidate takes the float one's place when its drop on the validation split keeps the
    budget and its speed-up over the float candidate is certain, that is above 1 by the lower
    end of its interval. So int8 that is slower, or not shown to be faster, does not ship. Of
    several, the fastest ships.

    Args:
        drops: each candidate's drop against the float one on validation, in the metric.
        auto: whether the recipe left the choice open; else every candidate ships.
        accuracy_drop: the budget, in the metric.
    """
    if not auto or len(evidence.precisions) == 1:
        return Choice(tuple(c.name for c in evidence.precisions), {})
    reference = evidence.reference.name
    best, best_speedup = reference, 1.0
    reasons: dict[str, str] = {}
    for candidate in evidence.precisions:
        if candidate.name == reference:
            continue
        drop = drops[candidate.name]
        gain = speedup_over(evidence, reference, candidate.name, batch, level)
        speed = f"{gain.value:.2f}x the speed of {reference}"
        if gain.interval is not None:
            speed += f" [{gain.interval.low:.2f}, {gain.interval.high:.2f}]"
        if drop is not None and accuracy_drop is not None and drop.value > accuracy_drop:
            reasons[candidate.name] = (
                f"loses {_in(drop.value, unit)} on validation, budget {_in(accuracy_drop, unit)}"
            )
        elif gain.interval is None:
            reasons[candidate.name] = f"{speed}: too few blocks to be sure"
        elif gain.interval.low <= 1.0:
            slower = gain.interval.high < 1.0
            reasons[candidate.name] = f"{speed}: {'slower' if slower else 'not surely faster'}"
        else:
            reasons[candidate.name] = speed
            if gain.value > best_speedup:
                best, best_speedup = candidate.name, gain.value
    reasons[reference] = (
        "no other candidate is surely faster and accurate enough"
        if best == reference
        else f"{best} is {best_speedup:.2f}x as fast"
    )
    return Choice((best,), reasons)


def _in(value: float, unit: str) -> str:
    return f"{value * 100:.2f}pp" if unit == "pp" else f"{value:.4g}"
