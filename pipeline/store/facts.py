"""Records that are appended to a key and never judged or replaced, such as measured blocks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgestill.digest import canonical
from edgestill.store.disk import Damaged, seal, size_of, storage_errors, touch, unseal
from edgestill.store.key import Key
from edgestill.store.layout import Layout
from edgestill.store.staging import Staging

SetAside = Callable[[Path, str], None]

_ABOUT = "about.json"


@dataclass(frozen=True)
class FactsInfo:
    """What `store ls` shows of the records of a key.

    Attributes:
        step: what they are about; empty where that is not known.
        key: the digest of their key.
        last_used: in seconds since the epoch.
    """

    step: str
    key: str
    size_bytes: int
    records: int
    last_used: float

    @classmethod
    def read(cls, folder: Path) -> FactsInfo:
        step = ""
        with contextlib.suppress(Damaged, OSError, KeyError):
            step = str(unseal(folder / _ABOUT)["step"])
        records = len(_records_in(folder))
        return cls(step, folder.name, size_of(folder), records, folder.stat().st_mtime)


class Facts:
    """The records of one key, in the order in which any process appended them."""

    def __init__(self, layout: Layout, staging: Staging, key: Key, set_aside: SetAside) -> None:
        self._layout = layout
        self._staging = staging
        self._key = key
        self._set_aside = set_aside
        self._folder = layout.facts / key.digest

    def append(self, record: Mapping[str, Any]) -> None:
        """Commit one record of canonical JSON values.

        Raises:
            StoreError: a full disk or missing permissions.
        """
        data = seal(canonical(record))
        with storage_errors(self._layout.root):
            name = f"facts-{self._key.digest}"
            with self._layout.lock(name, f"notes facts of {self._key.step}") as lock:
                lock.wait(_in_silence)
                if not (self._folder / _ABOUT).exists():
                    self._staging.replace(self._folder / _ABOUT, seal({"step": self._key.step}))
                number = max((int(path.stem) for path in self._records()), default=0) + 1
                self._staging.replace(self._folder / f"{number:08}.json", data)

    def read(self, *, mend: bool = True) -> list[dict[str, Any]]:
        """All records but damaged ones, which are set aside with a notice where `mend` is set."""
        with storage_errors(self._layout.root):
            touch(self._folder)
            records = [self._record(path, mend) for path in self._records()]
            return [record for record in records if record is not None]

    def _record(self, path: Path, mend: bool) -> dict[str, Any] | None:
        try:
            return unseal(path)
        except Damaged as damage:
            if not mend:
                return None
            with contextlib.suppress(FileNotFoundError):  # another reader set it aside
                what = f"fact {path.stem} of {self._key.step}"
                self._set_aside(path, f"damaged {what} no longer counts ({damage})")
        except FileNotFoundError:
            pass
        return None

    def _records(self) -> list[Path]:
        return _records_in(self._folder)


def _records_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if path.stem.isdecimal())


def _in_silence(_: str) -> None:
    """An append takes milliseconds: nobody needs to read about it."""
