"""When a growing series of rounds is looked at, and how sure each look has to be.

Who looks at more and more data until they decide errs more often than any single look says: with
four looks at the level 0.95, either way about 6 % of the time and not 2.5 % (Armitage, McPherson
and Rowe, JRSS A 132 (1969), 235-244; simulated in tests/benchmarks/verdicts_looks.py). So a series
is looked at after fixed numbers of rounds, each twice the last, and each look spends a share of the
error. By Bonferroni's inequality all intervals of a series then hold together (repeated confidence
intervals: Jennison and Turnbull, JRSS B 51 (1989), 305-361), whatever made measuring stop, and
nothing is assumed of how the looks depend on each other. Doubling with a series of shares that has
a finite sum is the "stitching" of Howard, Ramdas, McAuliffe and Sekhon, Annals of Statistics 49
(2021), 1055-1080: it has no last look, so that a later run may go on where this one stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count, islice, takewhile

from edgestill.stats.distributions import normal_quantile
from edgestill.stats.latency import SMALLEST_BLOCKS, calls_needed
from edgestill.verdict import Estimate

# Four looks are what a run takes; all that come after share what a fifth one would have.
_EQUAL = 4
_POWER = 0.8
_FORESEEN = 6
MOST_FORESEEN = 2**_FORESEEN


@dataclass(frozen=True)
class Look:
    """A look at a series.

    Attributes:
        number: from 1; 0 where there are too few rounds for any interval, so that nothing is spent.
        rounds: that it rests on.
    """

    number: int
    rounds: int

    def level(self, level: float) -> float:
        """The level at which this look's interval is taken, so that all looks keep `level`."""
        share = 0.5 ** max(0, self.number - _EQUAL) / (_EQUAL + 1)
        return 1.0 - share * (1.0 - level)


def looks(first: int) -> Iterator[Look]:
    """Every look at a series whose first one is after `first` rounds; without an end."""
    if first < SMALLEST_BLOCKS:
        yield Look(0, first)
    start = max(first, SMALLEST_BLOCKS)
    for number in count(1):
        yield Look(number, start * 2 ** (number - 1))


def last_look(first: int, rounds: int) -> Look:
    """The last look that a series of so many rounds has reached; one without a number where it has
    not reached the first."""
    reached = list(takewhile(lambda look: look.rounds <= rounds, looks(first)))
    return reached[-1] if reached else Look(0, rounds)


def next_look(first: int, rounds: int) -> Look:
    """The look that comes after so many rounds."""
    return next(look for look in looks(first) if look.rounds > rounds)


def repeated(estimate_at: Callable[[float], Estimate], look: Look, level: float) -> Estimate:
    """An estimate whose interval holds at `level` together with those of all other looks.

    Args:
        estimate_at: the estimate from the look's rounds, with an interval at the level it is given.
    """
    estimate = estimate_at(look.level(level))
    if estimate.interval is None:
        return estimate
    return replace(estimate, interval=replace(estimate.interval, level=level))


def look_to_decide(
    estimate: Estimate, budget: float, look: Look, first: int, level: float
) -> Look | None:
    """Roughly the look at which an open estimate would be decided, with a probability of 0.8.

    Widths shrink with the root of the rounds and grow with the strictness of the look. None where
    64 times the rounds would not do: the value is too near the budget.
    """
    if estimate.interval is None:
        return None
    value, gap = estimate.value, abs(estimate.value - budget)
    end = estimate.interval.high if value < budget else estimate.interval.low
    now = abs(end - value) * math.sqrt(look.rounds) / _reach(look, level)
    later = (other for other in looks(first) if other.rounds > look.rounds)
    for other in islice(later, _FORESEEN):
        needed = _reach(other, level) + normal_quantile(_POWER)
        if now * needed <= gap * math.sqrt(other.rounds):
            return other
    return None


def look_for_calls(
    percentile: float, calls_a_round: float, look: Look, first: int, level: float
) -> tuple[int, Look]:
    """How many calls an interval of a percentile needs, and the later look that has so many."""
    enough = next(
        other
        for other in looks(first)
        if other.rounds > look.rounds
        and other.rounds * calls_a_round >= calls_needed(percentile, other.level(level))
    )
    return calls_needed(percentile, enough.level(level)), enough


def _reach(look: Look, level: float) -> float:
    """How many standard errors the interval of a look reaches to each side."""
    return normal_quantile((1.0 + look.level(level)) / 2)
