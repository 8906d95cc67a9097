"""How a figure is shown with what it rests on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgestill.report.figures import interval_text, measured_percentile, remarks
from edgestill.report.model import Report
from edgestill.stats import Estimate, Interval
from edgestill.verify.results import Conditions


def test_a_percentile_that_lacks_samples_says_what_it_needs(verification: Report) -> None:
    latency = verification.targets[0].candidates[0].latency
    assert latency is not None and latency.calls == 60
    cell = measured_percentile(latency, "95")
    assert (cell.text, cell.basis) == ("n/a", "needs 90 calls")
    cell = measured_percentile(latency, "50")
    assert (cell.text, cell.basis) == ("2.41 ms", "no interval")


@pytest.mark.parametrize("percentile", ["90", "95", "99"])
def test_a_percentile_that_a_file_gives_without_samples_is_not_shown(
    verification: Report, percentile: str
) -> None:
    latency = verification.targets[0].candidates[0].latency
    assert latency is not None
    claimed = replace(latency, percentiles_ns={percentile: Estimate(1e6, None, 43)})
    assert measured_percentile(claimed, percentile).text == "n/a"


@pytest.mark.parametrize(
    ("low", "value", "high", "text"),
    [
        (54.0, 55.1, 56.75, "[54.0, 56.8]"),
        (0.000045, 0.5, 1.5, "[0.00, 1.50]"),
    ],
)
def test_ends_of_an_interval_have_the_digits_of_a_figure(
    low: float, value: float, high: float, text: str
) -> None:
    estimate = Estimate(value, Interval(low, high, 0.95), 12)
    shown = interval_text(estimate, lambda x: f"{x:.1f} µs" if text[1] == "5" else f"{x:.2f}pp")
    assert shown == text


def test_ends_in_another_unit_have_their_own() -> None:
    estimate = Estimate(1.1, Interval(0.9, 1.2, 0.95), 12)
    words = interval_text(estimate, lambda x: f"{x:g} ms" if x >= 1 else f"{1000 * x:g} µs")
    assert words == "[900 µs, 1.2 ms]"


def test_ends_below_a_millionth_keep_their_exponents() -> None:
    estimate = Estimate(2.34e-8, Interval(-4.1e-9, 8.8e-8, 0.95), 12)
    assert interval_text(estimate, lambda x: f"{x:.3g}") == "[-4.1e-09, 8.8e-08]"


def test_what_holds_for_several_engines_is_told_once(passing: Report) -> None:
    fp32, int8 = (engine.latency for engine in passing.targets[0].candidates)
    assert fp32 is not None and int8 is not None
    busy = Conditions(load=3.26)
    measured = [
        ("fp32", replace(fp32, conditions=busy, mismatches=1)),
        ("int8", replace(int8, conditions=busy)),
    ]
    assert remarks(measured) == [
        "fp32: 1 timed call of 5,430 gave another output than expected.",
        "The machine was busy in 2 of 2 measurements (fp32, int8), 3.3 processes for each of its "
        "cores.",
    ]
    measured[1] = ("int8", replace(int8, conditions=Conditions(load=9.0)))
    measured += [("teacher", replace(int8, conditions=Conditions(load=0.4)))]
    assert remarks(measured)[-1] == (
        "The machine was busy in 2 of 3 measurements (fp32, int8), 3.3 to 9.0 processes for each "
        "of its cores."
    )
    assert remarks(measured[1:2]) == [
        "int8: the machine was busy, 9.0 processes for each of its cores."
    ]
