"""Tables: delimited text, and parquet as Hugging Face `datasets` writes it.

A source is one file or several, read as if their rows stood in one.
"""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy

from edgestill.data.config import DataConfig
from edgestill.data.images import Encoded, decode_all
from edgestill.data.raw import Array, RawData, checked, choose_columns, text_refused, to_array
from edgestill.errors import DataError
from edgestill.extras import require
from edgestill.reference import describe
from edgestill.user_files import reading

_ROWS = 1024
_LARGEST = float(numpy.finfo(numpy.float32).max)
# What other tables are separated by.
_OTHER_MARKS = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}
# How programs write that there is no number, in small letters.
_NO_NUMBER = frozenset(("na", "n/a", "#n/a", "nan", "null", "none", "?", "-"))


def read_delimited(
    files: Sequence[Path], config: DataConfig, where: str, *, optional: bool = False
) -> RawData:
    """`.csv` or `.tsv` files, each with a header line.

    All numeric columns are one input `features` `[n, columns] float32`; columns that the recipe
    names in `data.inputs` are inputs of their own, `[n, 1] float32`. A sample whose label is empty
    has none.

    Args:
        optional: whether the label that the recipe names may be missing.

    Raises:
        DataError: no header, lines of differing lengths, cells that are empty or no numbers, files
            with differing columns.
    """
    header = _header(_lines(files[0]), files[0])
    inputs, label = choose_columns(header, config, str(files[0]), optional=optional)
    columns = {name: array("d") for name in inputs}
    labels: list[str] = []
    for file in files:
        lines = _lines(file)
        found = _header(lines, file)
        _require_same_columns(header, found, files[0], file)
        _append(lines, found, columns, label, labels, str(file))
    arrays = {name: numpy.array(column, numpy.float32)[:, None] for name, column in columns.items()}
    if not config.inputs:
        arrays = {"features": numpy.concatenate(list(arrays.values()), axis=1)}
    known, unlabelled = _filled([cell or None for cell in labels])
    raw = checked(arrays, _label_array(known, where) if known else None, (), where)
    return replace(raw, unlabelled=unlabelled)


def _require_same_columns(
    columns: Sequence[str], others: Sequence[str], file: Path, other: Path
) -> None:
    missing = [name for name in columns if name not in others]
    more = [name for name in others if name not in columns]
    if missing or more:
        what = f"has no column {missing[0]!r}" if missing else f"has a column {more[0]!r} more"
        raise DataError(
            f"it {what}, unlike {file}",
            where=str(other),
            fix="Give every file of a source the same columns",
        )


def _lines(file: Path) -> Iterator[list[str]]:
    """The cells of each line."""
    tabs = file.suffix.lower() == ".tsv"
    # Tab-separated values know no quoting (IANA text/tab-separated-values).
    style: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {}
    try:
        with reading(file), file.open(encoding="utf-8-sig", newline="") as text:
            yield from csv.reader(text, **style)
    except UnicodeDecodeError as error:
        what = f"not a text in UTF-8 ({describe(error)})"
        raise DataError(what, where=str(file), fix="Save it in UTF-8") from error
    except csv.Error as error:
        what = f"not a readable table ({describe(error)})"
        raise DataError(what, where=str(file)) from error


def _header(lines: Iterator[list[str]], file: Path) -> list[str]:
    # A blank after the comma belongs to no name, as it does to no number.
    header = [name.strip() for name in next(lines, [])]
    _require_header(header, str(file))
    return header


def _require_header(header: list[str], where: str) -> None:
    if not header:
        raise DataError("the file is empty", where=where)
    if all(_number(cell) is not None for cell in header):
        raise DataError(
            "the first line holds numbers, not the names of the columns",
            where=where,
            fix="Add a header line, such as a,b,label",
        )
    other = next((mark for mark in _OTHER_MARKS if mark in header[0]), None)
    if len(header) == 1 and other:
        comma = "a tab" if where.lower().endswith(".tsv") else "a comma"
        raise DataError(
            f"its columns seem to be separated by {_OTHER_MARKS[other]}, not by {comma}",
            where=f"{where}:1",
            fix="Save it as .csv with commas, or as .tsv with tabs",
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice or "" in header:
        what = (
            f"two columns are named {twice[0]!r}" if twice and twice[0] else "a column has no name"
        )
        fix = "Give every column a name of its own"
        if header[0] == "" and header.count("") == 1:
            fix += ", or leave the row numbers of pandas out: to_csv(index=False)"
        raise DataError(what, where=f"{where}:1", fix=fix)


def _append(
    lines: Iterator[list[str]],
    header: Sequence[str],
    columns: Mapping[str, array[float]],
    label: str | None,
    labels: list[str],
    where: str,
) -> None:
    """Add a file's lines: the inputs' columns as numbers, the label's cells as they stand there."""
    targets = [(header.index(name), name, column.append) for name, column in columns.items()]
    label_at = header.index(label) if label else None
    for number, cells in enumerate(lines, start=2):
        if not cells:
            continue
        if len(cells) != len(header):
            raise DataError(
                f"the line has {len(cells)} cells, the header {len(header)}",
                where=f"{where}:{number}",
            )
        for position, name, append in targets:
            append(_cell(cells[position], name, f"{where}:{number}"))
        if label_at is not None:
            labels.append(cells[label_at].strip())


def _cell(cell: str, name: str, where: str) -> float:
    value = _number(cell)
    if value is None and cell.strip():
        raise text_refused(f"column {name!r}", cell, where)
    if value is not None and math.isfinite(value) and abs(value) > _LARGEST:
        raise DataError(
            f"column {name!r} is {cell.strip()}, too large for float32",
            where=where,
            fix="Scale the column or remove the line",
        )
    if value is None or not math.isfinite(value):
        raise DataError(
            f"column {name!r} is {cell.strip() or 'empty'}",
            where=where,
            fix="Fill in the value or remove the line",
        )
    return value


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _filled(labels: Sequence[Any]) -> tuple[list[Any], Array | None]:
    """The labels without gaps (None), and which samples have none; empty where all are gaps.

    Any label stands in for those that are missing, so that the others decide the type.
    """
    known = next((label for label in labels if label is not None), None)
    if known is None:
        return [], None
    missing = numpy.array([label is None for label in labels])
    filled = [known if label is None else label for label in labels]
    return filled, missing if missing.any() else None


def _label_array(cells: list[str], where: str) -> Array:
    """Whole numbers if all are, else numbers if all are, else text.

    Raises:
        DataError: all are numbers but words that say that there is none.
    """
    numbers = [_number(cell) for cell in cells]
    words = [cell for cell, number in zip(cells, numbers, strict=True) if not _is_finite(number)]
    if words and len(words) < len(cells) and {word.lower() for word in words} <= _NO_NUMBER:
        raise DataError(
            f"label {words[0]!r} of sample {cells.index(words[0])} is no number, unlike others",
            where=where,
            fix="Leave the cell empty where a sample has no label",
        )
    if None in numbers:
        return numpy.array(cells)
    if all(cell.lstrip("+-").isdecimal() for cell in cells):
        with suppress(OverflowError):  # numbers beyond int64 are told as too large by the task
            return numpy.array([int(cell) for cell in cells], numpy.int64)
    return numpy.array(numbers)


def _is_finite(number: float | None) -> bool:
    return number is not None and math.isfinite(number)


def read_parquet(
    files: Sequence[Path], config: DataConfig, where: str, work: Path, *, optional: bool = False
) -> RawData:
    """Parquet files; images are decoded, names of classes are kept.

    They are read in batches: Hugging Face's own cache, a second copy in the home, is not needed.
    A sample whose label is null has none.

    Args:
        optional: whether the label that the recipe names may be missing.

    Raises:
        DataError: not a parquet file, gaps in an input, a column that is no numbers, or files that
            differ in their columns or in the types of those that are used.
    """
    datasets = require("datasets", extra="build")
    features, count = _features(files[0])
    inputs, label = choose_columns(features, config, str(files[0]), optional=optional)
    used = [*inputs, *([label] if label else [])]
    for file in files[1:]:
        others, rows = _features(file)
        _require_same_columns(list(features), list(others), files[0], file)
        _require_same_types(features, others, used, files[0], file)
        count += rows
    arrays: dict[str, Any] = {}
    for name in inputs:
        if _is_image(features[name], datasets):
            encoded = _encoded(files, name)
            arrays[name] = decode_all(encoded, count, config.image, where, work)
        else:
            arrays[name] = _column(files, name, where)
    labels, unlabelled = _label_column(files, label, where) if label else (None, None)
    class_names = _class_names(features[label]) if label else ()
    return replace(checked(arrays, labels, class_names, where), unlabelled=unlabelled)


def _class_names(feature: Any) -> Sequence[str]:
    """The names that a column of classes, or of sequences of them, has for its numbers."""
    while (inner := getattr(feature, "feature", None)) is not None:
        feature = inner
    return getattr(feature, "names", None) or ()


def _label_column(
    files: Sequence[Path], name: str, where: str
) -> tuple[Array | None, Array | None]:
    """The labels, and which samples have none."""
    if not any(column.null_count for _, _, column in _batches(files, name)):
        return _column(files, name, where), None
    values = [value for _, _, column in _batches(files, name) for value in column.to_pylist()]
    known, unlabelled = _filled(values)
    return to_array(f"column {name!r}", known, where) if known else None, unlabelled


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """A `pyarrow.parquet.ParquetFile`; whatever goes wrong with it is the file's fault."""
    parquet = require("pyarrow.parquet", extra="build")
    try:
        with reading(file), parquet.ParquetFile(file) as opened:
            yield opened
    except DataError:
        raise
    # Damage makes the decoders raise nearly anything.
    except Exception as error:
        what = f"not a readable parquet file ({describe(error)})"
        raise DataError(what, where=str(file)) from error


def _features(file: Path) -> tuple[Any, int]:
    """The columns and their types as `datasets.Features`, and the number of rows."""
    datasets = require("datasets", extra="build")
    with _opened(file) as opened:
        features = datasets.Features.from_arrow_schema(opened.schema_arrow)
        return features, opened.metadata.num_rows


def _require_same_types(
    features: Any, others: Any, names: Sequence[str], file: Path, other: Path
) -> None:
    datasets = require("datasets", extra="build")
    for name in names:
        one, two = features[name], others[name]
        if one == two or (_is_image(one, datasets) and _is_image(two, datasets)):
            continue
        raise DataError(
            f"column {name!r} is {_shown(two)}, and {_shown(one)} in the first file ({file})",
            where=str(other),
            fix="Give every file of a source the same types and the same classes",
        )


def _shown(feature: Any) -> str:
    text = " ".join(str(feature).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_image(feature: Any, datasets: Any) -> bool:
    """Encoded images: as `datasets` writes them, or bytes alone, which nothing else can be here."""
    return (
        isinstance(feature, datasets.Image)
        or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})
        or getattr(feature, "dtype", None) in ("binary", "large_binary")
    )


def _encoded(files: Sequence[Path], name: str) -> Iterator[tuple[str, Encoded]]:
    for file, row, column in _batches(files, name):
        place = f" in {file}" if len(files) > 1 else ""
        for index, value in enumerate(column.to_pylist(), start=row):
            encoded = value["bytes"] if isinstance(value, dict) else value
            yield f"{name} of row {index}{place}", encoded or None


def _batches(files: Sequence[Path], name: str) -> Iterator[tuple[Path, int, Any]]:
    """A column in pieces, each with its file and the row that it begins with."""
    for file in files:
        row = 0
        with _opened(file) as opened:
            for batch in opened.iter_batches(batch_size=_ROWS, columns=[name]):
                yield file, row, batch.column(0)
                row += batch.num_rows


def _column(files: Sequence[Path], name: str, where: str) -> Array:
    parts: list[Array] = []
    for file, row, column in _batches(files, name):
        if column.null_count:
            missing = row + column.is_null().to_pylist().index(True)
            raise DataError(
                f"column {name!r} has no value in row {missing}",
                where=str(file),
                fix="Fill in the values or remove the rows",
            )
        nested = column.type.num_fields > 0
        values = column.to_pylist() if nested else column.to_numpy(zero_copy_only=False)
        parts.append(to_array(f"column {name!r}", values, str(file)))
    if len({part.shape[1:] for part in parts}) > 1:
        return to_array(f"column {name!r}", [row for part in parts for row in part], where)
    return numpy.concatenate(parts) if parts else numpy.empty(0)
