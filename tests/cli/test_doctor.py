"""Doctor: versions from metadata, a recipe's mistakes beside them, and how findings are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgestill.api.doctor import Diagnosis, Finding, State, machine
from edgestill.api.requirements import Requirement, parse
from edgestill.cli import run
from edgestill.cli.doctor import describe
from edgestill.errors import DeviceError, ExitCode
from edgestill.targets.energy import Meter


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("torch>=2.10", ["2.10", "2.13.0+cpu", "3"], ["2.9.9", "2.1"]),
        ("optimum~=2.1", ["2.1", "2.1.5", "2.9"], ["2.0", "3.0"]),
        ("optimum~=2.1.0", ["2.1.0", "2.1.7"], ["2.2", "2.0.9"]),
        ("transformers<4.58.0,>=4.36", ["4.57.6", "4.36.0"], ["4.58", "5.0", "4.35"]),
        ("numpy!=2.0.*,>=1.26", ["1.26", "2.1"], ["2.0.1", "1.25"]),
        ("protobuf==4.25.3", ["4.25.3"], ["4.25.4"]),
        ("click (>=8.1)", ["8.1"], ["8.0"]),
        ("anything", ["0", "99.1"], []),
    ],
)
def test_ranges(text: str, inside: list[str], outside: list[str]) -> None:
    requirement = parse(text)
    assert requirement is not None
    assert [found for found in (*inside, *outside) if requirement.allows(found)] == inside


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'torch>=2.10; python_version >= "3.0" and extra == "build"',
            Requirement("torch", ((">=", "2.10"),), "build"),
        ),
        ("Typing_Extensions>=4", Requirement("typing-extensions", ((">=", "4"),), None)),
        ("uvicorn[standard]>=0.2", Requirement("uvicorn", ((">=", "0.2"),), None)),
        ('tomli; python_version < "3.0"', None),
        ('pywin32; sys_platform == "win32"', None),
        ('a; python_version < "3" or extra == "x"', None),
        ("pkg @ https://example.invalid/pkg.whl", None),
    ],
)
def test_markers(text: str, expected: Requirement | None) -> None:
    assert parse(text) == expected


def finding(code: ExitCode) -> Finding:
    return Finding("x", State.PROBLEM if code else State.OK, "", exit_code=code)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [([], 0), ([0], 0), ([3], 3), ([0, 2], 2), ([3, 2], 2)],
)
def test_exit_code(codes: list[int], expected: int) -> None:
    assert Diagnosis(tuple(finding(ExitCode(code)) for code in codes)).exit_code == expected


def test_this_machine_without_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "numpy " in out and "target openvino: " in out
    assert "energy of the processor: " in out
    assert out.splitlines()[-1].startswith("0 problems")


@pytest.mark.parametrize(
    ("found", "finding"),
    [
        (
            Meter("RAPL, the whole processor", 1, (), tuple),
            ("ok", "RAPL, the whole processor", ""),
        ),
        (
            DeviceError("there are none", fix="Measure elsewhere"),
            ("absent", "not measured: there are none", "Measure elsewhere"),
        ),
    ],
)
def test_whether_energy_can_be_measured_is_told(
    found: Any, finding: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(*, gpu: bool) -> Meter:
        if isinstance(found, Meter):
            return found
        raise found

    monkeypatch.setattr("edgestill.targets.energy.find_meter", find)
    (told, *_) = machine.meters()
    assert told.subject == "energy of the processor"
    assert (told.state.value, told.found, told.fix) == finding


def test_a_wrong_recipe_is_told_beside_the_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: x\ndta: {source: sklearn.digits}\n", encoding="utf-8")
    assert run(["doctor", str(recipe)]) == 2
    out = capsys.readouterr().out
    assert "ok       needed always" in out
    assert "problem  recipe: " in out and "Did you mean data?" in out


def test_steps_that_were_not_tried_for_one_reason_share_a_line() -> None:
    why = "not tried, since check failed"
    findings = (
        Finding("data", State.OK, "found in the store"),
        Finding("check", State.PROBLEM, "no such model", "Write one", ExitCode.USAGE),
        Finding("teacher", State.ABSENT, why),
        Finding("student", State.ABSENT, why),
        Finding("compile tensorrt fp32", State.ABSENT, "not tried, since it cannot compile here"),
        Finding("export student", State.OK, "tried in 0.1 s"),
        Finding("evaluate onnx", State.OK, "tried in 0.1 s"),
    )
    assert describe(Diagnosis(findings)).splitlines() == [
        "ok       data: found in the store",
        "problem  check: no such model",
        "         Write one",
        "absent   teacher, student: not tried, since check failed",
        "absent   compile tensorrt fp32: not tried, since it cannot compile here",
        "ok       export student: tried in 0.1 s",
        "ok       evaluate onnx: tried in 0.1 s",
        "",
        "1 problem, 0 warnings",
    ]
