"""What a split said of its data, kept beside the datasets: who reuses them has to know it too.

No step reads it, so that it is part of no key.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

_FILE = "remarks.json"


def write_remarks(remarks: Sequence[str], result: Path) -> None:
    """Put them into the result of the split."""
    text = json.dumps(list(remarks), indent=2, ensure_ascii=False) + "\n"
    (result / _FILE).write_text(text, encoding="utf-8")


def read_remarks(result: Path) -> tuple[str, ...]:
    """Those of a split's result, such as that samples of test are in train too."""
    return tuple(json.loads((result / _FILE).read_text("utf-8")))
