"""The release folder: written whole or not at all, and checked before anything in it is opened.

manifest.json                  every file with its sha256 and size; sealed by a digest of itself
release.json                   what `verify` needs to know: task, gates, targets, how to measure
recipe.yaml                    the recipe it was made from
report.json  report.md         what the run found
model/                         the float student as ONNX
targets/<target>/<precision>/  engines; `teacher` is the baseline of speed-ups
evaluation/                    the test split
references/{teacher,student}/  their answers on it
code/                          a user's own metric, run only when allowed
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgestill.artifact import Artifact, Dataset, Engine, Predictions
from edgestill.digest import LOG_FOLDER, canonical, digest_file, digest_folder, digest_value
from edgestill.errors import DamagedRelease, StoreError, UsageError
from edgestill.metrics import Task
from edgestill.verdict import Estimate, Verdict

FORMAT = 1
MANIFEST = "manifest.json"
DESCRIPTION = "release.json"


@dataclass(frozen=True)
class ReleasedTarget:
    """A target of a release.

    Attributes:
        candidates: precision -> folder of the engine.
        baseline: folder of the teacher's engine, where there is one.
        shipped: the precisions that ship.
        auto: whether they were chosen by measurements.
        drops: each candidate's drop on validation, which a choice on the device rests on too.
        selected_on: the device on which they were chosen; None where the recipe said.
    """

    target: str
    verify: str
    candidates: dict[str, str]
    baseline: str | None
    shipped: tuple[str, ...]
    auto: bool
    drops: dict[str, Estimate]
    selected_on: str | None


@dataclass(frozen=True)
class ReleaseDescription:
    """Everything that a device needs to verify and to load a release.

    Attributes:
        metric: a name, or `{function, better}` for a user's own.
        gates: name and budget, in base units.
        measure: the settings of the measurement.
        accuracy_drop: what a candidate may lose on validation; None for no limit.
        verdict: on all gates, where it was built.
    """

    name: str
    task: Task
    metric: str | dict[str, str]
    threads: int
    seed: int
    gates: tuple[tuple[str, dict[str, Any]], ...]
    measure: dict[str, Any]
    accuracy_drop: float | None
    targets: tuple[ReleasedTarget, ...]
    references: tuple[str, ...]
    verdict: Verdict


@dataclass(frozen=True)
class Release:
    """A release whose files are those of its manifest."""

    path: Path
    description: ReleaseDescription

    @property
    def evaluation(self) -> Dataset:
        path = self.path / "evaluation"
        return Dataset(path, digest_folder(path))

    def reference(self, name: str) -> Predictions:
        path = self.path / "references" / name
        return Predictions(path, digest_folder(path))

    def engine(self, folder: str) -> Engine:
        path = self.path / folder
        return Engine(path, digest_folder(path))


class ReleaseWriter:
    """Collects the parts of a release in a folder beside its place.

    Raises:
        StoreError: a part cannot be written.
    """

    def __init__(self, folder: Path, place: Path) -> None:
        self.folder = folder
        self.place = place

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
def writing(place: Path) -> Iterator[ReleaseWriter]:
    """A writer whose result replaces `place` when the block ends without an error.

    Raises:
        UsageError: `place` holds something that is not a release of ours.
        StoreError: the folder cannot be written.
    """
    _require_ours(place)
    folder = place.resolve()  # what a link leads to, since the link itself cannot be replaced
    staged = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    former = folder.with_name(f".{folder.name}.{os.getpid()}.former")
    try:
        with _writes(place):
            _clear_killed(folder)
            staged.mkdir(parents=True)
        yield ReleaseWriter(staged, place)
        with _writes(place):
            _seal(staged)
            _exchange(staged, folder, former)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        if former.exists() and not folder.exists():
            former.rename(folder)


def _exchange(staged: Path, folder: Path, former: Path) -> None:
    """Put the new release into its place; another run may do the same at this moment."""
    while True:
        with suppress(FileNotFoundError):
            folder.rename(former)
        try:
            staged.rename(folder)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        else:
            shutil.rmtree(former, ignore_errors=True)
            return
        shutil.rmtree(former, ignore_errors=True)


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


def _require_ours(place: Path) -> None:
    """Refuse a place whose content would be lost."""
    what = None
    with _writes(place):
        if place.exists() and not place.is_dir():
            what = "the output folder is a file"
        elif Path.cwd().is_relative_to(place.resolve()):
            what = "the output folder holds the folder that this runs in"
        elif place.exists() and not (place / MANIFEST).is_file() and any(place.iterdir()):
            what = "the output folder is not empty and not a release"
    if what is not None:
        raise UsageError(what, where=str(place), fix="Choose another with --out")


def _clear_killed(place: Path) -> None:
    """Tidy up after runs that were killed: put back what they had moved away, drop the rest."""
    left_behind = re.compile(rf"\.{re.escape(place.name)}\.(\d+)\.(partial|former)")
    for left in place.parent.glob(".*"):
        match = left_behind.fullmatch(left.name)
        if match is None or _is_writing(int(match[1])):
            continue
        if match[2] == "former" and not place.exists():
            left.rename(place)
        else:
            shutil.rmtree(left, ignore_errors=True)


def _is_writing(pid: int) -> bool:
    """Whether a process may be at work on this release; our own has not begun.

    In containers every run may have the same number.
    """
    return pid != os.getpid() and Path(f"/proc/{pid}").exists()


def _seal(folder: Path) -> None:
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
        files = _require_intact(path)
        adapter = TypeAdapter(ReleaseDescription)
        description = adapter.validate_json((path / DESCRIPTION).read_bytes())
    except OSError as error:
        raise DamagedRelease(
            f"it cannot be read ({error.strerror})", where=str(error.filename or path)
        ) from error
    except ValidationError as error:
        raise DamagedRelease(
            f"it was not written by this version of edgestill ({error})",
            where=str(path / DESCRIPTION),
            fix="Verify it with the version in its report, or build it again",
        ) from error
    _require_parts(path, description, files)
    return Release(path, description)


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
        raise DamagedRelease("the manifest was changed", where=str(file), fix=_AGAIN)
    if manifest["format"] != FORMAT:
        raise DamagedRelease(
            f"format {manifest['format']} is of another version of edgestill", where=str(file)
        )
    files: Mapping[str, Mapping[str, Any]] = manifest["files"]
    return files


_AGAIN = "Fetch the release again from where it was built"


def _require_intact(path: Path) -> Collection[str]:
    """The files that the manifest lists, all of which are there as they were written."""
    expected = read_manifest(path)
    # Links would lead out of what the manifest covers.
    links = [f for f in path.rglob("*") if f.is_symlink()]
    if links:
        raise DamagedRelease("a link does not belong in a release", where=str(links[0]), fix=_AGAIN)
    found = {f.relative_to(path).as_posix() for f in path.rglob("*") if f.is_file()} - {MANIFEST}
    for name in sorted({*expected, *found}):
        if name not in found:
            raise DamagedRelease("the file is missing", where=str(path / name), fix=_AGAIN)
        if name not in expected:
            raise DamagedRelease(
                "the file is not in the manifest",
                where=str(path / name),
                fix="Remove it, or " + _AGAIN.lower(),
            )
        if digest_file(path / name) != expected[name]["sha256"]:
            raise DamagedRelease("the file was changed", where=str(path / name), fix=_AGAIN)
    return expected


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
                fix=_AGAIN,
            )
