"""The command line: parse, call a verb of the API, print its result, leave with its exit code."""

from __future__ import annotations

from edgestill.cli.main import run

__all__ = ["run"]
