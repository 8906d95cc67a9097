"""The JSON schema of report.json, from the types of the report.

`report.schema.json` beside this file is what `python -m edgestill.report.schema` prints.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from edgestill.report.model import FORMAT, Report

PUBLISHED = Path(__file__).with_name("report.schema.json")


def report_schema() -> dict[str, Any]:
    """The schema of what this version writes, with the types' own words as descriptions."""
    adapter = TypeAdapter(Report)
    schema = adapter.json_schema(mode="serialization", schema_generator=_Generator)
    for type_ in (schema, *schema["$defs"].values()):
        _describe(type_)
        if properties := type_.get("properties"):
            type_["required"] = list(properties)  # all are written, those with defaults too
    schema["properties"]["format"]["const"] = FORMAT
    title = f"The report of edgestill, format {FORMAT}"
    return {"$schema": _Generator.schema_dialect, **schema, "title": title}


def schema_text() -> str:
    """The schema as the published file has it."""
    return json.dumps(report_schema(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


class _Generator(GenerateJsonSchema):
    def float_schema(self, schema: Any) -> dict[str, Any]:
        """A number without end, which JSON has not, is written as a word."""
        del schema
        return {"type": ["number", "string"], "pattern": "^(-?Infinity|NaN)$"}

    def field_title_should_be_set(self, schema: Any) -> bool:
        """A property's title would only be its name again."""
        del schema
        return False


def _describe(schema: dict[str, Any]) -> None:
    """A docstring's lines on attributes move to the properties that they are about."""
    text, _, attributes = schema.get("description", "").partition("Attributes:")
    lines = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", attributes, re.MULTILINE)
    properties: Mapping[str, dict[str, Any]] = schema.get("properties", {})
    for name, words in lines:
        properties[name]["description"] = re.sub(r"\s+", " ", words)
    if text:
        schema["description"] = text.strip()


if __name__ == "__main__":
    print(schema_text(), end="")
