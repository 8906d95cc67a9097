"""Quantities with their units: what is understood, and what is said about the rest."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from edgestill import units


def parse(annotation: object, value: object) -> float:
    result: float = TypeAdapter(annotation).validate_python(value)
    return result


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (units.Score, 0.92, 0.92),
        (units.Score, 1, 1.0),
        (units.Score, "92 %", 0.92),
        (units.Score, "3.0pp", 0.03),
        (units.Seconds, "5 ms", 0.005),
        (units.Seconds, "800us", 0.0008),
        (units.Seconds, "800 µs", 0.0008),
        (units.Seconds, "1e2 ns", 1e-7),
        (units.Seconds, ".5min", 30.0),
        (units.Bytes, "200 kB", 200_000),
        (units.Bytes, "4 MiB", 4_194_304),
        (units.Bytes, "1.5 KiB", 1536),
        (units.Factor, "2x", 2.0),
        (units.Factor, " 1.5 × ", 1.5),
        (units.PerSecond, "1000/s", 1000.0),
        (units.PerSecond, "90 /min", 1.5),
    ],
)
def test_a_quantity_is_its_value_in_the_base_unit(
    annotation: object, text: object, value: float
) -> None:
    assert parse(annotation, text) == pytest.approx(value, rel=1e-12)


def test_bytes_are_whole() -> None:
    assert isinstance(parse(units.Bytes, "0.3 kB"), int)


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (units.Seconds, 5, "5 has no unit. Write it as 5 ms (units: s, ms, us, µs, ns, min)"),
        (units.Seconds, "5 h", "'5 h' has the unit 'h'. Known units: s, ms, us, µs, ns, min"),
        (units.Seconds, "5", "'5' has no unit. Write it as 5 ms (units: s, ms, us, µs, ns, min)"),
        (units.Seconds, "soon", "'soon' is not a quantity. Write it as 5 ms"),
        (units.Seconds, True, "True is not a quantity. Write it as 5 ms"),
        (units.Seconds, None, "None is not a quantity. Write it as 5 ms"),
        (units.Seconds, [5], "[5] is not a quantity. Write it as 5 ms"),
        (units.Factor, "1e999x", "'1e999x' is not finite"),
        (units.Score, "0.5 ms", "'0.5 ms' has the unit 'ms'. Known units: pp, %"),
    ],
)
def test_what_is_no_quantity(annotation: object, value: object, message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        parse(annotation, value)
    assert str(raised.value.errors()[0]["ctx"]["error"]) == message


@given(
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.sampled_from(["s", "ms", "us", "ns", "min"]),
    st.sampled_from(["", " "]),
)
def test_every_finite_number_with_a_unit_is_a_quantity(number: float, unit: str, gap: str) -> None:
    scale = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0}[unit]
    assert parse(units.Seconds, f"{number!r}{gap}{unit}") == number * scale


@given(st.text(), st.sampled_from([units.Score, units.Seconds, units.Bytes]))
def test_any_text_is_a_finite_quantity_or_refused(text: str, annotation: object) -> None:
    try:
        assert math.isfinite(parse(annotation, text))
    except ValidationError as error:
        assert error.errors()[0]["type"] == "value_error"
