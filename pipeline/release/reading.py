"""Opening a release: every file is compared with the manifest before anything else reads it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from edgestill.errors import DamagedRelease, UsageError
from edgestill.release.description import DESCRIPTION, Release, ReleaseDescription
from edgestill.release.manifest import AGAIN, MANIFEST, require_intact


def open_release(path: Path) -> Release:
    """The release in a folder, after every file was compared with the manifest.

    Raises:
        UsageError: the folder is not a release.
        DamagedRelease: a file is missing, changed or too many.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        if not (path / MANIFEST).is_file():
            raise UsageError(
                "not a release" if path.exists() else "there is no such folder",
                where=str(path),
                fix="Give the folder that `edgestill run` wrote, such as dist/digits",
            )
        files = require_intact(path)
        adapter = TypeAdapter(ReleaseDescription)
        description = adapter.validate_json((path / DESCRIPTION).read_bytes())
    except OSError as error:
        raise DamagedRelease(
            f"it cannot be read ({error.strerror})", where=str(error.filename or path)
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DamagedRelease(
            f"it was not written by this version of edgestill ({place}: {first['msg']})",
            where=str(path / DESCRIPTION),
            fix="Verify it with the version in its report, or build it again",
        ) from error
    _require_parts(path, description, files)
    return Release(path, description)


def _require_parts(path: Path, description: ReleaseDescription, files: Collection[str]) -> None:
    """Refuse a description that names what the manifest does not cover, such as `../engine`."""
    parts = [f"references/{name}" for name in description.references]
    for target in description.targets:
        parts += [*target.candidates.values(), *([target.baseline] if target.baseline else [])]
        parts += [name for name in target.shipped if name not in target.candidates]
    for part in parts:
        if not any(name.startswith(f"{part}/") for name in files):
            raise DamagedRelease(
                f"it names {part}, which is not in the release",
                where=str(path / DESCRIPTION),
                fix=AGAIN,
            )
