"""The commands for real, as far as they need no training; and what a verdict makes of a run."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgestill.cli import run
from edgestill.errors import ExitCode
from edgestill.report.model import FORMAT, Report
from edgestill.stats import Verdict
from edgestill.store import Key, Store
from edgestill.targets import TARGETS


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGESTILL_STORE", raising=False)
    monkeypatch.setenv("COLUMNS", "80")


def empty_report(verdict: Verdict, exit_code: ExitCode) -> Report:
    return Report(
        format=FORMAT,
        kind="run",
        name="digits",
        task="classification",
        metric="accuracy",
        bigger_is_better=True,
        verdict=verdict,
        exit_code=exit_code,
        created="2026-11-20T10:01:00+00:00",
        edgestill="0.1.0",
        seed=0,
        threads=2,
        splits={"test": 718},
        evaluation="e" * 64,
        models=(),
        hops=(),
        targets=(),
        gates=(),
        steps=(),
        device={},
        versions={},
    )


VERDICTS = [
    (Verdict.PASS, ExitCode.PASSED),
    (Verdict.NOT_RUN, ExitCode.PASSED),
    (Verdict.FAIL, ExitCode.GATE_FAILED),
    (Verdict.INCONCLUSIVE, ExitCode.ENVIRONMENT),
    (Verdict.INCONCLUSIVE, ExitCode.INCONCLUSIVE),
]


def verb(
    monkeypatch: pytest.MonkeyPatch, module: str, name: str, report: Report
) -> list[tuple[Any, dict[str, Any]]]:
    """Put a verb in place that gives `report`; returns the calls it got."""
    calls: list[tuple[Any, dict[str, Any]]] = []

    def function(*arguments: Any, **options: Any) -> Report:
        calls.append((arguments, options))
        return report

    stand_in = ModuleType(module)
    setattr(stand_in, name, function)
    monkeypatch.setitem(sys.modules, module, stand_in)
    return calls


@pytest.mark.parametrize(("verdict", "code"), VERDICTS)
def test_a_run_ends_with_its_verdict(
    verdict: Verdict,
    code: ExitCode,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    report = empty_report(verdict, code)
    calls = verb(monkeypatch, "edgestill.api.run", "run_recipe", report)
    arguments = ["run", "digits", "--set", "seed=1", "--set", "threads=1"]
    assert run([*arguments, "--target", "openvino", "--fresh"]) == code
    out, err = capfd.readouterr()
    assert out.startswith(f"{verdict}  digits: ")
    assert "Release: dist/digits" in out and err == ""
    ((positional, options),) = calls
    assert positional == ("digits",)
    assert options["overrides"] == ("seed=1", "threads=1")
    assert options["targets"] == ("openvino",)
    assert options["fresh"] is True
    assert options["store"] == Path(".edgestill")


@pytest.mark.parametrize(("verdict", "code"), VERDICTS)
def test_a_verification_ends_with_its_verdict(
    verdict: Verdict,
    code: ExitCode,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from edgestill.api.verify import report_place

    report = empty_report(verdict, code)
    calls = verb(monkeypatch, "edgestill.api.verify", "verify_release", report)
    monkeypatch.setattr(sys.modules["edgestill.api.verify"], "report_place", report_place, False)
    assert run(["verify", "dist/digits", "--allow-code"]) == code
    out = capfd.readouterr().out
    assert "\nReport: dist/digits.verify.html, .md and .json\n" in out
    ((positional, options),) = calls
    assert positional == (Path("dist/digits"),)
    assert options["allow_code"] is True and options["targets"] == ()


def test_the_store_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    report = empty_report(Verdict.PASS, ExitCode.PASSED)
    calls = verb(monkeypatch, "edgestill.api.run", "run_recipe", report)
    monkeypatch.setenv("EDGESTILL_STORE", "/somewhere")
    run(["run", "digits"])
    run(["run", "digits", "--store", "elsewhere"])
    assert [options["store"] for _, options in calls] == [Path("/somewhere"), Path("elsewhere")]


def test_report_refuses_what_is_no_report(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.json").write_text("{}", encoding="utf-8")
    assert run(["report", str(tmp_path)]) == 2
    assert "not a report" in capfd.readouterr().err


def test_init_writes_once_and_names_what_is_next(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "mine"]) == 0
    out = capfd.readouterr().out
    assert "edgestill run mine/recipe.yaml" in out
    recipe = Path("mine/recipe.yaml")
    recipe.write_text("name: changed\n", encoding="utf-8")
    assert run(["init", "mine"]) == 2
    assert "would be overwritten" in capfd.readouterr().err
    assert recipe.read_text(encoding="utf-8") == "name: changed\n"


def test_what_init_writes_is_a_recipe_without_problems() -> None:
    from edgestill.recipe import load_recipe

    run(["init"])
    assert load_recipe("recipe.yaml").targets


def commit(store: Store, step: str) -> Key:
    key = Key(step, "train", {"of": step})
    store.compute(key, lambda out, _: (out / "weights").write_bytes(b"x" * 2048) and None)
    return key


def test_store_lists_and_cleans(capfd: pytest.CaptureFixture[str]) -> None:
    store = Store(Path(".edgestill"), print)
    old, new = commit(store, "teacher"), commit(store, "student")
    month_ago = time.time() - 40 * 86400
    for path in (Path(".edgestill/objects") / old.digest[:2] / old.digest).rglob("*"):
        os.utime(path, (month_ago, month_ago))
    assert run(["store", "ls"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("student") and lines[0].endswith("used just now")
    assert new.digest[:12] in lines[0] and "2.05 kB" in lines[0]
    assert lines[1].startswith("teacher") and lines[1].endswith("used 40 days ago")
    assert lines[2].startswith("2 results, 4.1 kB, and 0 measurements, 0 B, in ")


def test_store_lists_measurements(capfd: pytest.CaptureFixture[str]) -> None:
    store = Store(Path(".edgestill"), print)
    commit(store, "teacher")
    key = Key("measure openvino batch 8", "measure", {"engine": "x"})
    for index in range(3):
        store.facts(key).append({"round": index})
    assert run(["store", "ls"]) == 0
    _, line, last = capfd.readouterr().out.splitlines()
    assert line.startswith(f"measure openvino batch 8  {key.digest[:12]}  ")
    assert line.endswith("  3 rounds, used just now")
    assert last.startswith("1 result, 2.05 kB, and 1 measurement, ")


def test_store_gc_keeps_what_is_recent(capfd: pytest.CaptureFixture[str]) -> None:
    commit(Store(Path("mine"), print), "teacher")
    assert run(["store", "gc", "--store", "mine"]) == 0
    assert "left are 1 result, 2.05 kB, and 0 measurements" in capfd.readouterr().out


def test_store_gc_says_what_would_go(capfd: pytest.CaptureFixture[str]) -> None:
    store = Store(Path("mine"), print)
    old = commit(store, "teacher")
    commit(store, "student")
    store.facts(Key("measure openvino", "measure", {})).append({"round": 1})
    month_ago = time.time() - 40 * 86400
    paths = [*Path("mine/objects").glob(f"*/{old.digest}/**/*"), *Path("mine/facts").glob("**/*")]
    for path in paths:
        os.utime(path, (month_ago, month_ago))
    arguments = ["store", "gc", "--store", "mine", "--dry-run"]
    del store  # what a living process was given stays
    assert run(arguments) == 0
    teacher, measured, would = capfd.readouterr().out.splitlines()
    assert teacher.startswith("teacher") and teacher.endswith("used 40 days ago")
    assert measured.startswith("measure openvino") and "1 round, " in measured
    assert would.startswith("would free ") and "; now 2 results, 4.1 kB, and 1 meas" in would
    size = would.removeprefix("would free ").partition(";")[0]
    assert run(arguments[:-1]) == 0
    assert capfd.readouterr().out.startswith(f"freed {size}; left are 1 result, 2.05 kB, and 0 m")


def test_an_empty_store_is_listed_and_not_made(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["store", "ls"]) == 0
    assert capfd.readouterr().out.startswith("0 results")
    assert not Path(".edgestill").exists()


def test_targets_lists_every_target(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["targets"]) == 0
    out = capfd.readouterr().out
    for name, spec in TARGETS.items():
        (line,) = [line for line in out.splitlines() if line.startswith((f"{name} ", f"{name}:"))]
        assert line.endswith("here")
        assert ", ".join(spec.precisions) in out


def test_plan_of_init_knows_every_step_and_explains(capfd: pytest.CaptureFixture[str]) -> None:
    run(["init"])
    capfd.readouterr()
    assert run(["plan", "recipe.yaml"]) == 0
    plain = capfd.readouterr().out
    assert plain.startswith("miss     data") and "until data" in plain
    assert "0 reused, 1 to run" in plain
    assert not list(Path().glob(".edgestill/objects/*")), "a plan computes nothing"
    assert run(["plan", "recipe.yaml", "--explain"]) == 0
    assert "no earlier result of this step" in capfd.readouterr().out


def test_plan_lists_every_problem_of_a_recipe(capfd: pytest.CaptureFixture[str]) -> None:
    Path("recipe.yaml").write_text("nmae: x\ndata: {source: sklearn.digits}\n", encoding="utf-8")
    assert run(["plan", "recipe.yaml"]) == 2
    err = capfd.readouterr().err
    assert "recipe.yaml:1: nmae" in err and "Did you mean name?" in err
    assert all(line.startswith(("error: ", "       ")) for line in err.splitlines()[:-1])
