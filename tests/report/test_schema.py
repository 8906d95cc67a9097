"""The published JSON schema: that of the types, true of real reports, false of damaged ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from edgestill.report.model import FORMAT, Report
from edgestill.report.schema import PUBLISHED, schema_text

REPORTS = ("passing", "crashed", "elsewhere", "failing", "verification", "regression")
SCHEMA: dict[str, Any] = json.loads(PUBLISHED.read_text("utf-8"))


def fits(content: Any) -> bool:
    return bool(Draft202012Validator(SCHEMA).is_valid(content))


def test_the_published_file_is_up_to_date() -> None:
    assert PUBLISHED.read_text("utf-8") == schema_text(), (
        "run: python -m edgestill.report.schema > pipeline/report/report.schema.json"
    )


@pytest.mark.parametrize("name", REPORTS)
def test_what_is_written_fits(name: str, request: pytest.FixtureRequest) -> None:
    assert fits(json.loads(request.getfixturevalue(name).to_json()))


def test_a_number_without_end_fits_as_a_word(passing: Report) -> None:
    hops = (replace(passing.hops[1], largest_difference=float("inf")),)
    content = json.loads(replace(passing, hops=hops).to_json())
    assert content["hops"][0]["largest_difference"] == "Infinity" and fits(content)
    content["hops"][0]["largest_difference"] = "large"
    assert not fits(content)


def change(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = to

    return apply


@pytest.mark.parametrize(
    "damage",
    [
        change("format", to=FORMAT + 1),
        change("verdict", to="FINE"),
        change("exit_code", to=9),
        change("gates", 0, "verdict", to=None),
        change("targets", 0, "candidates", 1, "latency", "percentiles_ns", "95", to=3),
        change("targets", 0, "candidates", 0, "size_bytes", to=True),
        change("splits", "test", to="many"),
        lambda content: content.pop("failures"),
        lambda content: content["hops"][1]["drop"]["interval"].pop("level"),
    ],
)
def test_what_was_damaged_does_not_fit(
    passing: Report, damage: Callable[[dict[str, Any]], None]
) -> None:
    content = json.loads(passing.to_json())
    damage(content)
    assert not fits(content)


def test_it_tells_what_fields_mean() -> None:
    gate = SCHEMA["$defs"]["GateResult"]
    assert gate["description"] == "One budget on one target."
    assert gate["properties"]["budget"]["description"].startswith("the budget in words")
    assert "Attributes" not in json.dumps(SCHEMA)
