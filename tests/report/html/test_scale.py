"""Axes: where values lie, and which of them are named."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgestill.report.html.scale import Scale, around


def test_values_lie_between_the_ends() -> None:
    x = Scale(0, 10, 100, 200)
    assert [x(0), x(5), x(10)] == [100, 150, 200]
    y = Scale(0, 10, 200, 100)  # upwards
    assert y(2.5) == 175


def test_equal_ratios_are_equally_far_apart_on_a_log_scale() -> None:
    x = Scale(1, 1000, 0, 300, log=True)
    assert [x(value) for value in (1, 10, 100, 1000)] == pytest.approx([0, 100, 200, 300])


def test_what_lies_outside_is_drawn_on_the_edge() -> None:
    x = Scale(1, 10, 0, 100, log=True)
    assert (x(0.0), x(1e9)) == (0, 100)


@pytest.mark.parametrize(
    ("low", "high", "most", "ticks"),
    [
        (0.0, 1.0, 6, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.0, 1.0, 5, [0, 0.5, 1.0]),
        (0.958, 0.997, 4, [0.96, 0.97, 0.98, 0.99]),
        (-0.3, 7.2, 4, [0, 2, 4, 6]),
        (3.0, 3.0001, 3, [3, 3.00005, 3.0001]),
    ],
)
def test_ticks_are_round(low: float, high: float, most: int, ticks: list[float]) -> None:
    assert Scale(low, high, 0, 1).ticks(most) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("low", "high", "most", "ticks"),
    [
        (18e-6, 6e-3, 8, [20e-6, 50e-6, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3]),
        (18e-6, 6e-3, 5, [1e-4, 1e-3]),
        (1e-9, 1e9, 5, [1e-9, 1e-5, 1e-1, 1e3, 1e7]),
    ],
)
def test_ticks_of_a_log_scale(low: float, high: float, most: int, ticks: list[float]) -> None:
    assert Scale(low, high, 0, 1, log=True).ticks(most) == pytest.approx(ticks)


def test_an_axis_holds_all_values_with_room() -> None:
    low, high = around([2.0, 4.0, 3.0])
    assert low == pytest.approx(1.88) and high == pytest.approx(4.12)
    low, high = around([1.0, 100.0], margin=0.5, log=True)
    assert (low, high) == (pytest.approx(0.1), pytest.approx(1000))


@given(st.floats(1e-9, 1e9), st.booleans())
def test_an_axis_of_one_value_has_a_width(value: float, log: bool) -> None:
    low, high = around([value, value], log=log)
    assert low < value < high
    assert math.isfinite(Scale(low, high, 0, 100, log=log)(value))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9), st.integers(1, 12))
def test_never_more_ticks_than_asked_for(values: list[float], most: int) -> None:
    low, high = around(values)
    assert len(Scale(low, high, 0, 1).ticks(most)) <= most
