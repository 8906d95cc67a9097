"""Whether an engine has become slower than another: both timed in turn, on one device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgestill.artifact import Dataset
from edgestill.measuring import Series, Session, measure_until_decided
from edgestill.quantities import estimate_text
from edgestill.stats import Estimate, Verdict, decide, noise_floor
from edgestill.targets.measure import Candidate as MeasuredCandidate
from edgestill.targets.measure import Round
from edgestill.verify.advice import more_rounds
from edgestill.verify.config import Load, MeasureConfig, timing
from edgestill.verify.evidence import Candidate, Evidence
from edgestill.verify.latency import speedup_over


@dataclass(frozen=True)
class Regression:
    """A budget on how much longer a call takes than one of a former engine.

    Attributes:
        at_most: as a share of the former time: 0.05 for 5 %.
    """

    at_most: float
    batch: int = 1


@dataclass(frozen=True)
class RegressionResult:
    """How the time of an engine's calls compares with that of a former engine.

    Attributes:
        found: what was found, in words, with the bound that decided.
        advice: what would decide it, or why it was not run; empty for a plain verdict.
        time_ratio: new over old: 1.05 is 5 % slower; None where nothing could be compared.
        noise_floor: the smallest change that so many rounds can tell from none, as a share.
        rounds: that it rests on.
        looks: that were taken at them.
        open_at: the batch size at which more rounds may decide it.
    """

    verdict: Verdict
    budget: str
    found: str
    advice: str = ""
    time_ratio: Estimate | None = None
    noise_floor: float | None = None
    rounds: int = 0
    looks: int = 0
    open_at: tuple[int, ...] = ()


def decide_regression(
    evidence: Evidence, old: str, new: str, rule: Regression, level: float
) -> RegressionResult:
    """The verdict on two candidates of one evidence: a pure function of their blocks."""
    batch = rule.batch
    budget = f"time of {new} over {old} <= {_change_text(1.0 + rule.at_most)} (batch {batch})"
    failures = evidence.failures
    failed = [f"{name} failed: {failures[name]}" for name in (old, new) if name in failures]
    if failed or not evidence.pairs_ns(old, new, batch):
        why = "; ".join(failed) or "they were not measured together"
        return RegressionResult(Verdict.NOT_RUN, budget, "no comparison", why)
    ratio = speedup_over(evidence, new, old, batch, level)
    verdict = decide(ratio, at_most=1.0 + rule.at_most)
    open_ = verdict is Verdict.INCONCLUSIVE
    look = evidence.look(batch)
    at = look.level(level) if look else level
    # Of the two, the blocks of the new engine are neighbours: old new, new old.
    floor = noise_floor(evidence.blocks_ns(new, batch), at)
    found = estimate_text(ratio, _change_text, of="pairs of blocks")
    return RegressionResult(
        verdict,
        budget,
        found if floor is None else f"{found}, noise floor {floor:.2%}",
        more_rounds(evidence, batch, ratio, 1.0 + rule.at_most, level) if open_ else "",
        ratio,
        floor,
        ratio.count,
        max(1, look.number) if look else 1,
        (batch,) if open_ else (),
    )


def measure_regression(
    old: MeasuredCandidate,
    new: MeasuredCandidate,
    dataset: Dataset,
    rule: Regression,
    measure: MeasureConfig,
    threads: int,
    progress: Callable[[float, str], None],
) -> RegressionResult:
    """Time two engines of one target in turn until the budget is decided or time is up.

    Args:
        old: the former engine; its name and that of the new one have to differ.
        measure: how; `batch` is the rule's.
    """
    session = Session((old, new), dataset, timing(measure, threads, rule.batch))
    series: dict[int | Load, Series] = {rule.batch: Series(session)}
    target = old.engine.description.target
    candidates = tuple(Candidate(c.name, c.engine, None, c.predictions) for c in (old, new))

    def judge(rounds: Mapping[int | Load, tuple[Round, ...]]) -> RegressionResult:
        evidence = Evidence(target, candidates, rounds, measure.rounds)
        return decide_regression(evidence, old.name, new.name, rule, measure.level)

    return measure_until_decided(
        series, judge, lambda one: one.measure_on(progress), measure.decide_within
    )


def _change_text(ratio: float) -> str:
    return f"{ratio - 1.0:+.2%}"
