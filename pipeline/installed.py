"""The versions of what is installed, read from metadata: nothing is imported to ask it."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

_FOLDERS = {"site-packages", "dist-packages"}


def is_installed(path: Path) -> bool:
    """Whether a path belongs to an installed library, wherever pip was told to put it."""
    if not _FOLDERS.isdisjoint(path.parts):
        return True
    above = set(map(str, path.parents))
    return any(
        folder in above and path.relative_to(folder).parts[0] in _installed_in(folder)
        for folder in sys.path
    )


@cache
def _installed_in(folder: str) -> frozenset[str]:
    """What `pip install --target` put into a folder, where a user's code may lie beside it."""
    records = [file.read_text("utf-8") for file in Path(folder).glob("*.dist-info/RECORD")]
    return frozenset(
        line.partition(",")[0].partition("/")[0] for text in records for line in text.splitlines()
    )


def installed_version(distribution: str) -> str | None:
    """The version of a distribution; None when it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


@cache
def library_version(distribution: str) -> str | None:
    """The version of a library that several distributions may bring; None without any.

    `onnxruntime` is brought by onnxruntime-gpu too, `tensorrt` by tensorrt-cu13: what has not the
    name of the library has its module.
    """
    found = installed_version(distribution)
    if found is not None:
        return found
    bringing = distributions_of(distribution.replace("-", "_"))
    return bringing[0][1] if bringing else None


@cache
def distributions_of(module: str) -> tuple[tuple[str, str], ...]:
    """Name and version of each installed distribution that brings the top-level `module`."""
    from importlib.metadata import distributions

    found = {}
    for candidate in distributions():
        # Read raw: the parsed form of all records takes ten times as long.
        record = "\n" + (candidate.read_text("RECORD") or "")
        if f"\n{module}/" in record or f"\n{module}." in record:
            found[candidate.metadata["Name"]] = candidate.version
    if not found:
        version = installed_version(module)
        return ((module, version),) if version is not None else ()
    return tuple(sorted(found.items()))
