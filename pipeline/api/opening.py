"""Where a run keeps its results and its log."""

from __future__ import annotations

import os
import time
from pathlib import Path

from edgestill.arguments import PathLike, as_path
from edgestill.console import Console
from edgestill.store import Store

DEFAULT_STORE = Path(".edgestill")


def open_store(path: PathLike | None, console: Console) -> Store:
    """The store at `path`, else at `$EDGESTILL_STORE`, else at `.edgestill`."""
    if path is None:
        path = os.environ.get("EDGESTILL_STORE") or DEFAULT_STORE
    return Store(as_path(path, "store"), console.say)


def import_index(store: Store) -> Path:
    """Where the imports of files are kept that were parsed before."""
    return store.root / "imports.json"


def new_log(store: Store) -> Path:
    """A file for what third-party code prints during this run."""
    return store.root / "logs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
