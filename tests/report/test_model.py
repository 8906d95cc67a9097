"""A report as JSON: the same when it is read again, and refused when it is something else."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgestill.errors import ExitCode, UsageError
from edgestill.report.model import FORMAT, Report, read_report, writer_of

REPORTS = ("passing", "crashed", "elsewhere", "failing", "verification", "regression")


@pytest.mark.parametrize("name", REPORTS)
def test_what_is_written_is_read(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    report = request.getfixturevalue(name)
    file = tmp_path / "report.json"
    file.write_text(report.to_json(), encoding="utf-8")
    again = read_report(file)
    assert again == report
    assert isinstance(again.exit_code, ExitCode)


def test_a_difference_without_end_is_read_too(passing: Report, tmp_path: Path) -> None:
    hops = (
        replace(passing.hops[1], largest_difference=math.inf),
        replace(passing.hops[2], largest_difference=math.nan),
    )
    file = tmp_path / "report.json"
    text = replace(passing, hops=hops).to_json()
    file.write_text(text, encoding="utf-8")
    found = read_report(file).hops
    assert found[0].largest_difference == math.inf
    assert found[1].largest_difference is not None and math.isnan(found[1].largest_difference)
    # JSON itself has no such numbers: other readers would stop at the bare words.
    written = json.loads(text, parse_constant=lambda word: pytest.fail(f"bare {word}"))
    assert [hop["largest_difference"] for hop in written["hops"]] == ["Infinity", "NaN"]


def without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.pop(key)


def with_value(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.update({key: value})


def upside_down(content: dict[str, Any]) -> None:
    interval = content["hops"][1]["drop"]["interval"]
    interval["low"], interval["high"] = interval["high"], interval["low"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (without("verdict"), "1 problem"),
        (with_value("verdict", "FINE"), "1 problem"),
        (with_value("exit_code", 7), "1 problem"),
        (with_value("gates", None), "1 problem"),
        (upside_down, "1 problem"),
    ],
)
def test_a_report_that_was_changed_or_is_of_another_version_is_refused(
    passing: Report, tmp_path: Path, change: Callable[[dict[str, Any]], None], why: str
) -> None:
    content = json.loads(passing.to_json())
    change(content)
    refused(tmp_path, json.dumps(content).encode(), why)


@pytest.mark.parametrize(
    ("found", "fix"),
    [
        (FORMAT + 1, "Read it with edgestill 9.8.7 or newer"),
        (FORMAT - 1, "Run it again with this version, or read it with edgestill 9.8.7"),
    ],
)
def test_a_report_of_another_format_names_the_version_that_reads_it(
    tmp_path: Path, found: int, fix: str
) -> None:
    file = tmp_path / "report.json"
    # The rest of another format may be anything.
    file.write_text(json.dumps({"format": found, "edgestill": "9.8.7", "gates": 3}), "utf-8")
    with pytest.raises(UsageError) as raised:
        read_report(file)
    assert str(raised.value) == (
        f"{file}: a report of format {found}, which edgestill 9.8.7 wrote, and this version reads "
        f"format {FORMAT}. {fix}"
    )
    assert writer_of(file) == "9.8.7"


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"\xff\xfe", b"null"], ids=["empty", "cut", "list", "bytes", "null"]
)
def test_what_is_no_report_is_refused(tmp_path: Path, data: bytes) -> None:
    refused(tmp_path, data, "1 problem")


def test_a_report_that_was_cut_off_is_refused(passing: Report, tmp_path: Path) -> None:
    refused(tmp_path, passing.to_json().encode()[:-20], "1 problem")


def refused(folder: Path, data: bytes, why: str) -> None:
    file = folder / "report.json"
    file.write_bytes(data)
    with pytest.raises(UsageError) as raised:
        read_report(file)
    assert str(raised.value) == (
        f"{file}: not a report that this version can read ({why}). Run it again with this version"
    )


@pytest.mark.parametrize("place", ["nowhere/report.json", "nowhere"])
def test_where_no_report_is(tmp_path: Path, place: str) -> None:
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(UsageError) as raised:
        read_report(tmp_path / place)
    assert str(raised.value).startswith(f"{tmp_path / place}: there is no report (")
    assert raised.value.fix == (
        "Name a release, such as dist/NAME, which edgestill run writes, or the .json file that "
        "edgestill verify wrote"
    )
