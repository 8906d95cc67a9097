"""From evidence about two engines to what changed, and whether it was allowed to: pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy

from edgestill.quantities import worse
from edgestill.scoring import Scorer
from edgestill.stats import speedup
from edgestill.stats.ratios import excess
from edgestill.verdict import Estimate, Interval, Verdict, decide, exactly
from edgestill.verify.advice import more_rounds
from edgestill.verify.budgets import Budgets
from edgestill.verify.comparison import Change
from edgestill.verify.evidence import Candidate, Evidence
from edgestill.verify.latency import percentile_of, speedup_over, summarize

OLD, NEW = "old", "new"  # the names of the candidates

_SHOWN = ("95", "99")  # percentiles, beside the median


def changes(
    evidence: Evidence, scorer: Scorer, budgets: Budgets, *, batch: int, threads: int, level: float
) -> tuple[Change, ...]:
    """Every property side by side; a failed engine leaves the timed ones without a verdict.

    The relative changes of time and memory are decided on pairs of blocks of one round each, so
    that a drift of the machine weighs on both alike; the score on pairs of answers to one sample.
    Two engines of the same files do not differ, on samples that were not seen either.
    """
    candidates = {candidate.name: candidate for candidate in evidence.candidates}
    old, new = candidates[OLD], candidates[NEW]
    assert budgets.score != "release"
    found = [_score(old, new, scorer, budgets.score, level)]
    found += _timed(evidence, budgets, batch, threads, level)
    sizes = (old.engine.size_bytes, new.engine.size_bytes)
    share = (sizes[1] - sizes[0]) / sizes[0]
    found.append(_judged(Change("size", "bytes", "rise", *sizes, by=exactly(share)), budgets.size))
    return tuple(found)


def _score(
    old: Candidate, new: Candidate, scorer: Scorer, budget: float | None, level: float
) -> Change:
    change = Change(scorer.metric.name, "score", worse(scorer.metric.bigger_is_better), None, None)
    if scorer.withheld is not None:
        return replace(change, verdict=Verdict.NOT_RUN, advice=scorer.withheld)
    drop = scorer.drop(old.test, new.test, level)
    if old.engine.digest == new.engine.digest:
        drop = Estimate(0.0, Interval(0.0, 0.0, level), drop.count)
    scores = scorer.score_of(old.test), scorer.score_of(new.test)
    change = _judged(replace(change, old=scores[0], new=scores[1], by=drop), budget)
    if change.verdict is Verdict.INCONCLUSIVE and budget is not None:
        enough = scorer.samples_to_decide(old.test, new.test, budget, level)
        count = change.by.count if change.by else 0
        known = enough is not None and enough > count
        advice = f"about {enough} samples would decide it" if known else "more samples would"
        change = replace(change, advice=advice)
    return change


def _timed(
    evidence: Evidence, budgets: Budgets, batch: int, threads: int, level: float
) -> Iterable[Change]:
    latency = latency_change(evidence, budgets.latency, batch=batch, level=level)
    old, new = (summarize(evidence, name, batch, threads, level, ()) for name in (OLD, NEW))
    if latency is None or old is None or new is None:
        return
    yield latency
    for name in _SHOWN:
        if name in old.percentiles_ns and name in new.percentiles_ns:
            before, after = old.percentiles_ns[name].value, new.percentiles_ns[name].value
            yield Change(f"p{name} latency", "ns", "rise", before, after)
    yield Change("throughput", "per second", "drop", old.throughput.value, new.throughput.value)
    peaks = {
        name: [numpy.array([b.peak_rss_bytes]) for b in evidence.blocks(name, batch)]
        for name in (OLD, NEW)
    }
    ratio = evidence.estimate(batch, level, lambda at: speedup(peaks[NEW], peaks[OLD], at))
    memory = Change("peak memory", "bytes", "rise", old.memory_bytes, new.memory_bytes)
    yield _of_blocks(memory, ratio, budgets.memory, evidence, batch, level)
    yield Change("first load", "ns", "rise", old.first_load_ns, new.first_load_ns)
    yield Change("later loads", "ns", "rise", old.later_load_ns, new.later_load_ns)


def latency_change(
    evidence: Evidence, budget: float | None, *, batch: int, level: float
) -> Change | None:
    """The median time of a call; None where the two were not measured together, or one failed."""
    if evidence.failures or not evidence.pairs_ns(OLD, NEW, batch):
        return None
    old, new = (percentile_of(evidence, name, batch, 50.0, level).value for name in (OLD, NEW))
    ratio = speedup_over(evidence, NEW, OLD, batch, level)
    change = Change("p50 latency", "ns", "rise", old, new)
    return _of_blocks(change, ratio, budget, evidence, batch, level)


def _of_blocks(
    change: Change,
    ratio: Estimate,
    budget: float | None,
    evidence: Evidence,
    batch: int,
    level: float,
) -> Change:
    """A change that is the ratio, new over old, of blocks of one round each."""
    change = _judged(replace(change, by=excess(ratio)), budget)
    if change.verdict is not Verdict.INCONCLUSIVE or budget is None:
        return change
    return replace(change, advice=more_rounds(evidence, batch, ratio, 1 + budget, level))


def _judged(change: Change, budget: float | None) -> Change:
    if budget is None or change.by is None:
        return change
    return replace(change, budget=budget, verdict=decide(change.by, at_most=budget))
