"""The imports of every file that was parsed before, kept so that a short command parses nothing.

A file's imports are a function of its bytes, so the index can be wrong by damage alone, which its
seal shows, or by coming from another version of the parser, whose digest it has.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgestill.digest import digest_file
from edgestill.source_code import imports
from edgestill.store.disk import Damaged, seal, unseal


@contextmanager
def remembered_imports(path: Path) -> Iterator[None]:
    """While it lasts, files whose imports stand in the index at `path` are not parsed again.

    What was parsed is added at the end. An index that cannot be read or written is let be.
    """
    maker = [digest_file(Path(imports.__file__)), *sys.version_info[:2]]
    known: dict[str, tuple[imports.Import, ...]] = {}
    with suppress(OSError, Damaged, LookupError, TypeError, ValueError):
        record = unseal(path)
        if record["maker"] == maker:
            known = {
                digest: tuple((dots, name, tuple(taken)) for dots, name, taken in found)
                for digest, found in record["imports"].items()
            }
    imports.parsed.update(known)
    try:
        yield
    finally:
        if not imports.parsed.keys() <= known.keys():
            _write(path, seal({"maker": maker, "imports": imports.parsed}))


def _write(path: Path, data: bytes) -> None:
    """Replace the index in one step: other processes read and replace it too."""
    prepared = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(OSError):  # such as a store that does not exist yet
        prepared.write_bytes(data)
        prepared.replace(path)
    with suppress(OSError):
        prepared.unlink(missing_ok=True)
