"""Which candidate of a target ships: the fastest that is accurate enough, on validation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgestill.quantities import score_text
from edgestill.verdict import Estimate, Interval
from edgestill.verify.advice import rounds_to_tell_apart
from edgestill.verify.config import FLOAT
from edgestill.verify.evidence import Candidate, Evidence
from edgestill.verify.latency import speedup_over


@dataclass(frozen=True)
class Choice:
    """What ships, and for each candidate why it does or does not."""

    shipped: tuple[str, ...]
    reasons: Mapping[str, str]


@dataclass(frozen=True)
class Budget:
    """What a candidate may lose, and how speed is compared.

    Attributes:
        accuracy_drop: against the float candidate on validation, in the metric; None for no limit.
        unit: of the metric.
        bigger_is_better: of the metric; an error rises where a score drops.
    """

    accuracy_drop: float | None
    unit: str
    batch: int
    level: float
    bigger_is_better: bool = True


def choose(
    evidence: Evidence, drops: Mapping[str, Estimate | None], budget: Budget, *, auto: bool
) -> Choice:
    """Decide between the candidates of a target.

    A candidate takes the float one's place when its drop on the validation split keeps the
    budget and its speed-up over the float candidate is certain, that is above 1 by the lower
    end of its interval. So int8 that is slower, or not shown to be faster, does not ship, nor
    does one whose drop is not known. Of several, the fastest ships. One that failed while it was
    timed never ships.

    Args:
        drops: each candidate's drop against the float one on validation, in the metric.
        auto: whether the recipe left the choice open; else every candidate ships, and what breaks
            the budget is told.
    """
    reasons = {c.name: "it failed here" for c in evidence.precisions if c.name in evidence.failures}
    able = [c for c in evidence.precisions if c.name not in reasons]
    if not auto:
        reasons |= _over_budget((c.name for c in able), drops, budget)
        return Choice(tuple(c.name for c in able), reasons)
    accurate = []
    for candidate in able:
        drop = drops.get(candidate.name)
        if candidate is evidence.reference or (drop is not None and _keeps(drop, budget)):
            accurate.append(candidate)
        elif drop is not None:
            reasons[candidate.name] = _drop_text(drop, budget)
        else:
            compared = evidence.reference.name
            reasons[candidate.name] = f"its accuracy was not compared with that of {compared}"
    if len(evidence.precisions) == 1 or not accurate:
        return Choice(tuple(c.name for c in accurate), reasons)
    # The float candidate, or what is left of them where that one failed.
    reference = next((c for c in accurate if c is evidence.reference), accurate[0])
    return _fastest(evidence, accurate, reference, drops, budget, reasons)


def choose_unmeasured(
    precisions: Sequence[str], drops: Mapping[str, Estimate], budget: Budget, *, auto: bool
) -> Choice:
    """What ships to a device that measures it later: all that is not known to lose too much.

    Args:
        drops: what is known before an engine runs: the drop of its ONNX model in ONNX Runtime.
        auto: whether the recipe left the choice open; else every candidate ships.
    """
    if not auto:
        return Choice(tuple(precisions), _over_budget(precisions, drops, budget))
    reasons = {
        name: f"{_drop_text(drop, budget)}, as ONNX in ONNX Runtime" for name, drop in drops.items()
    }
    for name in precisions:
        if name not in drops and name != FLOAT:
            reasons[name] = "its accuracy is not known before it runs on the device"
    lost = {name for name, drop in drops.items() if not _keeps(drop, budget)}
    return Choice(tuple(name for name in precisions if name not in lost), reasons)


def _fastest(
    evidence: Evidence,
    accurate: list[Candidate],
    reference: Candidate,
    drops: Mapping[str, Estimate | None],
    budget: Budget,
    reasons: dict[str, str],
) -> Choice:
    gains = {
        c.name: speedup_over(evidence, reference.name, c.name, budget.batch, budget.level)
        for c in accurate
        if c is not reference
    }
    faster = [n for n, gain in gains.items() if gain.interval and gain.interval.low > 1.0]
    best = max(faster, key=lambda name: gains[name].value, default=reference.name)
    for name, gain in gains.items():
        words = f"{_times_text(gain)} the speed of {reference.name}"
        if gain.interval is None:
            words += ", from too few blocks to be sure"
        elif name not in faster:
            words += _not_faster(evidence, gain, gain.interval, budget)
        elif name != best:
            words += f", and {best} is faster"
        elif drop := drops.get(name):
            words += f", {_drop_text(drop, budget)}"
        reasons[name] = words
    others = {candidate.name for candidate in evidence.precisions} - {reference.name}
    if best != reference.name:
        reasons[reference.name] = f"{best} is {gains[best].value:.2f}x as fast"
    elif others <= evidence.failures.keys():
        reasons[reference.name] = "no other candidate could run here"
    else:
        reasons[reference.name] = "no other candidate is accurate enough and surely faster"
    return Choice((best,), reasons)


def _not_faster(evidence: Evidence, gain: Estimate, interval: Interval, budget: Budget) -> str:
    if interval.high < 1.0:
        return ", slower"
    told = rounds_to_tell_apart(evidence, budget.batch, gain, budget.level)
    return f", which is not surely faster: {told}"


def _over_budget(
    shipped: Iterable[str], drops: Mapping[str, Estimate | None], budget: Budget
) -> dict[str, str]:
    """Of what ships because the recipe names it, all that loses more than quantization may."""
    found = ((name, drops.get(name)) for name in shipped)
    return {
        name: f"{_drop_text(drop, budget)}: it breaks quantize.budget, and ships since the recipe "
        "names it (precision: auto would not ship it)"
        for name, drop in found
        if drop is not None and not _keeps(drop, budget)
    }


def _keeps(drop: Estimate, budget: Budget) -> bool:
    """Whether the drop keeps the budget, where there is one; a drop that is NaN never does."""
    if budget.accuracy_drop is None:
        return not math.isnan(drop.value)
    return drop.value <= budget.accuracy_drop


def _drop_text(drop: Estimate, budget: Budget) -> str:
    if budget.bigger_is_better:
        verb = "gains" if drop.value < 0 else "loses"
    else:
        verb = f"its error {'falls' if drop.value < 0 else 'rises'} by"
    points = score_text(abs(drop.value), budget.unit, drop=True)
    text = f"{verb} {points} on {drop.count} validation samples"
    if budget.accuracy_drop is not None:
        text += f", budget {score_text(budget.accuracy_drop, budget.unit, drop=True)}"
    return text


def _times_text(gain: Estimate) -> str:
    if gain.interval is None:
        return f"{gain.value:.2f}x"
    return f"{gain.value:.2f}x [{gain.interval.low:.2f}, {gain.interval.high:.2f}]"
