"""Quantities in words: few digits, the fitting unit, and what they rest on."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgestill.quantities import (
    count_text,
    digits,
    estimate_text,
    margin_text,
    rate_text,
    score_text,
    size_text,
    time_text,
)
from edgestill.stats import Estimate, Interval
from edgestill.verdict import Decision


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (1234.5, "1234"),
        (999.96, "1000"),
        (51.24, "51.2"),
        (5, "5"),
        (0.01236, "0.0124"),
        (-0.5, "-0.5"),
        (0.00001234, "0.000012"),
        (0.000001, "0.000001"),
        (1e-7, "1e-07"),
        (-2.345e-9, "-2.35e-09"),
        (123456789.0, "123456789"),
    ],
)
def test_digits(value: float, text: str) -> None:
    assert digits(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(3, 5))
def test_digits_are_a_number_near_the_value(value: float, significant: int) -> None:
    text = digits(value, significant)
    small = 1e-6 <= abs(value) < 1e-4
    assert math.isclose(float(text), value, rel_tol=0.5 if small else 10.0 ** (1 - significant))
    assert abs(value) < 1e-6 or "e" not in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ns"),
        (4.2e-7, "420 ns"),
        (51.2e-6, "51.2 µs"),
        (1e-3, "1 ms"),
        (999.4e-6, "999 µs"),
        (999.9e-6, "1 ms"),
        (-0.99951, "-1 s"),
        (0.0123, "12.3 ms"),
        (1.0, "1 s"),
        (75.0, "75 s"),
        (-2e-3, "-2 ms"),
    ],
)
def test_times(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (999_400, "999 kB"),
        (999_900, "1 MB"),
        (97_200, "97.2 kB"),
        (1_730_000, "1.73 MB"),
        (4_000_000_000, "4 GB"),
    ],
)
def test_sizes_are_in_powers_of_1000(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("value", "unit", "drop", "text"),
    [
        (0.9604, "pp", False, "96.04%"),
        (1.0, "pp", False, "100.00%"),
        (0.0194, "pp", True, "1.94pp"),
        (-0.0053, "pp", True, "-0.53pp"),
        (-0.00001, "pp", True, "0.00pp"),
        (0.012345, "plain", False, "0.01235"),
        (0.25, "plain", True, "0.25"),
        (3.1e-8, "plain", True, "3.1e-08"),
    ],
)
def test_scores_and_drops(value: float, unit: str, drop: bool, text: str) -> None:
    assert score_text(value, unit, drop=drop) == text


def test_counts() -> None:
    assert count_text(1, "process", "processes") == "1 process"
    assert count_text(12, "process", "processes") == "12 processes"
    assert count_text(0, "block", "blocks") == "0 blocks"


def test_an_estimate_says_what_it_rests_on() -> None:
    sure = Estimate(51.2e-6, Interval(49e-6, 53e-6, 0.95), 1200)
    assert estimate_text(sure, time_text, of="calls") == "51.2 µs [49 µs, 53 µs], n = 1200 calls"
    assert estimate_text(Estimate(0.5, None, 3), digits) == "0.5, n = 3 samples"


@pytest.mark.parametrize(
    ("per_second", "text"),
    [(100.0, "100/s"), (1.0, "1/s"), (0.1, "6/min"), (1 / 60, "1/min"), (0.0, "0/s")],
)
def test_a_rate_below_one_a_second_is_told_by_the_minute(per_second: float, text: str) -> None:
    assert rate_text(per_second) == text


def test_a_margin_that_rounds_to_nothing_is_still_one() -> None:
    above = Estimate(0.007, Interval(0.00501, 0.009, 0.95), 400)
    decision = Decision.of("score", above, at_most=0.005)
    assert margin_text(decision, points) == "just outside"
    assert margin_text(decision) == "0.2% outside"


def points(value: float) -> str:
    return score_text(value, "pp", drop=True)
