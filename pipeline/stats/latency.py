"""Latency from blocks: percentiles, speedups and throughput, with intervals honest about drift.

A block is the array `[calls]` of nanoseconds of one worker process. Calls of one block share its
luck (clock frequency, memory layout, neighbours), so the block is the independent unit and not
the call: every interval here widens with what the blocks differ by. tests/benchmarks/
verdicts_coverage.py has how often each covers the truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.stats.distributions import (
    binomial_tail,
    normal_quantile,
    signed_rank_cut,
    student_t_quantile,
)
from edgestill.verdict import Estimate, Interval

SMALLEST_BLOCKS = 12

Block = NDArray[Any]
Floats = NDArray[np.float64]


def smallest_sample(percentile: float, confidence: float = 0.99) -> int:
    """How many samples a bound on `percentile` (0 to 100) needs to exist at `confidence`.

    The smallest n with 1 - p**n >= confidence: then the largest sample is such a bound (Wilks
    1941). Below the median the smallest sample is what bounds, and counts.
    """
    share = _share(percentile)
    return math.ceil(math.log(1.0 - confidence) / math.log(max(share, 1.0 - share)) - 1e-9)


def calls_needed(percentile: float, level: float) -> int:
    """How many calls an interval of a percentile needs: at 99 %, or its own level if stricter."""
    return smallest_sample(percentile, max(0.99, (1.0 + level) / 2))


def percentile(blocks: Sequence[Block], p: float, level: float = 0.95) -> Estimate:
    """The percentile `p` (0 to 100) of all calls, in ns; `count` is the number of calls.

    The interval is the union of three, each the widest where the others fail:
    order statistics (exact for independent calls; nothing is assumed of their distribution);
    order statistics at p -+ t * the between-block error of the share of calls below the
    percentile (Woodruff 1952, with the block as cluster); and the normal tolerance limit of k
    blocks (Natrella 1963; NIST handbook, 7.2.6.3) with the spread of block medians, which carries
    an upper bound past the slowest call when few drifting blocks have not shown the slowest yet.
    No interval from fewer than 12 blocks or `calls_needed(p, level)` calls.
    """
    share = _share(p)
    series = _checked(blocks)
    pooled = np.sort(np.concatenate(series))
    count = len(pooled)
    value = float(np.quantile(pooled, share))
    if len(series) < SMALLEST_BLOCKS or count < calls_needed(p, level):
        return Estimate(value, None, count)

    low_rank, high_rank = _order_ranks(count, share, (1.0 - level) / 2)
    error = _share_error(series, value)
    reach = student_t_quantile((1.0 + level) / 2, len(series) - 1) * error
    low_rank = min(low_rank, math.floor((share - reach) * count))
    high_rank = max(high_rank, math.ceil((share + reach) * count) + 1)
    below, above = _tolerance(len(series), share, level)
    medians = np.sort([np.median(block) for block in series])  # in any order, the same sum
    spread = float(medians.std(ddof=1))
    low = min(float(pooled[max(low_rank, 1) - 1]), value - below * spread)
    high = max(float(pooled[min(high_rank, count) - 1]), value + above * spread)
    # No call takes less than no time; and hardly all of them more than half of all calls do.
    least = float(pooled[0]) if share >= 0.5 else 0.0
    return Estimate(value, Interval(max(low, least), high, level), count)


def speedup(
    baseline_blocks: Sequence[Block], candidate_blocks: Sequence[Block], level: float = 0.95
) -> Estimate:
    """How many times faster the candidate is: the typical ratio of paired block medians.

    Pair i is the i-th block of both, measured next to each other, so slow drift cancels; `count` is
    the number of pairs. Value and interval are Hodges and Lehmann's median of pairwise means
    of the log ratios and the signed-rank interval that goes with it (Hollander, Wolfe and Chicken
    2014, 3.2 and 3.3): exact when a log ratio is symmetric about its centre. Chosen by simulation
    at 12 to 30 pairs and nominal 0.95: it covered 0.94 to 0.97 on normal, heavy-tailed, skewed and
    contaminated ratios; t 0.81 to 0.97 (lowest when one candidate block in eight is hit), a
    bootstrap of the mean 0.80 to 0.94, BCa 0.79 to 0.95, a bootstrap of the median 0.93 to 0.95 but
    wider on clean blocks. No interval from fewer than 12 pairs.

    Raises:
        ValueError: the two have different numbers of blocks.
    """
    baseline, candidate = _checked(baseline_blocks), _checked(candidate_blocks)
    if len(baseline) != len(candidate):
        raise ValueError(
            f"{len(baseline)} baseline blocks and {len(candidate)} candidate blocks: "
            "speedup pairs them one by one"
        )
    medians = np.array(
        [[np.median(a), np.median(b)] for a, b in zip(baseline, candidate, strict=True)]
    )
    return _typical_ratio(np.log(medians[:, 0]) - np.log(medians[:, 1]), level)


def noise_floor(blocks: Sequence[Block], level: float = 0.95) -> float | None:
    """The smallest change of speed that so many rounds can tell from none, as a share.

    An engine against itself, for free: of rounds that run A B, B A, the blocks of one engine in
    rounds 1 and 2, 3 and 4 and so on are neighbours as those of a comparison are. Their log ratios,
    each taken both ways since neither comes first, stand for those of as many rounds of an A/A run,
    and half the width of the interval that `speedup` would give it is the floor. None from fewer
    than 12 blocks.
    """
    medians = np.log([np.median(block) for block in _checked(blocks)])
    even = len(medians) // 2 * 2
    ratios = medians[0:even:2] - medians[1:even:2]
    found = _typical_ratio(np.concatenate([ratios, -ratios]), level) if even else None
    return found.interval.high - 1.0 if found and found.interval else None


def _typical_ratio(log_ratios: Floats, level: float) -> Estimate:
    pairs = len(log_ratios)
    first, second = np.triu_indices(pairs)
    walsh_means = np.sort((log_ratios[first] + log_ratios[second]) / 2)
    value = math.exp(float(np.median(walsh_means)))
    cut = signed_rank_cut(pairs, (1.0 - level) / 2)
    if pairs < SMALLEST_BLOCKS or cut == 0:
        return Estimate(value, None, pairs)
    low, high = (math.exp(float(walsh_means[i])) for i in (cut - 1, len(walsh_means) - cut))
    return Estimate(value, Interval(min(low, value), max(high, value), level), pairs)


def mean_throughput(blocks: Sequence[Block], batch: int, level: float = 0.95) -> Estimate:
    """Samples per second, one call of `batch` samples after the other; `count` is the calls."""
    series = _checked(blocks)
    return throughput([block.sum() for block in series], [len(b) for b in series], batch, level)


def throughput(
    elapsed_ns: Sequence[float], calls: Sequence[int], batch: int, level: float = 0.95
) -> Estimate:
    """Samples per second, from the time and the calls of each block; `count` is all calls.

    All samples over all time; the interval is Student's t on the log of this ratio, with the
    blocks' linearized residuals (Cochran 1977, chapter 6), and reaches further to a side where
    their skewness asks for it (Hall, JRSS B 54 (1992), 221-228): a dozen blocks may not have met
    the rare slow call that makes the mean. None below 12 blocks.
    """
    totals, numbers = np.asarray(elapsed_ns, np.float64), np.asarray(calls)
    mean_ns = float(totals.sum() / numbers.sum())
    value = batch * 1e9 / mean_ns
    count = int(numbers.sum())
    blocks_count = len(totals)
    if blocks_count < SMALLEST_BLOCKS:
        return Estimate(value, None, count)
    residuals = totals - mean_ns * numbers
    variance = blocks_count / (blocks_count - 1) * float(np.square(residuals).sum())
    error = math.sqrt(variance) / float(totals.sum())
    reach = student_t_quantile((1.0 + level) / 2, blocks_count - 1)
    slower, faster = (max(reach, _unskewed(reach, side * residuals)) for side in (1, -1))
    low, high = value / math.exp(slower * error), value * math.exp(faster * error)
    return Estimate(value, Interval(low, high, level), count)


def _unskewed(reach: float, residuals: Floats) -> float:
    """How many standard errors a mean may lie above the one found, where a symmetric one of that
    level reaches `reach`: Hall's transformation."""
    count, spread = len(residuals), float(residuals.std(ddof=1))
    if spread == 0.0:
        return reach
    skewness = float((residuals**3).mean()) / spread**3 * count**2 / ((count - 1) * (count - 2))
    if abs(skewness) < 1e-6:
        return reach
    root = math.sqrt(count)
    inner = 1.0 - skewness * (reach / root + skewness / (6 * count))
    return float(1.0 - np.cbrt(inner)) * 3.0 / skewness * root


def _share(percentile: float) -> float:
    if not 0.0 < percentile < 100.0:
        raise ValueError(f"percentile {percentile}: it lies between 0 and 100")
    return percentile / 100.0


def _checked(blocks: Sequence[Block]) -> list[Floats]:
    series = [np.asarray(block, dtype=np.float64) for block in blocks]
    if not series:
        raise ValueError("no blocks")
    for position, block in enumerate(series):
        if block.ndim != 1 or block.size == 0:
            raise ValueError(f"block {position} has shape {block.shape}: give [calls], not empty")
        if not (np.isfinite(block).all() and (block > 0).all()):
            raise ValueError(f"block {position} has times that are not positive numbers")
    return series


@lru_cache(maxsize=256)
def _order_ranks(count: int, share: float, tail: float) -> tuple[int, int]:
    """1-based ranks whose samples bound the quantile, each with an error of at most `tail`.

    The sample of rank r lies above the quantile with P(X < r), X ~ Binomial(count, share). A rank
    of 0 or count + 1 means that no sample is such a bound.
    """
    low, high = 0, count + 1
    while high - low > 1:  # the largest r with P(X < r) <= tail
        middle = (low + high) // 2
        if 1.0 - binomial_tail(middle, count, share) <= tail:
            low = middle
        else:
            high = middle
    low_rank = low
    low, high = 0, count + 1
    while high - low > 1:  # the smallest r with P(X >= r) <= tail
        middle = (low + high) // 2
        if binomial_tail(middle, count, share) <= tail:
            high = middle
        else:
            low = middle
    return low_rank, high


def _share_error(series: Sequence[Floats], value: float) -> float:
    """Standard error of the share of calls at or below `value`, from its spread over blocks."""
    sizes = np.array([len(block) for block in series])
    inside = np.array([np.count_nonzero(block <= value) for block in series])
    residuals = (inside - inside.sum() / sizes.sum() * sizes) / sizes.sum()
    return math.sqrt(len(series) / (len(series) - 1) * float(np.square(residuals).sum()))


def _tolerance(blocks: int, share: float, level: float) -> tuple[float, float]:
    """How far below and above the sample quantile of `blocks` normal values the true one may be.

    In sample standard deviations; Natrella's approximation of one-sided tolerance factors.
    """
    z_share, z_level = normal_quantile(share), normal_quantile((1.0 + level) / 2)
    a = max(1.0 - z_level**2 / (2 * (blocks - 1)), 0.05)
    b = z_share**2 - z_level**2 / blocks
    root = math.sqrt(max(z_share**2 - a * b, 0.0))
    return z_share - (z_share - root) / a, (z_share + root) / a - z_share
