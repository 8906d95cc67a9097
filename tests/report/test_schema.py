"""The published JSON schema: that of the types, true of real reports, false of damaged ones."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from edgestill.report.model import FORMAT, Report
from edgestill.report.schema import PUBLISHED, schema_text

REPORTS = ("passing", "crashed", "elsewhere", "failing", "verification", "regression")
SCHEMA: dict[str, Any] = json.loads(PUBLISHED.read_text("utf-8"))
TYPES = {
    "object": dict, "array": list, "string": str, "integer": int, "number": (int, float),
    "boolean": bool, "null": type(None),
}  # fmt: skip
KEYWORDS = {
    "$schema", "$defs", "$ref", "title", "description", "default", "type", "const", "enum", "anyOf",
    "pattern", "properties", "required", "items", "additionalProperties",
}  # fmt: skip


def fits(value: Any, schema: Any) -> bool:
    """What JSON Schema (2020-12) says of the keywords in this schema."""
    if isinstance(schema, bool):
        return schema
    assert set(schema) <= KEYWORDS, f"teach this test {set(schema) - KEYWORDS}"
    if "$ref" in schema:
        return fits(value, SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")])
    types = schema.get("type", list(TYPES))
    is_number = not isinstance(value, bool)
    return (
        any(
            isinstance(value, TYPES[name]) and (is_number or name not in ("integer", "number"))
            for name in ([types] if isinstance(types, str) else types)
        )
        and value in schema.get("enum", [value])
        and value == schema.get("const", value)
        and ("anyOf" not in schema or any(fits(value, option) for option in schema["anyOf"]))
        and (not isinstance(value, str) or bool(re.search(schema.get("pattern", ""), value)))
        and (not isinstance(value, list) or all(fits(v, schema.get("items", True)) for v in value))
        and (not isinstance(value, dict) or object_fits(value, schema))
    )


def object_fits(value: dict[str, Any], schema: dict[str, Any]) -> bool:
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    return set(schema.get("required", ())) <= set(value) and all(
        fits(item, known.get(name, others)) for name, item in value.items()
    )


def test_the_published_file_is_up_to_date() -> None:
    assert PUBLISHED.read_text("utf-8") == schema_text(), (
        "run: python -m edgestill.report.schema > pipeline/report/report.schema.json"
    )


@pytest.mark.parametrize("name", REPORTS)
def test_what_is_written_fits(name: str, request: pytest.FixtureRequest) -> None:
    assert fits(json.loads(request.getfixturevalue(name).to_json()), SCHEMA)


def test_a_number_without_end_fits_as_a_word(passing: Report) -> None:
    hops = (replace(passing.hops[1], largest_difference=float("inf")),)
    content = json.loads(replace(passing, hops=hops).to_json())
    assert content["hops"][0]["largest_difference"] == "Infinity" and fits(content, SCHEMA)
    content["hops"][0]["largest_difference"] = "large"
    assert not fits(content, SCHEMA)


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
    assert not fits(content, SCHEMA)


def test_it_tells_what_fields_mean() -> None:
    gate = SCHEMA["$defs"]["GateResult"]
    assert gate["description"] == "One budget on one target."
    assert gate["properties"]["budget"]["description"].startswith("the budget in words")
    assert "Attributes" not in json.dumps(SCHEMA)
