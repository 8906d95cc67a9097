"""Looks: after which rounds, how strict, and what would decide an open figure."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgestill.stats import (
    Estimate,
    Interval,
    Look,
    Verdict,
    decide,
    last_look,
    look_for_calls,
    look_to_decide,
    next_look,
    repeated,
    speedup,
)
from edgestill.stats.looks import looks


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (12, [(1, 12), (2, 24), (3, 48), (4, 96), (5, 192)]),
        (20, [(1, 20), (2, 40), (3, 80), (4, 160), (5, 320)]),
        (3, [(0, 3), (1, 12), (2, 24), (3, 48), (4, 96)]),
    ],
)
def test_each_look_is_at_twice_the_rounds_and_none_is_spent_before_12(
    first: int, expected: list[tuple[int, int]]
) -> None:
    assert list(islice(looks(first), 5)) == [Look(*look) for look in expected]


@given(st.integers(1, 40), st.integers(0, 500))
def test_the_last_look_was_reached_and_the_next_one_was_not(first: int, rounds: int) -> None:
    last, following = last_look(first, rounds), next_look(first, rounds)
    assert last.rounds <= rounds < following.rounds
    assert following in list(islice(looks(first), 12))
    if rounds >= first:
        found = list(islice(looks(first), 12))
        assert found[found.index(last) + 1] == following
    else:
        assert last == Look(0, rounds)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_the_errors_of_all_looks_ever_add_up_to_that_of_the_level(level: float) -> None:
    spent = [1 - look.level(level) for look in islice(looks(12), 60)]
    assert sum(spent) == pytest.approx(1 - level)
    assert spent[:4] == pytest.approx([(1 - level) / 5] * 4)
    assert spent == sorted(spent, reverse=True)


def test_an_interval_is_taken_at_its_looks_level_and_holds_at_the_one_that_was_asked_for() -> None:
    asked: list[float] = []

    def estimate_at(level: float) -> Estimate:
        asked.append(level)
        return Estimate(1.0, Interval(0.5, 2.0, level), 12)

    found = repeated(estimate_at, Look(2, 24), 0.95)
    assert asked == pytest.approx([0.99])
    assert found.interval == Interval(0.5, 2.0, 0.95)
    assert repeated(lambda _: Estimate(1.0, None, 3), Look(0, 3), 0.95).interval is None


def ratios_with_a_gap(gap: float, runs: int, pairs: int, seed: int = 3) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return np.exp(gap + rng.normal(0, 0.08, (runs, pairs)))


def verdict_at(ratios: NDArray[np.float64], look: Look, budget: float, level: float) -> Verdict:
    found = repeated(lambda at: ratio_of(ratios[: look.rounds], at), look, level)
    return decide(found, at_most=budget)


def ratio_of(ratios: NDArray[np.float64], level: float) -> Estimate:
    return speedup([np.array([r]) for r in ratios], [np.array([1.0])] * len(ratios), level)


def test_looking_until_decided_errs_no_more_often_than_one_look_may() -> None:
    """At the budget itself; the full table: tests/benchmarks/verdicts_coverage.py."""
    series, four = ratios_with_a_gap(0.0, 150, 96), list(islice(looks(12), 4))
    shared, naive = 0, 0
    for ratios in series:
        shared += any(verdict_at(ratios, at, 1.0, 0.9) is not Verdict.INCONCLUSIVE for at in four)
        plain = (decide(ratio_of(ratios[: at.rounds], 0.9), at_most=1.0) for at in four)
        naive += any(verdict is not Verdict.INCONCLUSIVE for verdict in plain)
    assert shared / len(series) <= 0.1
    assert naive / len(series) > 0.17


@pytest.mark.parametrize(("gap", "rounds"), [(0.075, 24), (0.055, 48), (0.037, 96)])
def test_the_look_that_would_decide_is_one_that_decides_most_series(
    gap: float, rounds: int
) -> None:
    series = ratios_with_a_gap(gap, 200, rounds)
    widths = []
    for ratios in series:
        found = ratio_of(ratios[:12], Look(1, 12).level(0.95)).interval
        assert found is not None
        widths.append(np.log(found.high / found.low) / 2)
    width = float(np.median(widths))
    typical = Estimate(np.exp(gap), Interval(np.exp(gap - width), np.exp(gap + width), 0.95), 12)
    look = look_to_decide(typical, 1.0, Look(1, 12), 12, 0.95)
    assert look is not None and look.rounds == rounds
    decided = [verdict_at(ratios, look, 1.0, 0.95) is Verdict.FAIL for ratios in series]
    assert sum(decided) / len(decided) >= 0.7


def test_no_look_decides_a_figure_at_the_budget_or_one_without_an_interval() -> None:
    at_the_budget = Estimate(1.05, Interval(1.0, 1.1, 0.95), 12)
    assert look_to_decide(at_the_budget, 1.05, Look(1, 12), 12, 0.95) is None
    assert look_to_decide(Estimate(1.0, None, 3), 1.05, Look(0, 3), 3, 0.95) is None


def test_the_side_of_a_skewed_interval_that_holds_the_budget_is_what_has_to_shrink() -> None:
    skewed = Estimate(100.0, Interval(99.0, 120.0, 0.95), 12)
    below = look_to_decide(skewed, 99.2, Look(1, 12), 12, 0.95)
    above = look_to_decide(skewed, 104.0, Look(1, 12), 12, 0.95)
    assert below is not None and above is not None
    assert (below.rounds, above.rounds) == (48, 768)


@pytest.mark.parametrize(
    ("percentile", "calls_a_round", "expected"),
    [(95, 10, (104, 24)), (99, 10, (528, 96)), (99, 100, (528, 24)), (99.9, 10, (7375, 768))],
)
def test_the_look_that_has_calls_enough_for_a_percentile(
    percentile: float, calls_a_round: float, expected: tuple[int, int]
) -> None:
    needed, look = look_for_calls(percentile, calls_a_round, Look(1, 12), 12, 0.95)
    assert (needed, look.rounds) == expected
