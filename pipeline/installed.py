"""The versions of what is installed, read from metadata: nothing is imported to ask it."""

from __future__ import annotations

from functools import cache


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
