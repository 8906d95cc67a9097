"""What a report says, whatever it is laid out as."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgestill.report import content, targets, way
from edgestill.report.content import headline
from edgestill.report.model import Report
from edgestill.stats import Verdict
from edgestill.verify.results import (
    GateResult,
)


def gate(verdict: Verdict, name: str = "size", target: str = "openvino int8") -> GateResult:
    return GateResult(name, target, verdict, "", "")


def with_gates(report: Report, verdict: Verdict, *gates: GateResult) -> Report:
    return replace(report, verdict=verdict, gates=gates)


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


def test_a_metric_of_ones_own_is_a_plain_number(passing: Report) -> None:
    assert passing.unit == "pp"
    assert replace(passing, metric="accuracy()").unit == "plain"


def test_an_error_rises_where_a_score_drops(passing: Report) -> None:
    errors = replace(passing, task="regression", metric="mae", bigger_is_better=False)
    assert "rise" in [column.title for column in way.hops(errors).columns]
    (target, *_) = targets.sections(errors)
    assert "rise vs fp32" in [column.title for column in target.columns]
    assert any("; the rise on 180 validation samples;" in line for line in target.lines)


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


def test_a_model_that_several_processes_trained(passing: Report) -> None:
    teacher, student = passing.models
    models = (replace(teacher, processes=1), replace(student, processes=4))
    found = content.models(replace(passing, models=models)).lines
    assert found == (*content.models(passing).lines, "student was trained by 4 processes together.")
