"""Intervals, paired comparisons and verdicts: pure, seeded functions over arrays, numpy only.

Every interval is two-sided at `level`; a gate reads one of its ends (see `decide`).
"""

from edgestill.stats.bootstrap import paired_drop_of, score_of
from edgestill.stats.latency import (
    SMALLEST_BLOCKS,
    mean_throughput,
    percentile,
    smallest_sample,
    speedup,
)
from edgestill.stats.proportions import exact_paired_interval, mcnemar_exact
from edgestill.stats.scores import mean_score, paired_drop, samples_to_bound, samples_to_decide
from edgestill.verdict import Estimate, Interval, Verdict, decide, decide_exact

__all__ = [
    "SMALLEST_BLOCKS",
    "Estimate",
    "Interval",
    "Verdict",
    "decide",
    "decide_exact",
    "exact_paired_interval",
    "mcnemar_exact",
    "mean_score",
    "mean_throughput",
    "paired_drop",
    "paired_drop_of",
    "percentile",
    "samples_to_bound",
    "samples_to_decide",
    "score_of",
    "smallest_sample",
    "speedup",
]
