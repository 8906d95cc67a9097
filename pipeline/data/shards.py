"""Several tables that are one source: which files a glob or a folder of shards stands for."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from glob import escape, glob
from pathlib import Path, PurePosixPath

from edgestill.errors import DataError
from edgestill.spelling import nearest
from edgestill.user_files import LEFT_BEHIND, counts, walk

TABLES = (".parquet", ".csv", ".tsv")
WHERE = "data.source"

# What files and folders of a split are named after, as Hugging Face `datasets` knows them -> role.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "calibration": "calibration",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
_MAGIC = re.compile(r"[*?\[]")
_PLAIN = re.compile(r"[\w./-][\w./*-]*")  # what YAML takes without quotes


def is_glob(source: str, base: Path) -> bool:
    """Whether a source is a pattern; a file that has its very name is that file."""
    return bool(_MAGIC.search(source)) and not (base / source).exists()


def fixed_folder(pattern: str) -> str:
    """The folder in front of the first part of a pattern that is not a plain name."""
    parts = PurePosixPath(pattern).parts
    plain = next(index for index, part in enumerate(parts) if _MAGIC.search(part))
    return str(PurePosixPath(*parts[:plain]))


def matched(pattern: str, base: Path) -> tuple[Path, ...]:
    """The tables that a glob matches, ordered by name.

    As in a shell, `*` matches no hidden file; `**` is any number of folders.

    Raises:
        DataError: it matches nothing, or something else than tables of one format.
    """
    found = glob(pattern, root_dir=base, recursive=True)  # noqa: PTH207 - Path's has hidden files
    names = sorted(name for name in found if LEFT_BEHIND.isdisjoint(PurePosixPath(name).parts))
    files = [name for name in names if not (base / name).is_dir()]
    if not files:
        raise _nothing(pattern, base, names)
    other = [name for name in files if suffix(name) not in TABLES]
    if other:
        raise DataError(
            f"{pattern} matches {other[0]}, and only tables may come in several files",
            where=WHERE,
            fix=f"End the pattern in one of {', '.join(TABLES)}",
        )
    _require_one_format(files, f"{pattern} matches", PurePosixPath(pattern).parent)
    return _distinct(base, files)


def in_folder(source: str, base: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The tables below a folder, ordered by name, and the names of the files that are none.

    Raises:
        DataError: it holds tables of several formats or of several splits.
    """
    folder = base / source
    found = sorted(name for name, _ in walk(str(folder)))
    tables = [name for name in found if suffix(name) in TABLES]
    _require_one_format(tables, f"{source} holds", PurePosixPath(source))
    _require_one_split(tables, source)
    return _distinct(folder, tables), tuple(name for name in found if suffix(name) not in TABLES)


def _distinct(folder: Path, names: Sequence[str]) -> tuple[Path, ...]:
    """Each file once, by the first of its names, where links lead to it too."""
    found: dict[Path, Path] = {}
    for name in names:
        found.setdefault((folder / name).resolve(), folder / name)
    return tuple(found.values())


def suffix(name: str) -> str:
    """The ending of a file's name, in lower case."""
    return PurePosixPath(name).suffix.lower()


def give_each_role(sources: Mapping[str, str]) -> str:
    """The fix for splits that lie in one place: a source for each role."""
    listed = (f"{role}: {_quoted(source)}" for role, source in sources.items())
    return f"Give each role its source: data.source: {{{', '.join(listed)}}}"


def _quoted(source: str) -> str:
    return source if _PLAIN.fullmatch(source) else f'"{source}"'


def _nothing(pattern: str, base: Path, folders: Sequence[str]) -> DataError:
    if folders:
        names = ", ".join(folders[:3])
        fix = f"Match the tables in them, such as {pattern}/*.parquet"
        return DataError(f"{pattern} matches folders ({names}), not files", where=WHERE, fix=fix)
    fixed = fixed_folder(pattern)
    with os.scandir(base / fixed) as items:
        near = sorted(f"{i.name}/" if i.is_dir() else i.name for i in items if counts(i.name))
    fix = nearest(str(PurePosixPath(pattern).relative_to(fixed)), near, f"{base / fixed} has")
    return DataError(f"no file matches {pattern}", where=WHERE, fix=fix)


def _require_one_format(names: Sequence[str], subject: str, folder: PurePosixPath) -> None:
    formats = {suffix(name): name for name in reversed(names)}
    if len(formats) > 1:
        raise DataError(
            f"{subject} tables of several formats: {', '.join(sorted(formats.values()))}",
            where=WHERE,
            fix=f"Say by their ending which are meant, such as {folder / f'*{suffix(names[0])}'}",
        )


def _require_one_split(names: Sequence[str], source: str) -> None:
    splits: dict[str, list[str]] = {}
    for name in names:
        splits.setdefault(SPLIT_NAMES.get(_split_word(name), ""), []).append(name)
    roles = [role for role in dict.fromkeys(SPLIT_NAMES.values()) if role in splits]
    if len(roles) > 1:
        examples = ", ".join(splits[role][0] for role in roles)
        raise DataError(
            f"{source} holds shards of several splits: {examples}",
            where=WHERE,
            fix=give_each_role({role: _pattern(splits[role], source) for role in roles}),
        )


def _split_word(name: str) -> str:
    """The word of a path that names a split: `val` of `data/val-00000-of-00004.parquet`."""
    words = re.split(r"[^a-z]+", name.lower())
    return next((word for word in words if word in SPLIT_NAMES), "")


def _pattern(names: Sequence[str], source: str) -> str:
    """A glob for the shards of one split."""
    folder = PurePosixPath(escape(source))
    if len(names) == 1:
        return str(folder / escape(names[0]))
    paths = [PurePosixPath(name) for name in names]
    top = os.path.commonpath([path.parent for path in paths])
    start = os.path.commonprefix([path.stem for path in paths])  # noqa: RUF071 - letters, not parts
    start = start.rstrip("0123456789")
    between = "" if len({path.parent for path in paths}) == 1 else "**"
    if not _split_word(f"{top}/{start}"):
        # Their common beginning does not tell the split: the word itself has to stand in between.
        word, start = _split_word(names[0]), ""
        if _split_word(paths[0].name):
            return str(folder / escape(top) / between / f"*{word}*{paths[0].suffix}")
        between = f"**/*{word}*/**"
    return str(folder / escape(top) / between / f"{escape(start)}*{paths[0].suffix}")
