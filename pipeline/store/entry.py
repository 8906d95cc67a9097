"""A committed result, and the manifest that says what it has to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edgestill.digest import content_digest, digest_files
from edgestill.errors import StoreError
from edgestill.store.disk import Damaged, seal, unseal
from edgestill.store.key import Key

RESULT = "result"
MANIFEST = "manifest.json"
_FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """A verified result.

    Attributes:
        path: the folder of the result; its files are read-only.
        files: the sha256 of each file by its relative posix path.
        seconds: how long it took to compute.
        created: when it was committed, in seconds since the epoch.
        hit: whether it was there already when it was asked for.
    """

    key: Key
    path: Path
    files: Mapping[str, str]
    seconds: float
    created: float
    hit: bool

    def digest(self, part: str = "") -> str:
        """The digest of the content, or of the sub-folder `part` with names relative to it.

        It is what `digest_folder` gives for the same folder; log folders do not count.

        Raises:
            StoreError: the result has no such part.
        """
        prefix = f"{part}/" if part else ""
        files = {n.removeprefix(prefix): d for n, d in self.files.items() if n.startswith(prefix)}
        if part and not files:
            raise StoreError(f"the result of {self.key.step} has no {part}", where=str(self.path))
        return content_digest(files)


@dataclass(frozen=True)
class EntryInfo:
    """What `store ls` shows of a committed result, without verifying it.

    Attributes:
        key: the digest of its key.
        created: in seconds since the epoch, like `last_used`.
    """

    step: str
    stage: str
    key: str
    size_bytes: int
    seconds: float
    created: float
    last_used: float


@dataclass(frozen=True)
class Manifest:
    """What was committed under a key.

    Attributes:
        sizes: the bytes of each file, by the same names as `files`.
    """

    key: Key
    files: Mapping[str, str]
    sizes: Mapping[str, int]
    seconds: float
    created: float

    def sealed(self) -> bytes:
        key = {"step": self.key.step, "stage": self.key.stage, "parts": self.key.parts}
        files = {name: [digest, self.sizes[name]] for name, digest in self.files.items()}
        times = {"seconds": self.seconds, "created": self.created}
        return seal({"format": _FORMAT, **key, "files": files, **times})

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of the committed folder `folder`, which has its key's digest as its name.

        Raises:
            Damaged: it is missing, changed, or belongs to another key.
        """
        try:
            record: dict[str, Any] = unseal(folder / MANIFEST)
        except (FileNotFoundError, NotADirectoryError):
            raise Damaged(f"{MANIFEST} is missing") from None
        if record.get("format") != _FORMAT:
            raise Damaged(f"{MANIFEST} was written by another version of edgestill")
        key = Key(record["step"], record["stage"], record["parts"])
        if key.digest != folder.name:
            raise Damaged(f"{MANIFEST} belongs to another key")
        files = {name: digest for name, (digest, _) in record["files"].items()}
        sizes = {name: size for name, (_, size) in record["files"].items()}
        return cls(key, files, sizes, record["seconds"], record["created"])

    def verify(self, folder: Path) -> None:
        """Compare every file of the result with what was committed.

        Raises:
            Damaged: a file is missing, changed, unreadable, or too many.
        """
        try:
            found = digest_files(folder / RESULT)
        except PermissionError:
            raise  # nothing rotted: the user has to give access
        except OSError as error:
            raise Damaged(f"{error.filename or folder} cannot be read: {error.strerror}") from error
        if found == dict(self.files):
            return
        for name in sorted({*found, *self.files}):
            if name not in found:
                raise Damaged(f"{name} is missing")
            if name not in self.files:
                raise Damaged(f"{name} was added")
            if found[name] != self.files[name]:
                raise Damaged(f"{name} was changed")

    @cached_property
    def size_bytes(self) -> int:
        return sum(self.sizes.values())
