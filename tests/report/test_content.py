"""What a report says, whatever it is laid out as."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgestill.departures.result import Departure
from edgestill.report import content
from edgestill.report.content import headline, most_lost
from edgestill.report.figures import Section, interval_text, measured_percentile
from edgestill.report.model import Report
from edgestill.stats import Estimate, Interval, Verdict
from edgestill.verify.results import (
    MOST_FLIPS,
    Changes,
    ClassDrop,
    Conditions,
    EnergyResult,
    Flip,
    GateResult,
    HopResult,
    SpeedChange,
)


def gate(verdict: Verdict, name: str = "size", target: str = "openvino int8") -> GateResult:
    return GateResult(name, target, verdict, "", "")


def with_gates(report: Report, verdict: Verdict, *gates: GateResult) -> Report:
    return replace(report, verdict=verdict, gates=gates)


def estimate(value: float, low: float, high: float, count: int) -> Estimate:
    return Estimate(value, Interval(low, high, 0.95), count)


PASS, FAIL, OPEN, NOT_RUN = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.NOT_RUN


@pytest.mark.parametrize(
    ("verdict", "gates", "words"),
    [
        (PASS, [gate(PASS)], "PASS  digits: the gate passed"),
        (PASS, [gate(PASS)] * 2, "PASS  digits: all 2 gates passed"),
        (
            PASS,
            [gate(PASS), gate(NOT_RUN, "all", "tensorrt"), gate(NOT_RUN, "score")],
            "PASS  digits: the gate passed (not run here: tensorrt, score on openvino int8)",
        ),
        (
            FAIL,
            [gate(FAIL), gate(PASS), gate(OPEN)],
            "FAIL  digits: 1 of 3 gates failed: size on openvino int8",
        ),
        (
            FAIL,
            [gate(FAIL)] * 5,
            "FAIL  digits: 5 of 5 gates failed: size on openvino int8, size on openvino int8, "
            "size on openvino int8, 2 more",
        ),
        (
            OPEN,
            [gate(OPEN), gate(PASS)],
            "INCONCLUSIVE  digits: none failed, 1 of 2 gates not decided: size on openvino int8",
        ),
        (NOT_RUN, [gate(NOT_RUN)], "NOT RUN  digits: no gate was run"),
        (NOT_RUN, [], "NOT RUN  digits: no gates, so nothing was decided"),
    ],
)
def test_the_headline(
    passing: Report, verdict: Verdict, gates: list[GateResult], words: str
) -> None:
    assert headline(with_gates(passing, verdict, *gates)) == words


def test_the_headline_of_what_could_not_run(crashed: Report) -> None:
    assert headline(crashed) == (
        "INCONCLUSIVE  digits: something that had to run could not, see the notes "
        "(not run here: openvino int8)"
    )
    failed = with_gates(crashed, OPEN, gate(FAIL), gate(PASS))
    assert headline(failed).endswith("see the notes; 1 of 2 gates failed: size on openvino int8")


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
    assert most_lost(hops) is hops[1]
    # A way that lost nothing has no such hop, whatever another one lost.
    assert most_lost([hops[0], hop("student", "teacher", -0.01), hops[3]]) is None


def test_where_nothing_ships_every_hop_is_looked_at() -> None:
    hops = [hop("student", "teacher", 0.02, ships=False), hop("int8", "student", 0.3, ships=False)]
    assert most_lost(hops) is hops[1]
    assert most_lost([]) is None


def test_a_losing_branch_that_does_not_ship_is_not_named(crashed: Report) -> None:
    section = content.hops(crashed)
    assert [row[0].text.strip() for row in section.rows if row[0].basis.strip()] == [
        "student torch"
    ]
    assert (
        section.lines[0]
        == "Most was lost from teacher torch to student torch: 1.87pp [0.70, 3.04]."
    )


def test_a_drop_that_may_be_chance_says_so(passing: Report) -> None:
    hops = (passing.hops[0], replace(passing.hops[4], parent="teacher torch"))
    (first, *_) = content.hops(replace(passing, hops=hops)).lines
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
    section = content.hops(with_hop(passing, "student torch", changes=changed(19, 5, 0.0066)))
    bases = {row[0].text.strip(): row[1].basis for row in section.rows}
    assert bases["student torch"] == "-19 +5" and bases["student onnx"] == ""
    assert section.lines[0] == (
        "Most was lost from teacher torch to student torch: 1.87pp [0.70, 3.04], 19 samples were "
        "lost and 5 won (p = 0.0066)."
    )
    assert section.lines[-1].startswith("-3 +2: three samples that were right before are wrong")


def test_mcnemars_test_says_what_may_be_chance(passing: Report) -> None:
    # The interval leaves out nothing, and the exact test says that a coin may have done it.
    section = content.hops(with_hop(passing, "student torch", changes=changed(15, 5, 0.051)))
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
    assert words in content.hops(found).lines
    assert not any("depart" in line for line in content.hops(passing).lines)


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
    (section,) = content.classes(report, 2)
    assert section.title == "Classes that lost most: openvino int8, onnxruntime fp32"
    assert [row[0].text for row in section.rows] == ["3", "8"]
    assert [cell.text for cell in section.rows[0]] == ["3", "70", "100.00%", "90.00%", "10.00pp"]
    assert section.lines == (
        "Against the teacher, 25 samples were lost and 3 won (p = 1e-05).",
        "2 of 10 classes; their exact intervals are such that all hold together with 95%.",
    )
    # Classes that did not drop are none that lost most.
    assert [row[0].text for row in content.classes(report, 9)[0].rows] == ["3", "8", "1"]
    (lost,) = content.flips(report)
    assert [cell.text for cell in lost.rows[1]] == ["1", f"{1:016x}", "cat", "cat", "dog"]
    assert lost.lines == (f"The first {MOST_FLIPS} of 25.",)
    assert content.classes(passing, 5) == content.flips(passing) == []


def candidates(section: Section) -> dict[str, str]:
    return {row[0].text: row[0].basis for row in section.rows}


def test_a_failed_candidate_says_so_with_its_target(crashed: Report) -> None:
    (section,) = content.targets(crashed)
    assert candidates(section) == {"fp32": "ships", "int8": "failed", "teacher": "baseline"}
    assert section.lines[:2] == (
        "int8 failed: openvino: the worker ended with signal 9. Run it again with --debug.",
        "fp32 ships: no other candidate could run here.",
    )
    assert not any("it failed here" in line for line in section.lines)


def test_a_target_where_all_failed_is_not_taken_for_one_of_another_machine(
    crashed: Report,
) -> None:
    (target,) = crashed.targets
    # With a metric that may not run, nothing but the failure is known.
    dead = tuple(
        replace(c, test_score=None, latency=None, failure="signal 9") for c in target.candidates
    )
    target = replace(target, candidates=dead, baseline=None, shipped=())
    (section,) = content.targets(replace(crashed, targets=(target,)))
    assert section.lines[0] == "fp32 failed: signal 9."
    assert candidates(section) == {"fp32": "failed", "int8": "failed"}


def test_a_baseline_that_failed_says_so(passing: Report) -> None:
    (target,) = passing.targets
    assert target.baseline is not None
    target = replace(target, baseline=replace(target.baseline, latency=None, failure="signal 9"))
    (section,) = content.targets(replace(passing, targets=(target,)))
    assert candidates(section)["teacher"] == "failed"
    assert "teacher failed: signal 9." in section.lines


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (None, ""),
        ("Raspberry Pi 5 Model B, 4 cores", ", chosen on Raspberry Pi 5 Model B, 4 cores"),
    ],
)
def test_on_a_device_reasons_are_about_what_would_be_chosen_there(
    passing: Report, place: str | None, words: str
) -> None:
    (target,) = passing.targets
    target = replace(
        target,
        shipped=("int8",),
        would_choose=("fp32",),
        selected_on=place,
        reasons={"int8": "0.80x [0.79, 0.81] the speed of fp32, slower", "fp32": "it is faster"},
    )
    (section,) = content.targets(replace(passing, targets=(target,)))
    assert section.lines[:3] == (
        "int8 would not ship: 0.80x [0.79, 0.81] the speed of fp32, slower.",
        "fp32 would ship: it is faster.",
        f"On this device the choice would be fp32, and the release ships int8{words}.",
    )


def test_a_target_says_what_its_figures_rest_on(passing: Report) -> None:
    (section,) = content.targets(passing)
    assert section.lines[-1] == (
        "It rests on accuracy on 718 test samples; the drop on 180 validation samples; the speedup "
        "over the teacher in 12 pairs of blocks; times at batch 1 with 2 threads, 12 blocks, "
        "calls: fp32 5,430, int8 5,430, teacher 5,430; brackets are 95% intervals."
    )


def test_looks_and_noise_floors_are_told(passing: Report) -> None:
    (target,) = passing.targets
    candidates = tuple(
        replace(
            candidate,
            latency=replace(candidate.latency, blocks=24, looks=2, noise_floor=floor),
        )
        for candidate, floor in zip(target.candidates, (0.0123, 0.004), strict=True)
        if candidate.latency
    )
    assert len(candidates) == 2
    (section,) = content.targets(
        replace(passing, targets=(replace(target, candidates=candidates),))
    )
    assert "2 threads, 24 blocks in 2 looks, calls" in section.lines[-2]
    first, second = (candidate.name for candidate in candidates)
    assert section.lines[-1] == (
        f"Noise floor of the speed, each engine against itself: {first} 1.2%, {second} 0.4%."
    )


def test_doubts_stand_with_the_target(verification: Report) -> None:
    (section,) = content.targets(verification)
    assert "int8: 6 blocks; an interval needs 12." in section.lines
    assert "int8: the warm-up settled in 50% of 6 blocks only." in section.lines


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


def test_a_metric_of_ones_own_is_a_plain_number(passing: Report) -> None:
    assert content.unit_of(passing) == "pp"
    assert content.unit_of(replace(passing, metric="accuracy()")) == "plain"


DISTURBANCES = [
    (Conditions(), None),
    (Conditions(load=1.0, slowed_blocks=0, held_blocks=0, held_ns=0), None),
    (Conditions(load=3.26), "the machine was busy, 3.3 processes for each of its cores."),
    (
        Conditions(speed_change=SpeedChange(5, 100_000, 130_000)),
        "the device changed its speed in the middle: 100 µs in the first 5 of 12 blocks, 130 µs in "
        "the later ones, 1.30x as slow.",
    ),
    (
        Conditions(speed_change=SpeedChange(3, 3e6, 1e6)),
        "the device changed its speed in the middle: 3 ms in the first 3 of 12 blocks, 1 ms in "
        "the later ones, 3.00x as fast.",
    ),
    (
        Conditions(slowed_blocks=2),
        "it was slowed for its temperature or power in 2 of 12 blocks.",
    ),
    (
        Conditions(held_blocks=4, held_ns=75_000_000),
        "its control group held it back in 4 of 12 blocks, for 75 ms in all (the quota of "
        "processor time is used up).",
    ),
]


@pytest.mark.parametrize(("conditions", "words"), DISTURBANCES)
def test_what_disturbed_a_measurement_is_told_with_the_target(
    passing: Report, conditions: Conditions, words: str | None
) -> None:
    target = passing.targets[0]
    fp32, int8 = target.candidates
    assert int8.latency is not None
    timed = replace(int8, latency=replace(int8.latency, conditions=conditions))
    report = replace(passing, targets=(replace(target, candidates=(fp32, timed)),))
    (section, *_) = content.targets(report)
    told = [line for line in section.lines if line.startswith("int8: ")]
    assert told == ([f"int8: {words}"] if words else [])


@pytest.mark.parametrize(
    ("joules", "words"),
    [
        (
            Estimate(1.25e-3, Interval(1.2e-3, 1.3e-3, 0.95), 600),
            "1.25 mJ [1.2, 1.3] a sample at 25.5 W (RAPL).",
        ),
        (Estimate(20e-6, None, 30), "20 µJ (no interval) a sample at 25.5 W (RAPL)."),
    ],
)
def test_energy_is_told_where_it_was_measured(
    passing: Report, joules: Estimate, words: str
) -> None:
    target = passing.targets[0]
    fp32, int8 = target.candidates
    assert int8.latency is not None
    energy = EnergyResult("RAPL", joules, 25.5)
    timed = replace(int8, latency=replace(int8.latency, energy=energy))
    report = replace(passing, targets=(replace(target, candidates=(fp32, timed)),))
    (section, *_) = content.targets(report)
    assert section.lines[-1] == f"int8: {words}"


def test_an_error_rises_where_a_score_drops(passing: Report) -> None:
    errors = replace(passing, task="regression", metric="mae", bigger_is_better=False)
    assert "rise" in [column.title for column in content.hops(errors).columns]
    (target, *_) = content.targets(errors)
    assert "rise vs fp32" in [column.title for column in target.columns]
    assert any("; the rise on 180 validation samples;" in line for line in target.lines)


def test_an_agreement_that_is_no_share_is_defined_where_it_is_shown(passing: Report) -> None:
    words = "Agreement is the concordance correlation of the two models' values (Lin 1989): "
    for task, defined in (("classification", 0), ("regression", 1), ("custom", 1)):
        lines = content.hops(replace(passing, task=task)).lines
        assert sum(line.startswith(words) for line in lines) == defined


def test_the_student_is_compared_with_its_teacher_in_the_same_format(passing: Report) -> None:
    teacher, student = passing.models
    (line, *_) = content.models(passing).lines
    target = passing.targets[0]
    assert target.baseline is not None and target.shipped == ("int8",)
    assert (target.baseline.size_bytes, target.candidates[1].size_bytes) == (1_730_000, 41_200)
    assert "42x smaller as openvino int8" in line
    assert teacher.onnx_bytes > student.onnx_bytes and "x smaller as ONNX" in line
    # Another format than the teacher's file says nothing about the student.
    alone = replace(passing, targets=(replace(target, baseline=None),))
    assert "openvino" not in content.models(alone).lines[0]


def test_a_student_that_is_larger_than_its_teacher_is_called_so(passing: Report) -> None:
    teacher, student = passing.models
    large = replace(
        student, parameters=3 * (teacher.parameters or 0), onnx_bytes=2 * teacher.onnx_bytes
    )
    target = passing.targets[0]
    engines = tuple(replace(c, size_bytes=2_595_000) for c in target.candidates)
    targets = (replace(target, candidates=engines),)
    (line, *_) = content.models(replace(passing, models=(teacher, large), targets=targets)).lines
    assert line == (
        "The student against the teacher: 3x more parameters, 2x larger as ONNX, "
        "1.5x larger as openvino int8."
    )


def test_a_model_that_is_not_exported_has_no_file(passing: Report) -> None:
    teacher, student = passing.models
    between = replace(teacher, role="assistant 1", onnx_bytes=None)
    before = content.models(passing)
    found = content.models(replace(passing, models=(teacher, between, student)))
    column = [title.title for title in found.columns].index("ONNX file")
    assert [row[column].text for row in found.rows] == [
        before.rows[0][column].text,
        "",
        before.rows[1][column].text,
    ]
    assert found.lines == before.lines
