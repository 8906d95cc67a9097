"""What a report says of each target, and what disturbed its measurements."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgestill.report import targets
from edgestill.report.figures import Section
from edgestill.report.model import Report
from edgestill.stats import Estimate, Interval
from edgestill.verify.results import (
    Conditions,
    EnergyResult,
    SpeedChange,
)


def candidates(section: Section) -> dict[str, str]:
    return {row[0].text: row[0].basis for row in section.rows}


def test_a_failed_candidate_says_so_with_its_target(crashed: Report) -> None:
    (section,) = targets.sections(crashed)
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
    (section,) = targets.sections(replace(crashed, targets=(target,)))
    assert section.lines[0] == "fp32 failed: signal 9."
    assert candidates(section) == {"fp32": "failed", "int8": "failed"}


def test_a_baseline_that_failed_says_so(passing: Report) -> None:
    (target,) = passing.targets
    assert target.baseline is not None
    target = replace(target, baseline=replace(target.baseline, latency=None, failure="signal 9"))
    (section,) = targets.sections(replace(passing, targets=(target,)))
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
    (section,) = targets.sections(replace(passing, targets=(target,)))
    assert section.lines[:3] == (
        "int8 would not ship: 0.80x [0.79, 0.81] the speed of fp32, slower.",
        "fp32 would ship: it is faster.",
        f"On this device the choice would be fp32, and the release ships int8{words}.",
    )


def test_a_target_says_what_its_figures_rest_on(passing: Report) -> None:
    (section,) = targets.sections(passing)
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
    (section,) = targets.sections(
        replace(passing, targets=(replace(target, candidates=candidates),))
    )
    assert "2 threads, 24 blocks in 2 looks, calls" in section.lines[-2]
    first, second = (candidate.name for candidate in candidates)
    assert section.lines[-1] == (
        f"Noise floor of the speed, each engine against itself: {first} 1.2%, {second} 0.4%."
    )


def test_doubts_stand_with_the_target(verification: Report) -> None:
    (section,) = targets.sections(verification)
    assert "int8: 6 blocks; an interval needs 12." in section.lines
    assert "int8: the warm-up settled in 50% of 6 blocks only." in section.lines


DISTURBANCES = [
    (Conditions(), None),
    (Conditions(load=1.0, slowed_blocks=0, held_blocks=0, held_ns=0), None),
    (Conditions(load=3.26), None),  # which is told of all measurements together
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
    (section, *_) = targets.sections(report)
    told = [line for line in section.lines if line.startswith("int8: ")]
    assert told == ([f"int8: {words}"] if words else [])


def test_what_drops_are_against_stands_above_them(passing: Report) -> None:
    def title(*names: str) -> str:
        (target,) = passing.targets
        kept = tuple(c for c in target.candidates if c.name in names)
        (section,) = targets.sections(replace(passing, targets=(replace(target, candidates=kept),)))
        return next(column.title for column in section.columns if "drop" in column.title)

    assert title("fp32", "int8") == "drop vs fp32"
    assert title("int8") == "drop vs fp32 ONNX"  # there is no float engine beside it


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
    (section, *_) = targets.sections(report)
    assert section.lines[-1] == f"int8: {words}"
