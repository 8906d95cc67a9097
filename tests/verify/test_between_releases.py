"""What changed from one release to the next, and whether it was allowed to."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy
import pytest

from edgestill.errors import UsageError
from edgestill.metrics import METRICS
from edgestill.scoring import Scorer
from edgestill.verdict import Verdict
from edgestill.verify.between_releases import changes, latency_change
from edgestill.verify.budgets import Budgets
from edgestill.verify.comparison import Change
from edgestill.verify.evidence import Evidence

LABELS = numpy.arange(400) % 4
STRICT = Budgets(score=0.01)
CLOSE = [1.0, 0.99, 1.01] * 4  # how block medians scatter


@pytest.fixture
def found(evidence: Callable[..., Evidence]) -> Callable[..., dict[str, Change]]:
    """The changes between an old and a new engine, of these medians, wrong answers and sizes."""

    def make(
        old_us: float,
        new_us: Any,
        budgets: Budgets = STRICT,
        *,
        withheld: str | None = None,
        **options: Any,
    ) -> dict[str, Change]:
        seen = evidence({"old": old_us, "new": new_us}, **options)
        scorer = Scorer("classification", METRICS["accuracy"], LABELS, withheld)
        both = changes(seen, scorer, budgets, batch=1, threads=1, level=0.95)
        return {change.name: change for change in both}

    return make


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [
        (0.5, Verdict.PASS),
        (1.0, Verdict.PASS),
        (1.02, Verdict.PASS),
        (1.2, Verdict.FAIL),
        (1.05, Verdict.INCONCLUSIVE),
    ],
)
def test_the_median_latency_is_decided_on_the_ratio_of_paired_blocks(
    found: Callable[..., dict[str, Change]], factor: float, verdict: Verdict
) -> None:
    latency = found(100.0, [100 * factor * noise for noise in CLOSE])["p50 latency"]
    assert latency.verdict is verdict
    assert latency.by is not None
    assert latency.by.value == pytest.approx(factor - 1, abs=0.005)
    assert latency.by.interval is not None
    assert latency.by.interval.low <= factor - 1 <= latency.by.interval.high
    assert (latency.old, latency.worse, latency.budget) == (100_000, "rise", 0.05)
    assert bool(latency.advice) == (verdict is Verdict.INCONCLUSIVE)


def test_eleven_pairs_decide_nothing(found: Callable[..., dict[str, Change]]) -> None:
    latency = found(100.0, 300.0, number=11)["p50 latency"]
    assert latency.verdict is Verdict.INCONCLUSIVE
    assert latency.by is not None
    assert latency.by.interval is None


def test_a_drift_of_both_is_no_change(found: Callable[..., dict[str, Change]]) -> None:
    drift = [100.0 * 1.1**index for index in range(12)]
    latency = found(drift, [1.01 * time for time in drift])["p50 latency"]
    assert latency.verdict is Verdict.PASS


def test_the_score_is_decided_on_the_same_samples(
    found: Callable[..., dict[str, Change]],
) -> None:
    def accuracy(old: int, new: int) -> Change:
        return found(100.0, 100.0, wrong={"old": old, "new": new})["accuracy"]

    worse = accuracy(4, 60)
    assert (worse.old, worse.new, worse.worse) == (0.99, 0.85, "drop")
    assert worse.by is not None
    assert worse.by.value == pytest.approx(0.14)
    assert worse.verdict is Verdict.FAIL
    better = accuracy(60, 4)
    assert better.by is not None
    assert better.by.value == pytest.approx(-0.14)
    assert better.verdict is Verdict.PASS
    close = accuracy(4, 8)
    assert close.verdict is Verdict.INCONCLUSIVE
    assert re.fullmatch(r"about \d+ samples would decide it|more samples would", close.advice)


def test_the_same_engine_loses_nothing_on_samples_that_nobody_saw(
    evidence: Callable[..., Evidence],
) -> None:
    seen = evidence({"old": 100.0, "new": 100.0})
    old, new = seen.candidates
    object.__setattr__(new, "engine", old.engine)
    scorer = Scorer("classification", METRICS["accuracy"], LABELS)
    accuracy, *_ = changes(seen, scorer, Budgets(score=0.0), batch=1, threads=1, level=0.95)
    assert accuracy.verdict is Verdict.PASS


def test_a_metric_that_may_not_run_is_no_pass(found: Callable[..., dict[str, Change]]) -> None:
    score = found(100.0, 100.0, withheld="it is code in the release")["accuracy"]
    assert (score.verdict, score.advice) == (Verdict.NOT_RUN, "it is code in the release")
    assert (score.old, score.new) == (None, None)


@pytest.mark.parametrize(
    ("new", "verdict"), [(1000, Verdict.PASS), (1050, Verdict.PASS), (1051, Verdict.FAIL)]
)
def test_the_size_is_counted(
    found: Callable[..., dict[str, Change]], new: int, verdict: Verdict
) -> None:
    size = found(100.0, 100.0, sizes={"old": 1000, "new": new})["size"]
    assert (size.old, size.new, size.verdict) == (1000, new, verdict)


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [(0.5, Verdict.PASS), (1.08, Verdict.PASS), (1.1, Verdict.INCONCLUSIVE), (1.2, Verdict.FAIL)],
)
def test_peak_memory_is_decided_on_pairs_of_processes(
    found: Callable[..., dict[str, Change]], factor: float, verdict: Verdict
) -> None:
    used = [round(80_000_000 * noise) for noise in CLOSE]
    peaks = {"old": [80_000_000] * 12, "new": [round(peak * factor) for peak in used]}
    memory = found(100.0, 100.0, peaks=peaks)["peak memory"]
    assert (memory.old, memory.new) == (80_000_000, max(peaks["new"]))
    assert memory.by is not None
    assert memory.by.value == pytest.approx(factor - 1, abs=0.005)
    assert (memory.verdict, memory.budget) == (verdict, 0.1)


def test_without_a_budget_nothing_is_judged(found: Callable[..., dict[str, Change]]) -> None:
    lifted = Budgets(score=None, latency=None, memory=None, size=None)
    both = found(100.0, 500.0, lifted, wrong={"new": 100})
    assert {change.verdict for change in both.values()} == {None}
    latency = both["p50 latency"]
    assert latency.by is not None
    assert latency.by.value == pytest.approx(4.0)


def test_an_engine_that_failed_has_no_times(found: Callable[..., dict[str, Change]]) -> None:
    assert list(found(100.0, 100.0, failing={"new": 3})) == ["accuracy", "size"]


def test_budgets_are_read_with_their_units() -> None:
    texts = {"score": "0.5pp", "latency": "3%", "memory": "none", "size": None}
    assert Budgets.parse(texts) == Budgets(0.005, 0.03, None, 0.05)
    assert Budgets.parse({"score": "0.2"}).score == 0.2


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"latency": "5"}, "--latency: '5' has no unit. Write it as 5% (units: %)"),
        ({"latency": "0.05"}, "--latency: '0.05' has no unit. Write it as 5% (units: %)"),
        ({"size": "5 MB"}, "--size: '5 MB' has the unit 'MB'. Known units: %"),
        ({"score": "much"}, "--score: 'much' is not a quantity. Write it as 0.5pp"),
        ({"memory": "-1%"}, "memory: a budget of -0.01; it says how much worse, which is 0 or m"),
    ],
)
def test_a_budget_that_cannot_be_read(texts: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        Budgets.parse(texts)


# The change of the median latency


AROUND = numpy.exp([0.010, -0.012, 0.004, -0.006, 0.011, -0.003] * 2)


@pytest.mark.parametrize(
    ("slower", "verdict", "advice"),
    [
        (0.0, Verdict.PASS, ""),
        (-0.5, Verdict.PASS, ""),
        (0.10, Verdict.FAIL, ""),
        (
            0.055,
            Verdict.INCONCLUSIVE,
            "about 96 rounds would decide it, 12 were measured (measure.decide_within)",
        ),
        (
            0.05,
            Verdict.INCONCLUSIVE,
            "even 768 rounds like these would not decide it: the figure is too near the budget, "
            "or the machine too noisy",
        ),
    ],
)
def test_a_slowdown_is_held_against_its_budget_while_the_machine_slows_down_threefold(
    evidence: Callable[..., Evidence], slower: float, verdict: Verdict, advice: str
) -> None:
    drift = 100.0 * numpy.geomspace(1.0, 3.0, 12)
    times = {"old": list(drift), "new": list(drift * (1.0 + slower) * AROUND)}
    found = latency_change(evidence(times, first_look=12), 0.05, batch=1, level=0.95)
    assert found is not None
    assert (found.verdict, found.advice) == (verdict, advice)
    assert found.by is not None
    assert found.by.value == pytest.approx(slower, abs=0.003)


def test_engines_that_were_not_measured_together_have_no_change(
    evidence: Callable[..., Evidence],
) -> None:
    alone = evidence({"old": 100.0}, first_look=12)
    assert latency_change(alone, 0.05, batch=1, level=0.95) is None


def test_each_look_widens_the_interval_by_the_error_that_it_spends(
    evidence: Callable[..., Evidence],
) -> None:
    times = {"old": 100.0, "new": list(100.0 * AROUND)}
    looked, once = (
        latency_change(evidence(times, first_look=first), 0.05, batch=1, level=0.95)
        for first in (12, None)
    )
    assert looked is not None and looked.by is not None and looked.by.interval is not None
    assert once is not None and once.by is not None and once.by.interval is not None
    assert looked.by.interval.low < once.by.interval.low
    assert looked.by.interval.high > once.by.interval.high
