"""Where it was lost: hops, layers, classes and samples."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgestill.departures.result import Departure
from edgestill.report import way
from edgestill.report.model import Report
from edgestill.stats import Estimate, Interval
from edgestill.verify.results import (
    MOST_FLIPS,
    Changes,
    ClassDrop,
    Flip,
    HopResult,
)


def estimate(value: float, low: float, high: float, count: int) -> Estimate:
    return Estimate(value, Interval(low, high, 0.95), count)


def hop(name: str, parent: str | None, drop: float | None, ships: bool = True) -> HopResult:
    lost = None if drop is None else Estimate(drop, Interval(drop - 0.1, drop + 0.1, 0.95), 718)
    return HopResult(name, parent, 0.9, lost, 0.9, 0.1, ships)


def test_the_hop_that_lost_most_lies_on_the_way_to_what_ships() -> None:
    hops = [
        hop("teacher", None, None),
        hop("student", "teacher", 0.02),
        hop("openvino fp32", "student", 0.001),
        hop("int8 cpu", "student", 0.3, ships=False),
    ]
    assert way.most_lost(hops) is hops[1]
    # A way that lost nothing has no such hop, whatever another one lost.
    assert way.most_lost([hops[0], hop("student", "teacher", -0.01), hops[3]]) is None


def test_where_nothing_ships_every_hop_is_looked_at() -> None:
    hops = [hop("student", "teacher", 0.02, ships=False), hop("int8", "student", 0.3, ships=False)]
    assert way.most_lost(hops) is hops[1]
    assert way.most_lost([]) is None


def test_a_losing_branch_that_does_not_ship_is_not_named(crashed: Report) -> None:
    section = way.hops(crashed)
    assert [row[0].text.strip() for row in section.rows if row[0].basis.strip()] == [
        "student torch"
    ]
    assert (
        section.lines[0]
        == "Most was lost from teacher torch to student torch: 1.87pp [0.70, 3.04]."
    )


def test_a_drop_that_may_be_chance_says_so(passing: Report) -> None:
    hops = (passing.hops[0], replace(passing.hops[4], parent="teacher torch"))
    (first, *_) = way.hops(replace(passing, hops=hops)).lines
    assert first == (
        "Most was lost from teacher torch to int8 cpu onnx: 0.07pp [-0.50, 0.64], "
        "which may be chance."
    )


def changed(lost: int, won: int, p_value: float, classes: tuple[ClassDrop, ...] = ()) -> Changes:
    flips = tuple(Flip(n, f"{n:016x}", "cat", "cat", "dog") for n in range(min(lost, MOST_FLIPS)))
    return Changes("teacher", lost, won, p_value, flips, classes, 10)


def with_hop(report: Report, name: str, **values: Any) -> Report:
    hops = tuple(replace(hop, **values) if hop.name == name else hop for hop in report.hops)
    return replace(report, hops=hops)


def test_lost_and_won_samples_stand_under_the_score_and_beside_the_drop(passing: Report) -> None:
    section = way.hops(with_hop(passing, "student torch", changes=changed(19, 5, 0.0066)))
    bases = {row[0].text.strip(): row[1].basis for row in section.rows}
    assert bases["student torch"] == "-19 +5" and bases["student onnx"] == ""
    assert section.lines[0] == (
        "Most was lost from teacher torch to student torch: 1.87pp [0.70, 3.04], 19 samples were "
        "lost and 5 won (p = 0.0066)."
    )
    assert section.lines[-1].startswith("-3 +2: three samples that were right before are wrong")


def test_mcnemars_test_says_what_may_be_chance(passing: Report) -> None:
    # The interval leaves out nothing, and the exact test says that a coin may have done it.
    section = way.hops(with_hop(passing, "student torch", changes=changed(15, 5, 0.051)))
    assert section.lines[0].endswith(
        "15 samples were lost and 5 won (p = 0.051), which may be chance."
    )


@pytest.mark.parametrize(
    ("alone", "unfound", "words"),
    [
        (True, "", "int8 cpu onnx departs first at body.7 (Conv), from 0.30% to 41%."),
        (
            False,
            "",
            "int8 cpu onnx departs over many layers, and first at body.7 (Conv), from 0.30% to "
            "41%.",
        ),
        (
            None,
            "onnx is not installed",
            "Where int8 cpu onnx departs from student onnx is not known: onnx is not installed.",
        ),
    ],
)
def test_a_hop_that_departs_names_the_layer(
    passing: Report, alone: bool | None, unfound: str, words: str
) -> None:
    departure = None
    if alone is not None:
        departure = Departure("body.7/Conv", "Conv", "body.7", 0.003, 0.41, 0.4, 0.01, alone, 50)
    found = with_hop(passing, "int8 cpu onnx", departure=departure, unfound=unfound)
    assert words in way.hops(found).lines
    assert not any("depart" in line for line in way.hops(passing).lines)


def test_the_worst_classes_of_what_ships_are_shown_once_for_engines_that_answer_alike(
    passing: Report,
) -> None:
    drops = tuple(
        ClassDrop(name, 1.0, 1.0 - drop, estimate(drop, drop - 0.1, drop + 0.2, 70))
        for name, drop in (("3", 0.1), ("8", 0.05), ("1", 0.02), ("0", 0.0), ("2", -0.1))
    )
    overall = changed(25, 3, 1e-5, drops)
    report = with_hop(passing, "openvino int8", overall=overall)
    report = replace(report, hops=(*report.hops, replace(report.hops[-1], name="onnxruntime fp32")))
    (section,) = way.classes(report, 2)
    assert section.title == "Classes that lost most: openvino int8, onnxruntime fp32"
    assert [row[0].text for row in section.rows] == ["3", "8"]
    assert [cell.text for cell in section.rows[0]] == ["3", "70", "100.00%", "90.00%", "10.00pp"]
    assert section.lines == (
        "Against the teacher, 25 samples were lost and 3 won (p = 1e-05).",
        "2 of 10 classes; their exact intervals are such that all hold together with 95%.",
    )
    # Classes that did not drop are none that lost most.
    assert [row[0].text for row in way.classes(report, 9)[0].rows] == ["3", "8", "1"]
    (lost,) = way.flips(report)
    assert [cell.text for cell in lost.rows[1]] == ["1", f"{1:016x}", "cat", "cat", "dog"]
    assert lost.lines == (f"The first {MOST_FLIPS} of 25.",)
    assert way.classes(passing, 5) == way.flips(passing) == []


def test_an_agreement_that_is_no_share_is_defined_where_it_is_shown(passing: Report) -> None:
    words = "Agreement is the concordance correlation of the two models' values (Lin 1989): "
    for task, defined in (("classification", 0), ("regression", 1), ("custom", 1)):
        lines = way.hops(replace(passing, task=task)).lines
        assert sum(line.startswith(words) for line in lines) == defined
