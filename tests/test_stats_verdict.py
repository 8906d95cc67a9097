"""Verdicts: what a budget and an interval decide."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgestill.stats import Estimate, Interval, Verdict, decide
from edgestill.verdict import Decision, exactly

numbers = st.floats(-1e6, 1e6)


def estimate(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, Interval(low, high, 0.95), 100)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.0, 1.9, Verdict.PASS),
        (1.0, 2.0, Verdict.PASS),
        (1.9, 2.1, Verdict.INCONCLUSIVE),
        (2.0, 2.1, Verdict.INCONCLUSIVE),
        (2.1, 2.2, Verdict.FAIL),
    ],
)
def test_an_upper_budget_is_decided_by_the_whole_interval(
    low: float, high: float, verdict: Verdict
) -> None:
    assert decide(estimate(low, high), at_most=2.0) is verdict
    assert decide(estimate(-high, -low), at_least=-2.0) is verdict


def test_of_two_budgets_each_must_hold() -> None:
    assert decide(estimate(1.0, 2.0), at_most=3.0, at_least=0.5) is Verdict.PASS
    assert decide(estimate(1.0, 2.0), at_most=1.5, at_least=0.5) is Verdict.INCONCLUSIVE
    assert decide(estimate(1.0, 2.0), at_most=1.5, at_least=2.5) is Verdict.FAIL


def test_without_an_interval_nothing_passes_and_nothing_fails() -> None:
    assert decide(Estimate(1.0, None, 3), at_most=100.0) is Verdict.INCONCLUSIVE
    assert decide(Estimate(1.0, None, 3), at_least=100.0) is Verdict.INCONCLUSIVE
    undefined = Estimate(math.nan, Interval(0.0, 1.0, 0.95), 3)
    assert decide(undefined, at_most=2.0) is Verdict.INCONCLUSIVE


def test_a_counted_quantity_is_compared_as_it_is() -> None:
    assert decide(exactly(200_000), at_most=200_000) is Verdict.PASS
    assert decide(exactly(200_001), at_most=200_000) is Verdict.FAIL
    assert decide(exactly(1), at_least=2) is Verdict.FAIL
    assert decide(exactly(math.nan), at_most=1) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("low", "high", "bound", "margin"),
    [
        (1.0, 1.5, 1.5, 0.5),  # passes: the worse end is what was shown to keep the budget
        (1.5, 2.5, 2.5, -0.5),  # open: the worse end may break it
        (2.25, 3.0, 2.25, -0.25),  # fails: even the better end breaks it
    ],
)
def test_a_decision_names_the_bound_that_decides_and_how_far_it_is_from_the_budget(
    low: float, high: float, bound: float, margin: float
) -> None:
    upper = Decision.of("ns", estimate(low, high), at_most=2.0)
    assert (upper.bound, upper.margin, upper.budget) == (bound, margin, 2.0)
    lower = Decision.of("ratio", estimate(-high, -low), at_least=-2.0)
    assert (lower.bound, lower.margin, lower.budget) == (-bound, margin, -2.0)
    assert upper.verdict is lower.verdict is decide(estimate(low, high), at_most=2.0)


def test_a_decision_on_a_value_without_an_interval_has_no_bound() -> None:
    decision = Decision.of("score", Estimate(1.0, None, 3), at_most=100.0)
    assert (decision.bound, decision.margin, decision.verdict) == (None, None, "INCONCLUSIVE")


def test_a_decision_is_on_one_budget() -> None:
    for budgets in ({}, {"at_most": 1.0, "at_least": 1.0}):
        with pytest.raises(ValueError, match="one budget"):
            Decision.of("score", estimate(1.0, 2.0), **budgets)


def test_a_budget_is_needed() -> None:
    with pytest.raises(ValueError, match="no budget"):
        decide(estimate(1.0, 2.0))
    with pytest.raises(ValueError, match="NaN"):
        decide(estimate(1.0, 2.0), at_most=math.nan)


def test_verdicts_print_as_users_read_them() -> None:
    assert [str(verdict) for verdict in Verdict] == ["PASS", "FAIL", "INCONCLUSIVE", "NOT RUN"]


@given(numbers, st.floats(0, 1e6), numbers, st.floats(0, 1e6))
def test_a_wider_budget_never_decides_worse(
    low: float, width: float, budget: float, more: float
) -> None:
    order = [Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS]
    found = estimate(low, low + width)
    tight, wide = (decide(found, at_most=at_most) for at_most in (budget, budget + more))
    assert order.index(wide) >= order.index(tight)
    tight, wide = (decide(found, at_least=at_least) for at_least in (budget, budget - more))
    assert order.index(wide) >= order.index(tight)


@given(numbers, st.floats(0, 1e6), st.floats(0, 1e6), numbers)
def test_a_narrower_interval_never_turns_a_verdict_around(
    low: float, width: float, margin: float, budget: float
) -> None:
    wide = decide(estimate(low - margin, low + width + margin), at_most=budget)
    narrow = decide(estimate(low, low + width), at_most=budget)
    assert wide in (narrow, Verdict.INCONCLUSIVE)
