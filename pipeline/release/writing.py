"""Writing a release: whole or not at all, in the place of the former one.

A release that failed is written too, since its report and its engines are what one looks at. Where
it takes the place of one that passed, that one stays beside it.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgestill.artifact import Artifact
from edgestill.digest import LOG_FOLDER, canonical
from edgestill.errors import DamagedRelease, StoreError, UsageError
from edgestill.release.description import DESCRIPTION, ReleaseDescription
from edgestill.release.manifest import MANIFEST, read_manifest, write_manifest
from edgestill.verdict import Verdict


class ReleaseWriter:
    """Collects the parts of a release in a folder beside its place.

    Attributes:
        kept: once it is written, where the former release is that passed, and this one did not.

    Raises:
        StoreError: a part cannot be written.
    """

    def __init__(self, folder: Path, place: Path) -> None:
        self.folder = folder
        self.place = place
        self.kept: Path | None = None

    def add(self, artifact: Artifact[Any], place: str) -> str:
        """Copy an artifact, its logs left out; gives its place."""
        with _writes(self.place):
            shutil.copytree(
                artifact.path,
                self.folder / place,
                ignore=shutil.ignore_patterns(LOG_FOLDER),
                copy_function=self._copy,
            )
            for folder, _, _ in os.walk(self.folder / place):
                Path(folder).chmod(0o755)
        return place

    def add_text(self, place: str, text: str) -> None:
        file = self.folder / place
        with _writes(self.place):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")

    def describe(self, description: ReleaseDescription) -> None:
        text = json.dumps(canonical(asdict(description)), indent=2, ensure_ascii=False)
        self.add_text(DESCRIPTION, text + "\n")

    def _copy(self, source: str, destination: str) -> None:
        """Copy without the store's read-only mode; copytree would go on after a full disk."""
        with _writes(self.place):
            shutil.copyfile(source, destination)


@contextmanager
def writing(place: Path, keep: Sequence[Path] = ()) -> Iterator[ReleaseWriter]:
    """A writer whose result replaces `place` when the block ends without an error.

    A former release that passed is kept as `<place>.passed` where the new one did not.

    Args:
        keep: folders that may not lie in `place`, since its former content goes.

    Raises:
        UsageError: one of the two places holds something that is not a release of ours.
        StoreError: the folder cannot be written.
    """
    _require_ours(place, keep)
    folder = place.resolve()  # what a link leads to, since the link itself cannot be replaced
    _require_ours(_place_of_passed(folder), keep)
    staged = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    former = folder.with_name(f".{folder.name}.{os.getpid()}.former")
    try:
        with _writes(place):
            _clear_killed(folder)
            staged.mkdir(parents=True)
        writer = ReleaseWriter(staged, place)
        yield writer
        with _writes(place):
            write_manifest(staged)
            writer.kept = _exchange(staged, folder, former)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        if former.exists() and not folder.exists():
            former.rename(folder)


def _exchange(staged: Path, folder: Path, former: Path) -> Path | None:
    """Put the new release into its place; another run may do the same at this moment.

    Returns:
        Where the former one is kept.
    """
    kept, passed = None, _passed(staged)
    while True:
        with suppress(FileNotFoundError):
            folder.rename(former)
        placed = _renamed(staged, folder)
        kept = _let_go(former, folder, passed) or kept
        if placed:
            return kept


def _renamed(folder: Path, place: Path) -> bool:
    """Whether a folder could be put where nothing may be; another run may be first there."""
    try:
        folder.rename(place)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        return False
    return True


def _let_go(former: Path, folder: Path, passed: bool) -> Path | None:
    """Remove a former release, or keep it where it passed and the one in its place did not.

    Args:
        passed: whether that one did. Another run may have moved it away by now.

    Returns:
        Where it is kept.
    """
    if passed or not _passed(former):
        shutil.rmtree(former, ignore_errors=True)
        return None
    kept = _place_of_passed(folder)
    # Whole or not there at any moment: what is left of one half removed would be refused as none.
    doomed = former.with_suffix(".doomed")
    while not _renamed(former, kept):
        with suppress(FileNotFoundError):
            kept.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    return kept


def _place_of_passed(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.passed")


def _passed(release: Path) -> bool:
    """Whether no gate of a release stopped it."""
    try:
        verdict = json.loads((release / DESCRIPTION).read_bytes())["verdict"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return verdict in (Verdict.PASS, Verdict.NOT_RUN)


@contextmanager
def _writes(place: Path) -> Iterator[None]:
    """Failures of the disk named with the release that could not be written."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"the release cannot be written ({error.strerror or error})",
            where=str(place),
            fix="Free some space or choose another folder with --out",
        ) from error


def _require_ours(place: Path, keep: Sequence[Path]) -> None:
    """Refuse a place whose content would be lost."""
    what = None
    with _writes(place):
        inside = [
            folder for folder in (Path.cwd(), *keep) if folder.is_relative_to(place.resolve())
        ]
        if place.is_file():
            what = "the output folder is a file"
        elif inside:
            what = "the output folder holds the store or the folder that this runs in"
        elif not _is_empty(place) and not _is_release(place):
            what = "the output folder is not empty and not a release"
    if what is not None:
        raise UsageError(what, where=str(place), fix="Choose another with --out")


def _is_empty(place: Path) -> bool:
    try:
        return not any(place.iterdir())
    except FileNotFoundError:  # or not there: another run may replace it at this moment
        return True


def _is_release(place: Path) -> bool:
    """Whether a folder holds a release and nothing that anybody has put beside it."""
    for _ in range(4):
        if _holds_listed_files_alone(place):
            return True
        time.sleep(0.05)  # another run may have replaced it while we looked
    return _holds_listed_files_alone(place)


def _holds_listed_files_alone(place: Path) -> bool:
    try:
        listed = {MANIFEST, *read_manifest(place)}
        files = [file for file in place.rglob("*") if not file.is_dir()]
    except (OSError, DamagedRelease):
        return False
    return all(file.relative_to(place).as_posix() in listed for file in files)


def _clear_killed(place: Path) -> None:
    """Tidy up after runs that were killed: put back what they had moved away, drop the rest."""
    left_behind = re.compile(rf"\.{re.escape(place.name)}\.(\d+)\.(partial|former|doomed)")
    for left in place.parent.glob(".*"):
        match = left_behind.fullmatch(left.name)
        if match is None or _is_writing(int(match[1])):
            continue
        if match[2] == "former" and not place.exists():
            left.rename(place)
        elif match[2] == "former":
            _let_go(left, place, _passed(place))
        else:
            shutil.rmtree(left, ignore_errors=True)


def _is_writing(pid: int) -> bool:
    """Whether a process may be at work on this release; our own has not begun.

    In containers every run may have the same number.
    """
    return pid != os.getpid() and Path(f"/proc/{pid}").exists()
