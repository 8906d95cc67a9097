"""int8 ships only where it is surely faster and accurate enough, and the reason is told."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgestill.verdict import Estimate
from edgestill.verify.choice import Budget, Choice, choose, choose_unmeasured
from edgestill.verify.evidence import Evidence
from edgestill.verify.latency import speedup_over

Times = Mapping[str, float | Sequence[float]]
MakeEvidence = Callable[..., Evidence]

NONE_BETTER = "no other candidate is accurate enough and surely faster"


def lost(value: float) -> Estimate:
    return Estimate(value, None, 200)


def decided(
    evidence: Evidence,
    drops: Mapping[str, float],
    *,
    accuracy_drop: float | None = 0.01,
    unit: str = "pp",
    auto: bool = True,
) -> Choice:
    budget = Budget(accuracy_drop, unit, batch=1, level=0.95)
    return choose(evidence, {n: lost(drop) for n, drop in drops.items()}, budget, auto=auto)


@pytest.mark.parametrize(
    ("drop", "budget", "unit", "words"),
    [
        (0.005, 0.01, "pp", "loses 0.50pp on 200 validation samples, budget 1.00pp"),
        (0.01, 0.01, "pp", "loses 1.00pp on 200 validation samples, budget 1.00pp"),
        (0.0, 0.0, "pp", "loses 0.00pp on 200 validation samples, budget 0.00pp"),
        (-0.005, 0.01, "pp", "gains 0.50pp on 200 validation samples, budget 1.00pp"),
        (0.4, None, "pp", "loses 40.00pp on 200 validation samples"),
        (0.25, 0.5, "plain", "loses 0.25 on 200 validation samples, budget 0.5"),
    ],
)
def test_int8_that_is_faster_and_accurate_enough_ships(
    evidence: MakeEvidence, drop: float, budget: float | None, unit: str, words: str
) -> None:
    found = evidence({"fp32": 100.0, "int8": 50.0})
    choice = decided(found, {"int8": drop}, accuracy_drop=budget, unit=unit)
    assert choice.shipped == ("int8",)
    assert choice.reasons == {
        "int8": f"2.00x [2.00, 2.00] the speed of fp32, {words}",
        "fp32": "int8 is 2.00x as fast",
    }


@pytest.mark.parametrize(
    ("int8_us", "drop", "number", "words"),
    [
        (125.0, 0.0, 12, "0.80x [0.80, 0.80] the speed of fp32, slower"),
        (
            100.0,
            0.0,
            12,
            "1.00x [1.00, 1.00] the speed of fp32, which is not surely faster: even 768 rounds "
            "like these would not tell them apart",
        ),
        (
            [90.0, 110.0] * 6,
            0.0,
            12,
            "1.01x [0.91, 1.11] the speed of fp32, which is not surely faster: even 768 rounds "
            "like these would not tell them apart",
        ),
        (
            [85.0, 108.0, 88.0, 106.0] * 3,
            0.0,
            12,
            "1.04x [0.93, 1.16] the speed of fp32, which is not surely faster: about 192 rounds "
            "would tell (measure.rounds), 12 were measured",
        ),
        (50.0, 0.0, 11, "2.00x the speed of fp32, from too few blocks to be sure"),
        (50.0, 0.011, 12, "loses 1.10pp on 200 validation samples, budget 1.00pp"),
        (50.0, math.nan, 12, "loses nanpp on 200 validation samples, budget 1.00pp"),
    ],
    ids=["slower", "equal", "unsure", "near", "too few blocks", "over the budget", "not a number"],
)
def test_int8_that_is_not_stays_behind(
    evidence: MakeEvidence, int8_us: float | list[float], drop: float, number: int, words: str
) -> None:
    found = evidence({"fp32": 100.0, "int8": int8_us}, number=number)
    choice = decided(found, {"int8": drop})
    assert choice.shipped == ("fp32",)
    assert choice.reasons == {"int8": words, "fp32": NONE_BETTER}


def test_a_drop_that_is_no_number_keeps_no_budget_at_all(evidence: MakeEvidence) -> None:
    found = evidence({"fp32": 100.0, "int8": 50.0})
    assert decided(found, {"int8": math.nan}, accuracy_drop=None).shipped == ("fp32",)


def test_of_several_the_fastest_ships(evidence: MakeEvidence) -> None:
    found = evidence({"fp32": 100.0, "fp16": 60.0, "int8": 50.0})
    choice = decided(found, {"fp16": 0.0, "int8": 0.005})
    assert choice.shipped == ("int8",)
    assert choice.reasons["fp16"] == ("1.67x [1.67, 1.67] the speed of fp32, and int8 is faster")
    assert decided(found, {"fp16": 0.0, "int8": 0.02}).shipped == ("fp16",)


def test_what_was_not_compared_does_not_ship_however_fast_it_is(evidence: MakeEvidence) -> None:
    choice = decided(evidence({"fp32": 100.0, "int8": 1.0}), {}, accuracy_drop=None)
    assert choice.shipped == ("fp32",)
    assert choice.reasons["int8"] == "its accuracy was not compared with that of fp32"


PRECISIONS = ("fp32", "fp16", "int8")
UNKNOWN = "its accuracy is not known before it runs on the device"


@pytest.mark.parametrize(
    ("drop", "accuracy_drop", "shipped", "words"),
    [
        (0.005, 0.01, PRECISIONS, "loses 0.50pp on 200 validation samples, budget 1.00pp"),
        (0.02, 0.01, PRECISIONS[:2], "loses 2.00pp on 200 validation samples, budget 1.00pp"),
        (0.02, None, PRECISIONS, "loses 2.00pp on 200 validation samples"),
        (math.nan, None, PRECISIONS[:2], "loses nanpp on 200 validation samples"),
    ],
)
def test_to_another_machine_ships_what_is_not_known_to_lose_too_much(
    drop: float, accuracy_drop: float | None, shipped: tuple[str, ...], words: str
) -> None:
    budget = Budget(accuracy_drop, "pp", batch=1, level=0.95)
    choice = choose_unmeasured(PRECISIONS, {"int8": lost(drop)}, budget, auto=True)
    assert choice.shipped == shipped
    assert choice.reasons == {"int8": f"{words}, as ONNX in ONNX Runtime", "fp16": UNKNOWN}
    named = choose_unmeasured(PRECISIONS, {"int8": lost(drop)}, budget, auto=False)
    over = {} if shipped == PRECISIONS else {"int8": f"{words}: {NAMED}"}
    assert named == Choice(PRECISIONS, over)


NAMED = (
    "it breaks quantize.budget, and ships since the recipe names it (precision: auto would not "
    "ship it)"
)


def test_a_choice_that_the_recipe_made_is_not_made_again(evidence: MakeEvidence) -> None:
    found = evidence({"fp32": 100.0, "int8": 300.0})
    assert decided(found, {"int8": 0.01}, auto=False) == Choice(("fp32", "int8"), {})
    choice = decided(found, {"int8": 0.5}, auto=False)
    words = f"loses 50.00pp on 200 validation samples, budget 1.00pp: {NAMED}"
    assert choice == Choice(("fp32", "int8"), {"int8": words})
    assert decided(found, {"int8": 0.5}, auto=False, accuracy_drop=None).reasons == {}


def test_a_single_candidate_ships(evidence: MakeEvidence) -> None:
    assert decided(evidence({"teacher": 400.0, "fp32": 100.0}), {}) == Choice(("fp32",), {})


@pytest.mark.parametrize("auto", [True, False])
def test_what_failed_never_ships_however_fast_it_was(evidence: MakeEvidence, auto: bool) -> None:
    found = evidence({"fp32": 100.0, "int8": 1.0}, failing={"int8": 3})
    choice = decided(found, {"int8": 0.0}, auto=auto)
    assert choice.shipped == ("fp32",)
    assert choice.reasons["int8"] == "it failed here"
    if auto:
        assert choice.reasons["fp32"] == "no other candidate could run here"


def test_what_answered_otherwise_while_it_was_timed_never_ships(evidence: MakeEvidence) -> None:
    found = evidence({"fp32": 100.0, "int8": 50.0}, mismatches={"int8": 1})
    assert decided(found, {"int8": 0.0}).shipped == ("fp32",)


def test_where_float_failed_int8_ships_within_the_budget_only(evidence: MakeEvidence) -> None:
    found = evidence({"fp32": 100.0, "int8": 50.0}, failing={"fp32": 0})
    choice = decided(found, {"int8": 0.005})
    assert choice.shipped == ("int8",)
    assert choice.reasons == {
        "fp32": "it failed here",
        "int8": "no other candidate could run here",
    }
    choice = decided(found, {"int8": 0.02})
    assert choice.shipped == ()
    assert choice.reasons["int8"] == "loses 2.00pp on 200 validation samples, budget 1.00pp"


def test_where_all_failed_nothing_ships(evidence: MakeEvidence) -> None:
    found = evidence({"fp32": 100.0, "int8": 50.0}, failing={"fp32": 0, "int8": 5})
    for auto in (True, False):
        assert decided(found, {"int8": 0.0}, auto=auto).shipped == ()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    ratios=st.lists(st.floats(0.9, 1.3), min_size=12, max_size=12),
    drop=st.floats(-0.02, 0.02),
)
def test_int8_ships_exactly_when_it_is_surely_faster_and_keeps_the_budget(
    evidence: MakeEvidence,
    ratios: list[float],
    drop: float,
) -> None:
    found = evidence({"fp32": 100.0, "int8": [100.0 / ratio for ratio in ratios]})
    gain = speedup_over(found, "fp32", "int8", 1, 0.95)
    assert gain.interval is not None
    earned = gain.interval.low > 1.0 and drop <= 0.01
    assert decided(found, {"int8": drop}).shipped == (("int8",) if earned else ("fp32",))
