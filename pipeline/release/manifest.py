"""The manifest: every file of a release with its sha256, sealed by a digest of itself."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from edgestill.digest import digest_file, digest_value
from edgestill.errors import DamagedRelease

FORMAT = 1
MANIFEST = "manifest.json"
AGAIN = "Fetch the release again from where it was built"


def write_manifest(folder: Path) -> None:
    """List all that lies in a finished folder, and wait until that is on the disk."""
    names = sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())
    files = {
        name: {"sha256": digest_file(folder / name), "bytes": (folder / name).stat().st_size}
        for name in names
    }
    with (folder / MANIFEST).open("w", encoding="utf-8") as file:
        file.write(_manifest_text(FORMAT, files))
        file.flush()
        os.fsync(file.fileno())


def _manifest_text(format_: int, files: Mapping[str, Any]) -> str:
    content = {"format": format_, "files": files}
    return json.dumps({**content, "sha256": digest_value(content)}, indent=1, sort_keys=True) + "\n"


def read_manifest(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """The files of a release by relative path, from a manifest that agrees with its own digest.

    Raises:
        DamagedRelease: the manifest was changed, or is of another format.
    """
    file = path / MANIFEST
    try:
        data = file.read_bytes()
        manifest = json.loads(data)
        # Every byte counts, those between the values too.
        sealed = data == _manifest_text(manifest["format"], manifest["files"]).encode()
    except (ValueError, KeyError, TypeError):
        sealed = False
    if not sealed:
        raise DamagedRelease("the manifest was changed", where=str(file), fix=AGAIN)
    if manifest["format"] != FORMAT:
        raise DamagedRelease(
            f"format {manifest['format']} is of another version of edgestill", where=str(file)
        )
    files: Mapping[str, Mapping[str, Any]] = manifest["files"]
    return files


def require_unchanged(path: Path, name: str) -> None:
    """Check one file of a release, where nothing else of it is used.

    Raises:
        DamagedRelease: it is missing, or not as it was written.
    """
    expected = read_manifest(path).get(name)
    if not (path / name).is_file():
        raise DamagedRelease("the file is missing", where=str(path / name), fix=AGAIN)
    if expected is None or digest_file(path / name) != expected["sha256"]:
        raise DamagedRelease("the file was changed", where=str(path / name), fix=AGAIN)


def require_intact(path: Path) -> Collection[str]:
    """The files that the manifest lists, all of which are there as they were written.

    Raises:
        DamagedRelease: a file is missing, changed or too many.
    """
    expected = read_manifest(path)
    # Links would lead out of what the manifest covers.
    links = [f for f in path.rglob("*") if f.is_symlink()]
    if links:
        raise DamagedRelease("a link does not belong in a release", where=str(links[0]), fix=AGAIN)
    found = {f.relative_to(path).as_posix() for f in path.rglob("*") if f.is_file()} - {MANIFEST}
    for name in sorted({*expected, *found}):
        if name not in found:
            raise DamagedRelease("the file is missing", where=str(path / name), fix=AGAIN)
        if name not in expected:
            raise DamagedRelease(
                "the file is not in the manifest",
                where=str(path / name),
                fix="Remove it, or " + AGAIN.lower(),
            )
        if digest_file(path / name) != expected[name]["sha256"]:
            raise DamagedRelease("the file was changed", where=str(path / name), fix=AGAIN)
    return expected
