"""Whether an engine has become slower: decided on blocks, and measured until it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest

from edgestill.stats import Verdict
from edgestill.verify.evidence import Evidence
from edgestill.verify.regression import Regression, RegressionResult, decide_regression

MakeEvidence = Callable[..., Evidence]
AROUND = numpy.exp([0.010, -0.012, 0.004, -0.006, 0.011, -0.003] * 2)


def decided(
    evidence: MakeEvidence, slower: float, at_most: float, drift_to: float = 3.0, **options: Any
) -> RegressionResult:
    """Of 12 rounds, in which the machine slows down threefold for both."""
    drift = 100.0 * numpy.geomspace(1.0, drift_to, 12)
    times = {"old": list(drift), "new": list(drift * (1.0 + slower) * AROUND)}
    made = evidence(times, **{"first_look": 12, **options})
    return decide_regression(made, "old", "new", Regression(at_most), 0.95)


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
def test_a_slowdown_is_held_against_its_budget(
    evidence: MakeEvidence, slower: float, verdict: Verdict, advice: str
) -> None:
    found = decided(evidence, slower, 0.05)
    assert (found.verdict, found.advice) == (verdict, advice)
    assert found.time_ratio is not None
    assert found.time_ratio.value == pytest.approx(1.0 + slower, abs=0.003)
    assert (found.rounds, found.looks) == (12, 1)
    assert found.open_at == ((1,) if verdict is Verdict.INCONCLUSIVE else ())


def test_it_says_what_it_found_and_the_noise_floor(evidence: MakeEvidence) -> None:
    found = decided(evidence, 0.10, 0.05, drift_to=1.0)
    assert found.budget == "time of new over old <= +5.00% (batch 1)"
    words = "+10.05% [+9.18%, +11.10%], n = 12 pairs of blocks, noise floor "
    assert found.found == f"{words}{found.noise_floor:.2%}"
    # Neighbours differ by 1.0 to 2.2 %.
    assert found.noise_floor == pytest.approx(0.0175, abs=0.002)


def test_an_engine_that_failed_is_not_compared(evidence: MakeEvidence) -> None:
    found = decided(evidence, 0.0, 0.05, failing={"new": 3})
    assert (found.verdict, found.found) == (Verdict.NOT_RUN, "no comparison")
    assert found.advice == "new failed: the worker ended with signal 9"
    assert found.open_at == ()


def test_engines_that_were_not_measured_together_are_not_compared(evidence: MakeEvidence) -> None:
    made = evidence({"old": 100.0}, first_look=12)
    found = decide_regression(made, "old", "new", Regression(0.05), 0.95)
    assert (found.verdict, found.advice) == (Verdict.NOT_RUN, "they were not measured together")
