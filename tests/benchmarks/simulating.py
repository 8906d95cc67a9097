"""Cases simulated on all cores; each result is a line of a file, so that a stopped run goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import get_context
from pathlib import Path
from typing import Any

Simulate = Callable[[], Mapping[str, Any]]

_cases: Mapping[str, Simulate] = {}  # what forked processes find, since a closure cannot be sent


def simulate_all(cases: Mapping[str, Simulate], results: Path) -> Iterator[dict[str, Any]]:
    """The result of each case in their order, with its name as `case`.

    Args:
        results: a file of JSON lines; cases that it has are not simulated again.
    """
    global _cases
    _cases = cases
    results.parent.mkdir(parents=True, exist_ok=True)
    lines = results.read_text("utf-8").splitlines() if results.exists() else []
    known = {line["case"]: line for line in map(json.loads, lines)}
    left = [name for name in cases if name not in known]
    with get_context("fork").Pool(os.cpu_count()) as pool, results.open("a", encoding="utf-8") as f:
        fresh = pool.imap(_simulate, left)
        for name in cases:
            if name not in known:
                known[name] = {"case": name, **next(fresh)}
                f.write(json.dumps(known[name]) + "\n")
                f.flush()
            yield known[name]


def _simulate(name: str) -> Mapping[str, Any]:
    return _cases[name]()
