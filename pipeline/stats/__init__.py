"""Intervals, paired comparisons and verdicts: pure, seeded functions over arrays, numpy only.

Every interval is two-sided at `level`; a gate reads one of its ends (see `decide`).
"""

from edgestill.stats.drift import change_of_speed
from edgestill.stats.latency import (
    SMALLEST_BLOCKS,
    calls_needed,
    mean_throughput,
    noise_floor,
    percentile,
    smallest_sample,
    speedup,
    throughput,
)
from edgestill.stats.looks import (
    MOST_FORESEEN,
    Look,
    last_look,
    look_for_calls,
    look_to_decide,
    next_look,
    repeated,
)
from edgestill.stats.proportions import exact_paired_interval, mcnemar_exact
from edgestill.stats.scores import mean_score, paired_drop, samples_to_bound, samples_to_decide
from edgestill.stats.set_scores import paired_drop_of, score_of
from edgestill.stats.sums import ScoreOfSums, Sums
from edgestill.verdict import Estimate, Interval, Verdict, decide

__all__ = [
    "MOST_FORESEEN",
    "SMALLEST_BLOCKS",
    "Estimate",
    "Interval",
    "Look",
    "ScoreOfSums",
    "Sums",
    "Verdict",
    "calls_needed",
    "change_of_speed",
    "decide",
    "exact_paired_interval",
    "last_look",
    "look_for_calls",
    "look_to_decide",
    "mcnemar_exact",
    "mean_score",
    "mean_throughput",
    "next_look",
    "noise_floor",
    "paired_drop",
    "paired_drop_of",
    "percentile",
    "repeated",
    "samples_to_bound",
    "samples_to_decide",
    "score_of",
    "smallest_sample",
    "speedup",
    "throughput",
]
