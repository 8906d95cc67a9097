"""Digests: of canonical JSON, of files, of folders. All are lower-case sha256 in hexadecimal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

# What a step notes beside its result, such as times: it differs from run to run.
LOG_FOLDER = "log"


def canonical(value: Any) -> Any:
    """`value` as plain JSON data: dataclasses as objects, tuples and sets as lists, paths as text.

    Of a dataclass only the fields that its `==` compares count.

    Raises:
        TypeError: a value that has no canonical form, such as a function.
    """
    if is_dataclass(value) and not isinstance(value, type):
        compared = (field.name for field in fields(value) if field.compare)
        return {name: canonical(getattr(value, name)) for name in compared}
    if isinstance(value, Mapping):
        named = {str(key): canonical(item) for key, item in value.items()}
        if len(named) < len(value):
            raise TypeError(f"keys that are the same as text have no canonical form: {list(value)}")
        return named
    if isinstance(value, (list, tuple)):
        return [canonical(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((canonical(item) for item in value), key=canonical_json)
    if isinstance(value, Enum):
        return canonical(value.value)
    if isinstance(value, Path):
        return value.as_posix()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{type(value).__name__} has no canonical form")


def canonical_json(value: Any) -> str:
    """`value` as JSON text that is the same for equal values: sorted keys, no spaces."""
    return json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_value(value: Any) -> str:
    """The digest of a value's canonical JSON."""
    # A file name that is not UTF-8 arrives with lone surrogates.
    return digest_bytes(canonical_json(value).encode(errors="surrogatepass"))


def digest_bytes(data: bytes) -> str:
    """The digest of `data`."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """The digest of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def digest_files(path: Path) -> dict[str, str]:
    """The digest of every file below the folder `path`, by its relative posix path, sorted."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): digest_file(file) for file in files}


def content_digest(files: dict[str, str]) -> str:
    """The digest of a folder's content from `digest_files`; its log folder does not count."""
    content = {name: digest for name, digest in files.items() if not is_log(name)}
    return digest_value(content)


def digest_folder(path: Path) -> str:
    """The digest of what a folder holds, its log folder left out."""
    return content_digest(digest_files(path))


def is_log(name: str) -> bool:
    """Whether a relative path lies in a log folder."""
    return LOG_FOLDER in name.split("/")[:-1]
