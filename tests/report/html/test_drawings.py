"""Where marks lie on the drawings of a report."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from edgestill.report.figures import ns_text
from edgestill.report.html import render
from edgestill.report.html.drawing import MARGIN, NARROW, bottom_axis
from edgestill.report.html.scale import Scale
from edgestill.report.html.tables import bars
from edgestill.report.html.times import times
from edgestill.report.html.tradeoff import Limits, find_limits, find_points, tradeoff
from edgestill.report.model import Budget, Report
from edgestill.verdict import Estimate, Interval
from edgestill.verify.results import Histogram, TargetResult

NO_LIMITS = Limits(95.0, None, None)


def wide(drawn: str | None) -> Element:
    assert drawn is not None
    found = ElementTree.fromstring(drawn).find(".//div[@class='wide']/svg")
    assert found is not None
    return found


def number(element: Element, name: str) -> float:
    return float(element.get(name, "nan"))


def places(svg: Element) -> dict[str, tuple[float, float]]:
    """The place of every engine of the one target, which is drawn as circles."""
    return {
        circle.findtext("title", "").partition(":")[0]: (number(circle, "cx"), number(circle, "cy"))
        for circle in svg.iter("circle")
    }


def test_faster_is_left_and_more_accurate_is_up(passing: Report) -> None:
    found = places(wide(tradeoff(passing)))
    int8, fp32, teacher = (found[f"openvino {name}"] for name in ("int8", "fp32", "teacher"))
    assert int8[0] < fp32[0] < teacher[0]
    assert teacher[1] < fp32[1] < int8[1]
    # On a log scale: from 66.1 to 167 µs is as far as their ratio says, of that to 1.35 ms.
    share = math.log(139_200 / 55_100) / math.log(1_124_000 / 55_100)
    assert (fp32[0] - int8[0]) / (teacher[0] - int8[0]) == pytest.approx(share, abs=1e-3)


def test_both_intervals_are_drawn(passing: Report) -> None:
    svg = wide(tradeoff(passing))
    (group,) = [g for g in svg.findall("g") if "int8" in (g.findtext("circle/title") or "")]
    level, upright = group.findall("line")
    x, y = places(svg)["openvino int8"]
    assert number(level, "x1") < x < number(level, "x2") and number(level, "y1") == y
    assert number(upright, "y2") < y < number(upright, "y1") and number(upright, "x1") == x


@pytest.mark.parametrize(
    ("seconds", "drop", "inside"),
    [
        (0.005, 0.03, {"int8", "fp32", "teacher"}),
        (0.0005, 0.03, {"int8", "fp32"}),
        (0.0005, 0.019, {"fp32"}),
        (0.005, 0.001, {"teacher"}),
        (0.00001, 0.03, set()),
    ],
)
def test_the_box_holds_what_keeps_the_budgets(
    passing: Report, seconds: float, drop: float, inside: set[str]
) -> None:
    budgets = (
        Budget("accuracy", at_most=drop, versus="teacher"),
        Budget("latency", at_most=seconds, percentile=95.0, batch=1),
    )
    svg = wide(tradeoff(replace(passing, budgets=budgets)))
    box = svg.find("rect[@class='box']")
    assert box is not None
    left, top = number(box, "x"), number(box, "y")
    right, bottom = left + number(box, "width"), top + number(box, "height")
    found = {
        name.removeprefix("openvino ")
        for name, (x, y) in places(svg).items()
        if left <= x <= right and top <= y <= bottom
    }
    assert found == inside


def test_without_budgets_there_is_no_box(passing: Report) -> None:
    svg = wide(tradeoff(replace(passing, budgets=())))
    assert svg.find("rect") is None and "limit" not in {
        line.get("class") for line in svg.iter("line")
    }


def test_an_error_keeps_its_budget_below_it(passing: Report) -> None:
    budgets = (Budget("accuracy", at_most=0.97),)
    svg = wide(tradeoff(replace(passing, bigger_is_better=False, budgets=budgets)))
    box = svg.find("rect[@class='box']")
    assert box is not None
    _, teacher = places(svg)["openvino teacher"]
    _, fp32 = places(svg)["openvino fp32"]
    assert teacher < number(box, "y") < fp32


def test_a_budget_far_beyond_all_engines_does_not_squeeze_them(passing: Report) -> None:
    at = places(wide(tradeoff(replace(passing, budgets=()))))
    far = (Budget("latency", at_most=100.0, percentile=95.0, batch=1),)
    svg = wide(tradeoff(replace(passing, budgets=far)))
    assert places(svg) == at
    box = svg.find("rect[@class='box']")
    assert box is not None
    assert number(box, "x") + number(box, "width") == pytest.approx(1040 - MARGIN)


def test_the_tightest_budget_is_the_limit(passing: Report) -> None:
    budgets = (
        Budget("latency", at_most=0.01, percentile=99.0, batch=1),
        Budget("latency", at_most=0.002, percentile=90.0, batch=1),
        Budget("accuracy", at_least=0.9),
        Budget("accuracy", at_most=0.01, versus="teacher"),
        Budget("accuracy", at_most=0.01, versus="student"),
    )
    found = find_limits(replace(passing, budgets=budgets))
    assert found == Limits(90.0, 0.002, pytest.approx(0.9791 - 0.01))
    assert find_limits(replace(passing, budgets=())) == Limits(95.0, None, None)


def test_only_what_was_scored_and_timed_often_enough_is_drawn(
    passing: Report, crashed: Report, verification: Report
) -> None:
    assert [point.name for point in find_points(passing, 99.9)] == []
    assert [point.name for point in find_points(crashed, 95)] == [
        "openvino fp32",
        "openvino teacher",
    ]
    assert tradeoff(verification) is None, "60 calls give no p95"


def test_a_budget_on_a_metric_of_ones_own_is_drawn_too(passing: Report) -> None:
    budgets = (Budget("score", at_least=0.9), Budget("agreement", at_least=0.5, versus="teacher"))
    found = find_limits(replace(passing, metric="my_metric", budgets=budgets))
    assert found.score == 0.9


def test_figures_without_a_place_are_left_out(passing: Report) -> None:
    (target,) = passing.targets
    fp32, int8 = target.candidates
    latency = int8.latency
    assert latency is not None
    # An interval may begin at no time at all, which a log scale has not.
    p95 = replace(latency.percentiles_ns["95"], interval=Interval(0.0, 90_000, 0.95))
    latency = replace(latency, percentiles_ns={**latency.percentiles_ns, "95": p95})
    candidates = (replace(fp32, test_score=math.nan), replace(int8, latency=latency))
    hops = tuple(
        replace(hop, drop=Estimate(math.nan, None, 9)) if hop.drop else hop for hop in passing.hops
    )
    report = replace(passing, targets=(replace(target, candidates=candidates),), hops=hops)
    assert set(places(wide(tradeoff(report)))) == {"openvino int8", "openvino teacher"}
    assert not re.search(r'="-?(nan|inf)"', render(report))


def test_an_error_without_end_has_no_bar() -> None:
    drawn = bars([0.5, math.inf, None, 0.0, 0.25])
    assert [bar and re.findall(r"--share:([\d.]+)%", bar) for bar in drawn] == [
        ["100.0"], None, None, None, ["50.0"],
    ]  # fmt: skip


def test_what_ships_is_filled(passing: Report) -> None:
    svg = wide(tradeoff(passing))
    filled = [c.findtext("title", "") for c in svg.iter("circle") if c.get("class") == "dot filled"]
    assert [title.partition(":")[0] for title in filled] == ["openvino int8"]


def test_it_says_in_words_what_it_shows(passing: Report) -> None:
    assert wide(tradeoff(passing)).get("aria-label") == (
        "accuracy against p95 latency: openvino fp32 96.04% at 167 µs; "
        "openvino int8 95.97% at 66.1 µs; openvino teacher 97.91% at 1.35 ms"
    )


def timed(openvino: TargetResult, limits: Limits = NO_LIMITS) -> tuple[Element, Element]:
    drawn = times(openvino, limits)
    assert drawn is not None
    first, second = ElementTree.fromstring(drawn).findall(".//div[@class='wide']/svg")
    return first, second


def heights(path: str, base: float) -> list[float]:
    return [base - float(at) for at in re.findall(r"V([\d.]+)H", path)]


def test_a_distribution_is_as_high_as_its_bins_are_full(openvino: TargetResult) -> None:
    latency = openvino.candidates[0].latency
    assert latency is not None
    spread = replace(latency, histogram=Histogram(1000, 8000, (10, 40, 0)))
    target = replace(
        openvino, candidates=(replace(openvino.candidates[0], latency=spread),), baseline=None
    )
    distribution, _ = timed(target)
    path = distribution.find("g/path")
    assert path is not None and heights(path.get("d", ""), 54) == [9, 36, 0]
    assert [line.findtext("title") for line in distribution.findall("g/line")] == [
        "fp32 p50 139 µs", "fp32 p95 167 µs", "fp32 p99 209 µs",
    ]  # fmt: skip


def test_engines_share_the_axis_of_time(openvino: TargetResult) -> None:
    distribution, _ = timed(openvino, Limits(95.0, 0.003, None))
    medians = [number(group.findall("line")[0], "x1") for group in distribution.findall("g")]
    budget = next(line for line in distribution.iter("line") if line.get("class") == "limit")
    fp32, int8, teacher = medians
    assert int8 < fp32 < teacher < number(budget, "x1")
    ratio = math.log(139_200 / 55_100) / math.log(1_124_000 / 55_100)
    assert (fp32 - int8) / (teacher - int8) == pytest.approx(ratio, abs=1e-3)


@pytest.mark.parametrize(("seconds", "side"), [(60e-6, "start"), (0.002, "end")])
def test_the_words_on_a_budget_stand_where_there_is_room(
    openvino: TargetResult, seconds: float, side: str
) -> None:
    distribution, _ = timed(openvino, Limits(95.0, seconds, None))
    (words,) = [text for text in distribution.iter("text") if "budget" in (text.text or "")]
    assert words.get("text-anchor") == side


def test_a_budget_far_from_all_calls_is_not_drawn(openvino: TargetResult) -> None:
    for seconds in (1e-6, 1.0):
        distribution, _ = timed(openvino, Limits(95.0, seconds, None))
        assert all(line.get("class") != "limit" for line in distribution.iter("line"))


def test_blocks_are_drawn_when_they_ran(openvino: TargetResult) -> None:
    _, series = timed(openvino)
    (fp32, *_) = series.findall("g")
    dots = fp32.findall("circle")
    gaps = {round(number(b, "cx") - number(a, "cx"), 1) for a, b in pairwise(dots)}
    assert len(dots) == 12 and len(gaps) == 1, "a block each five seconds"
    levels = [number(dot, "cy") for dot in dots]
    assert levels == sorted(levels, reverse=True), "each block is slower than the one before"
    assert [dot.get("class") for dot in dots].index("dot") == 3, "the one that did not settle"
    assert "the warm-up did not settle" in (dots[3].findtext("title") or "")


def test_it_says_what_the_machine_was_like(openvino: TargetResult) -> None:
    drawn = times(openvino, NO_LIMITS)
    assert drawn is not None
    *_, caption = ElementTree.fromstring(drawn).iter("figcaption")
    assert caption.text == (
        "Median of each block with p10 to p90, in the order in which they ran; hollow where the "
        "warm-up did not settle; load 0.4 processes per core; clock 2400 MHz; 51 °C."
    )


def test_what_was_not_timed_has_no_drawing(elsewhere: Report) -> None:
    assert times(elsewhere.targets[1], NO_LIMITS) is None


def test_words_that_would_touch_are_left_out() -> None:
    scale = Scale(15e3, 900e3, 0, 150, log=True)
    drawn = ElementTree.fromstring(f"<svg>{bottom_axis(scale, 10, 0, ns_text, 5)}</svg>")
    assert [text.text for text in drawn.iter("text")] == ["20 µs", "100 µs", "500 µs"]
    assert len(drawn.findall("line")) == 5, "their lines stay"


def test_there_is_one_drawing_for_narrow_screens(passing: Report) -> None:
    drawn = tradeoff(passing)
    assert drawn is not None
    narrow = ElementTree.fromstring(drawn).find(".//div[@class='narrow']/svg")
    assert narrow is not None and narrow.get("viewBox", "").split()[2] == str(NARROW)


def test_a_page_is_the_same_each_time(passing: Report, page: Callable[[Report], Element]) -> None:
    assert ElementTree.tostring(page(passing)) == ElementTree.tostring(page(passing))
