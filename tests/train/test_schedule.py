"""Schedules move from start to end, between two points of the training, and stay there."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from edgestill.train.schedule import Schedule, Scheduled, extremes, value_at

VALUES = st.floats(0, 1e6)
SHARES = st.floats(0, 1)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    begin, until = sorted((draw(SHARES), draw(SHARES)))
    shape = draw(st.sampled_from(["linear", "cosine", "step"]))
    return Schedule(draw(VALUES), draw(VALUES), shape, begin, until)


@given(schedules(), SHARES)
def test_it_never_leaves_its_extremes(schedule: Schedule, progress: float) -> None:
    least, greatest = extremes(schedule)
    slack = 1e-9 * greatest
    assert least - slack <= schedule.at(progress) <= greatest + slack
    assert {least, greatest} == {schedule.start, schedule.end}


@given(schedules(), SHARES, SHARES)
def test_it_never_turns_back(schedule: Schedule, one: float, other: float) -> None:
    earlier, later = (schedule.at(progress) for progress in sorted((one, other)))
    slack = 1e-9 * extremes(schedule)[1]
    if schedule.end >= schedule.start:
        assert later >= earlier - slack
    else:
        assert later <= earlier + slack


@given(schedules(), SHARES)
def test_it_is_constant_before_and_after(schedule: Schedule, progress: float) -> None:
    if progress >= schedule.until:
        assert schedule.at(progress) == schedule.end
    elif progress <= schedule.begin:
        assert schedule.at(progress) == schedule.start


@given(VALUES, SHARES)
def test_a_constant_is_always_itself(value: float, progress: float) -> None:
    assert value_at(value, progress) == value
    assert extremes(value) == (value, value)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("linear", [2, 2, 4, 6, 8, 10, 10]),
        ("cosine", [2, 2, 6 - 8 / math.sqrt(8), 6, 6 + 8 / math.sqrt(8), 10, 10]),
        ("step", [2, 2, 2, 2, 2, 10, 10]),
    ],
)
def test_shapes(shape: str, expected: list[float]) -> None:
    schedule = Schedule(2.0, 10.0, shape, begin=0.25, until=0.75)  # type: ignore[arg-type]
    found = [schedule.at(progress) for progress in (0.0, 0.25, 0.375, 0.5, 0.625, 0.75, 1.0)]
    assert found == pytest.approx(expected)
    assert value_at(schedule, 0.5) == schedule.at(0.5)


def test_a_recipe_writes_a_number_or_a_schedule() -> None:
    adapter: TypeAdapter[Scheduled] = TypeAdapter(Scheduled)
    assert adapter.validate_python(0.5) == 0.5
    ramp = {"start": 0.0, "end": 1.0, "until": 0.2}
    assert adapter.validate_python(ramp) == Schedule(0.0, 1.0, until=0.2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"begin": 0.5, "until": 0.2}, "it begins at 0.5 and ends before that, at 0.2"),
        ({"start": -1.0}, "greater than or equal to 0"),
        ({"until": 1.5}, "less than or equal to 1"),
        ({"ends": 1.0}, "ends"),
    ],
)
def test_what_is_no_schedule_is_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(Schedule).validate_python({"start": 0.0, "end": 1.0} | wrong)
