"""Tables: delimited text, and parquet as Hugging Face `datasets` writes it."""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy

from edgestill.data.config import DataConfig
from edgestill.data.images import Encoded, decode_all
from edgestill.data.raw import Array, RawData, checked, choose_columns, text_refused, to_array
from edgestill.errors import DataError
from edgestill.extras import require
from edgestill.reference import describe

_ROWS = 1024


def read_delimited(path: Path, config: DataConfig) -> RawData:
    """A `.csv` or `.tsv` file with a header line.

    All numeric columns are one input `features` `[n, columns] float32`; columns that the recipe
    names in `data.inputs` are inputs of their own, `[n, 1] float32`.

    Raises:
        DataError: no header, lines of differing lengths, cells that are empty or no numbers.
    """
    where = str(path)
    tabs = path.suffix.lower() == ".tsv"
    # Tab-separated values know no quoting (IANA text/tab-separated-values).
    style: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, **style)
            header = next(lines, [])
            _require_header(header, where)
            inputs, label = choose_columns(header, config, where)
            columns, labels = _columns(lines, header, inputs, label, where)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"not a readable table ({describe(error)})", where=where) from error
    arrays = {name: numpy.array(column, numpy.float32)[:, None] for name, column in columns.items()}
    if not config.inputs:
        arrays = {"features": numpy.concatenate(list(arrays.values()), axis=1)}
    return checked(arrays, _label_array(labels) if label else None, (), where)


def _require_header(header: list[str], where: str) -> None:
    if not header:
        raise DataError("the file is empty", where=where)
    if all(_number(cell) is not None for cell in header):
        raise DataError(
            "the first line holds numbers, not the names of the columns",
            where=where,
            fix="Add a header line, such as a,b,label",
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice or "" in header:
        what = (
            f"two columns are named {twice[0]!r}" if twice and twice[0] else "a column has no name"
        )
        raise DataError(what, where=f"{where}:1", fix="Give every column a name of its own")


def _columns(
    lines: Iterator[list[str]],
    header: list[str],
    inputs: tuple[str, ...],
    label: str | None,
    where: str,
) -> tuple[Mapping[str, array[float]], list[str]]:
    """The inputs' columns as numbers, and the label's cells as they stand there."""
    columns = {name: array("d") for name in inputs}
    targets = [(header.index(name), name, column.append) for name, column in columns.items()]
    label_at = header.index(label) if label else None
    labels: list[str] = []
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
            if not cells[label_at].strip():
                raise DataError("the label is empty", where=f"{where}:{number}")
            labels.append(cells[label_at].strip())
    return columns, labels


def _cell(cell: str, name: str, where: str) -> float:
    value = _number(cell)
    if value is None and cell.strip():
        raise text_refused(f"column {name!r}", cell, where)
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


def _label_array(cells: list[str]) -> Array:
    """Whole numbers if all are, else numbers if all are, else text."""
    numbers = [_number(cell) for cell in cells]
    if None in numbers:
        return numpy.array(cells)
    whole = all(cell.lstrip("+-").isdecimal() for cell in cells)
    return (
        numpy.array([int(cell) for cell in cells], numpy.int64) if whole else numpy.array(numbers)
    )


def read_parquet(path: Path, config: DataConfig, work: Path) -> RawData:
    """A parquet file; images are decoded, names of classes are kept.

    It is read in batches: Hugging Face's own cache, a second copy in the home, is not needed.

    Raises:
        DataError: not a parquet file, gaps in a column, or a column that is no numbers.
    """
    parquet = require("pyarrow.parquet", extra="build")
    datasets = require("datasets", extra="build")
    where = str(path)
    try:
        file = parquet.ParquetFile(path)
        features = datasets.Features.from_arrow_schema(file.schema_arrow)
    except Exception as error:
        raise DataError(f"not a readable parquet file ({describe(error)})", where=where) from error
    inputs, label = choose_columns(features, config, where)
    arrays: dict[str, Any] = {}
    for name in inputs:
        if _is_image(features[name], datasets):
            encoded = _encoded(file, name)
            arrays[name] = decode_all(encoded, file.metadata.num_rows, config.image, where, work)
        else:
            arrays[name] = _column(file, name, where)
    labels = _column(file, label, where) if label else None
    class_names = getattr(features[label], "names", None) or () if label else ()
    return checked(arrays, labels, class_names, where)


def _is_image(feature: Any, datasets: Any) -> bool:
    return isinstance(feature, datasets.Image) or (
        isinstance(feature, dict) and set(feature) == {"bytes", "path"}
    )


def _encoded(file: Any, name: str) -> Iterator[tuple[str, Encoded]]:
    row = 0
    for batch in file.iter_batches(batch_size=_ROWS, columns=[name]):
        for value in batch.column(0).to_pylist():
            yield f"{name} of row {row}", value["bytes"] if value else None
            row += 1


def _column(file: Any, name: str, where: str) -> Array:
    parts: list[Array] = []
    for batch in file.iter_batches(batch_size=_ROWS, columns=[name]):
        column = batch.column(0)
        if column.null_count:
            row = len(parts) * _ROWS + column.is_null().to_pylist().index(True)
            raise DataError(
                f"column {name!r} has no value in row {row}",
                where=where,
                fix="Fill in the values or remove the rows",
            )
        nested = column.type.num_fields > 0
        values = column.to_pylist() if nested else column.to_numpy(zero_copy_only=False)
        parts.append(to_array(f"column {name!r}", values, where))
    if len({part.shape[1:] for part in parts}) > 1:
        return to_array(f"column {name!r}", [row for part in parts for row in part], where)
    return numpy.concatenate(parts) if parts else numpy.empty(0)
