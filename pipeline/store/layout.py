"""Where everything lies below the root of a store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgestill.store.lock import Lock


@dataclass(frozen=True)
class Layout:
    """The folders of the store at `root`."""

    root: Path

    @property
    def objects(self) -> Path:
        return self.root / "objects"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    @property
    def damaged(self) -> Path:
        return self.root / "damaged"

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    @property
    def facts(self) -> Path:
        return self.root / "facts"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def sources(self) -> Path:
        return self.root / "sources"

    def object(self, digest: str) -> Path:
        """The folder of a committed result and its manifest."""
        return self.objects / digest[:2] / digest

    def all_objects(self) -> Iterator[Path]:
        """The folder of every committed result."""
        yield from self.objects.glob("??/*")

    def lock(self, name: str, purpose: str) -> Lock:
        """The lock of a key or of anything else that has a name."""
        self.locks.mkdir(parents=True, exist_ok=True)
        return Lock(self.locks / f"{name}.lock", purpose)
