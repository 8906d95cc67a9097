"""What is said before a run that nothing refuses, and what a plan knows a run to end with."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import edgestill
from edgestill.api.plan import Outlook
from edgestill.cli import run
from edgestill.errors import DeviceError
from edgestill.quantities import count_text
from edgestill.targets.fingerprint import Fingerprint

if TYPE_CHECKING:
    from conftest import Project


CORES = Fingerprint.read().usable_cores
CROWD = 2 * CORES + 1  # the fewest that are refused: were they not, a test would not take minutes


def outlook(project: Project, *overrides: str) -> Outlook:
    return edgestill.plan_recipe(project.recipe, overrides=overrides, store=project.store)


def told(found: Outlook, project: Project) -> list[tuple[str, str, str]]:
    where = f"{project.recipe}: "
    return [(c.where.removeprefix(where), c.what, c.fix) for c in found.cautions]


def test_a_plan_of_what_is_well_warns_of_nothing(project: Project) -> None:
    found = outlook(project)
    assert (found.cautions, found.hindrances, found.exit_code) == ((), (), 0)
    # As many steps as the report of the run that made them.
    again = project.run()
    assert len(found.steps) == len(again.steps)


@pytest.mark.parametrize(
    ("verify", "elsewhere"),
    [("here", ". What is for a larger device is verified there: verify: elsewhere"), ("other", "")],
)
def test_more_threads_than_cores(
    verify: str, elsewhere: str, new_project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    many = CORES + 1
    overrides = [f"threads={many}"]
    if verify == "other":
        overrides += ["targets.0.verify=elsewhere", "gates=null"]
    found = outlook(new_project, *overrides)
    ((where, what, fix),) = told(found, new_project)
    assert (where, found.exit_code) == ("threads", 0)
    assert what == Fingerprint.read().crowd(many)
    assert fix == f"Write threads: {CORES}, or leave it out{elsewhere}"
    arguments = ["plan", str(new_project.recipe), "--store", str(new_project.store)]
    run([*arguments, *(word for override in overrides for word in ("--set", override))])
    shown = f"\n\nwarning: {new_project.recipe}: threads: {what}\n         {fix}\n"
    assert shown in capfd.readouterr().out
    assert outlook(new_project, f"threads={CORES}").cautions == ()


def test_threads_are_told_in_a_run_and_in_its_report(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    many = CORES + 1
    report = project.run(f"threads={many}", "targets=null", "gates=null", "quantize=null")
    assert f"warning: {project.recipe}: threads: {many} threads share" in capfd.readouterr().err
    assert report.notes[-1] == f"{Fingerprint.read().crowd(many)}."


FINE = "quantize.budget.accuracy_drop=0.9pp"  # of some 80 validation samples, one is 1.2 points


def test_a_budget_finer_than_a_sample(project: Project) -> None:
    count = edgestill.read_report(project.release).splits["validation"]
    found = outlook(project, FINE)
    assert told(found, project) == [
        (
            "quantize.budget.accuracy_drop",
            f"int8 may lose 0.90pp and one of {count} validation samples is {100 / count:.2f}pp: a "
            "single one that it loses refuses it, and whether it keeps the budget is not decided",
            "112 validation samples would do (data.split.validation), or a budget of "
            f"{100 / count:.2f}pp or more",
        )
    ]
    (caution,) = found.cautions
    assert f"{caution.what}. {caution.fix}." in project.run(FINE).notes
    # Neither what costs nothing, nor a metric that no single sample moves by as much.
    for others in (["quantize.budget.accuracy_drop=0pp"], [FINE, "metric=f1_macro", "gates=null"]):
        assert outlook(project, *others).cautions == ()
    # Before there are data, nobody knows how many samples there are.
    assert outlook(project, FINE, "data.split.seed=5").cautions == ()


def test_a_rate_at_which_measuring_takes_hours(
    new_project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    found = outlook(new_project, "gates.latency.rate=6/min")
    # 75 requests in a block, at 0.1/s, for each of two engines in each of 12 rounds.
    assert told(found, new_project) == [
        (
            "gates.latency",
            "measuring at 6/min takes 5 h (onnxruntime 5 h), since requests come so seldom: 12 "
            "rounds with 12 min for each engine",
            "Write a higher rate, or name one precision; fewer than 12 rounds decide nothing",
        )
    ]
    (step,) = [step for step in found.steps if step.name == "measure onnxruntime at 6/min"]
    assert step.lasts_s == 2 * 12 * 75 / 0.1
    arguments = ["plan", str(new_project.recipe), "--store", str(new_project.store), "--set"]
    run([*arguments, "gates.latency.rate=100/s"])
    out = capfd.readouterr().out
    assert "warning" not in out
    assert "unknown  measure onnxruntime at 100/s  until data\n" in out
    assert "\n                                       takes 18 s\n" in out


CANNOT = [
    (
        f"threads={CROWD}",
        3,
        f"{CROWD} threads are more than twice the {count_text(CORES, 'core', 'cores')}",
    ),
    ("targets.0.target=tensorrt", 3, "tensorrt cannot compile here"),
    ("targets.0.target=tensorrt-rtx", 2, "there is no GPU here that tensorrt-rtx could build for"),
]


@pytest.mark.parametrize(("override", "code", "words"), CANNOT)
def test_a_plan_ends_with_what_a_run_would_end_with(
    override: str,
    code: int,
    words: str,
    new_project: Project,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    found = outlook(new_project, override)
    if not found.hindrances:
        pytest.skip("this machine has what the target needs")
    assert found.cautions == ()  # nothing is told twice
    arguments = [str(new_project.recipe), "--store", str(new_project.store), "--set", override]
    assert run(["plan", *arguments]) == code
    planned = capfd.readouterr().out
    assert f"\n\nproblem: {new_project.recipe}: " in planned
    assert f": {words}" in planned
    assert planned.endswith(f"\nA run would end before any work, exit code {code}\n")
    assert run(["run", *arguments, "--out", str(tmp_path / "out")]) == code
    assert words in capfd.readouterr().err


def test_threads_for_a_device_that_is_elsewhere_are_not_refused(new_project: Project) -> None:
    found = outlook(new_project, f"threads={CROWD}", "targets.0.verify=elsewhere", "gates=null")
    assert (len(found.cautions), found.hindrances) == (1, ())


def test_twice_as_many_threads_as_cores_are_warned_of_alone(new_project: Project) -> None:
    found = outlook(new_project, f"threads={CROWD - 1}")
    assert (len(found.cautions), found.hindrances) == (1, ())


@pytest.mark.skipif(CORES < 2, reason="a machine with two cores is made one with one")
def test_what_is_there_is_not_measured_with_a_crowd_of_threads(project: Project) -> None:
    settings = ("threads=3", "targets=[{target: onnxruntime, precision: fp32}]", "gates=null")
    project.run(*settings)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        found = outlook(project, *settings)
        with pytest.raises(DeviceError, match="3 threads are more than twice the 1 core that"):
            project.run(*settings)
    finally:
        os.sched_setaffinity(0, cores)
    assert [step.name for step in found.steps if step.state != "hit"] == ["measure onnxruntime"]
    assert [error.exit_code for error in found.hindrances] == [3]


def test_every_hindrance_is_told_at_once(new_project: Project) -> None:
    targets = "targets=[{target: tensorrt}, {target: tensorrt-rtx}, {target: onnxruntime}]"
    found = outlook(new_project, targets)
    if len(found.hindrances) < 2:
        pytest.skip("this machine has what the targets need")
    assert [error.exit_code for error in found.hindrances] == [3, 2]
    assert found.exit_code == 2


def test_a_quota_is_named() -> None:
    machine = replace(Fingerprint.read(), cores=8, cpu_quota=1.5)
    assert machine.crowd(2) == ""
    assert machine.crowd(3) == (
        "3 threads share 1.5 of 8 cores (the quota of its control group) here and wait for each "
        "other: training and timed calls take longer than with fewer"
    )
    assert replace(machine, cores=1, cpu_quota=None).crowd(2).startswith("2 threads share 1 core ")
