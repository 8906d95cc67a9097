"""The batch size and the number of streams with which a candidate serves most samples a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edgestill.targets.blocks import Trial

# Of the best so far with as many streams: below it, a larger batch is not worth a try. A batch that
# is as good but for noise does not end the search.
_STILL_GOOD = 0.9
_LONGEST_CALL_S = 0.5


@dataclass(frozen=True)
class Setting:
    """How a candidate is served.

    Attributes:
        batch: samples of one call.
        streams: calls at once.
    """

    batch: int
    streams: int = 1


def batches_up_to(largest: int, fixed: int | None) -> tuple[int, ...]:
    """The powers of two up to the largest batch, or the one that the model has."""
    if fixed is not None:
        return (fixed,)
    return tuple(1 << exponent for exponent in range(largest.bit_length()))


def streams_up_to(threads: int) -> tuple[int, ...]:
    """The powers of two below the number of threads, and that number: each thread is in use."""
    below = (1 << exponent for exponent in range(threads.bit_length()))
    return (*(number for number in below if number < threads), threads)


def tried(
    batches: Sequence[int], streams: Sequence[int], trial_of: Callable[[Setting], Trial]
) -> Iterator[Trial]:
    """For each number of streams, larger and larger batches, for as long as that may be worth it.

    It is not where a trial failed, fell clearly below the best, or has calls of half a second.
    """
    for number in streams:
        best = 0.0
        for batch in batches:
            trial = trial_of(Setting(batch, number))
            yield trial
            best = max(best, trial.per_second)
            if trial.failure or trial.per_second < _STILL_GOOD * best:
                break
            if number * batch > _LONGEST_CALL_S * trial.per_second:
                break


def best_of(trials: Sequence[Trial]) -> Setting | None:
    """The setting of the best trial; None where all failed."""
    best = max(
        (trial for trial in trials if not trial.failure),
        key=lambda trial: trial.per_second,
        default=None,
    )
    return None if best is None else Setting(best.batch, best.streams)
