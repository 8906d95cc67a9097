"""The baseline file: the accepted figures of releases, one entry for each target and machine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgestill.digest import canonical
from edgestill.errors import UsageError
from edgestill.verdict import Estimate

FORMAT = 1


@dataclass(frozen=True)
class Accepted:
    """What one engine of a release had when it was accepted.

    Attributes:
        release: the name of the release.
        device: the digest of the machine's fingerprint; `device_name` is what people call it.
        evaluation: the digest of the evaluation set.
        engine: the digest of the engine.
        latency_ns: the median time of a call.
        speedup: over the engine whose digest is `over`; None where there was none.
        accepted: ISO 8601, UTC.
        reason: why it may be what later releases are held against.
    """

    release: str
    target: str
    precision: str
    device: str
    device_name: str
    evaluation: str
    samples: int
    engine: str
    runtime: str
    metric: str
    score: float | None
    size_bytes: int
    memory_bytes: int
    latency_ns: Estimate
    speedup: Estimate | None
    over: str | None
    batch: int
    threads: int
    edgestill: str
    accepted: str
    reason: str

    @property
    def place(self) -> tuple[str, str, str, str]:
        """What there is one entry of."""
        return (self.release, self.target, self.precision, self.device)


@dataclass(frozen=True)
class Baseline:
    """All entries of a file, in the order of their places, so that a change is a small diff."""

    entries: tuple[Accepted, ...] = ()

    def with_entries(self, new: Iterable[Accepted]) -> Baseline:
        """With `new` in place of what stood there."""
        known = {entry.place: entry for entry in (*self.entries, *new)}
        return Baseline(tuple(known[place] for place in sorted(known)))

    def at(self, entry: Accepted) -> Accepted | None:
        """The entry that `entry` would take the place of."""
        return next((known for known in self.entries if known.place == entry.place), None)

    def of(self, release: str, target: str) -> Sequence[Accepted]:
        """The entries of a release's target, on whatever machine."""
        return [e for e in self.entries if (e.release, e.target) == (release, target)]


@dataclass(frozen=True)
class _Content:
    format: int
    entries: tuple[Accepted, ...]


def read_baseline(path: Path) -> Baseline:
    """The baseline in a file that `write_baseline` wrote.

    Raises:
        UsageError: there is no such file, it is of another version, or something else.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        text = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"the baseline cannot be read ({error.strerror})",
            where=str(path),
            fix="Make one with edgestill baseline accept REPORT --reason TEXT",
        ) from error
    try:
        format_ = json.loads(text)["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            "not a baseline",
            where=str(path),
            fix="Fetch it again from where it is committed; edgestill baseline accept writes it",
        ) from error
    if format_ != FORMAT:
        raise UsageError(
            f"a baseline of format {format_}, and this version of edgestill has format {FORMAT}",
            where=str(path),
            fix="Accept the figures again with this version, into a new file",
        )
    try:
        return Baseline(TypeAdapter(_Content).validate_json(text).entries)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"not a baseline that can be read ({place}: {first['msg']})",
            where=str(path),
            fix="Fetch it again from where it is committed",
        ) from error


def write_baseline(baseline: Baseline, path: Path) -> None:
    """Write a baseline whole, or leave what was there.

    Raises:
        UsageError: the file cannot be written.
    """
    content = canonical(_Content(FORMAT, baseline.entries))
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise UsageError(
            f"the baseline cannot be written ({error.strerror})",
            where=str(path),
            fix="Name another place with --file",
        ) from error
