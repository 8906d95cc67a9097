"""What a source gives, whichever it is: arrays by name, checked, and labels as they were found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy
from numpy.typing import NDArray

from edgestill.data.config import DataConfig
from edgestill.errors import DataError
from edgestill.quantities import count_text
from edgestill.spelling import nearest

Array = NDArray[Any]

LABEL_NAMES = ("label", "labels", "y")
# Rows that are looked at or copied at once take about so many bytes.
CHUNK_BYTES = 32 << 20
INPUT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
# torch has no arithmetic for these; the wider type holds every value.
_WIDER = {"uint16": numpy.int32, "uint32": numpy.int64}


@dataclass(frozen=True)
class RawData:
    """One source, read.

    Attributes:
        inputs: each `[n, ...]`.
        labels: `[n]` or `[n, ...]`, numbers or strings; None where there are none.
        class_names: in the order of the label numbers, where the source has names for them.
        where: the source, for messages.
        notes: what the user should read about how it was taken.
        unlabelled: which samples have none of the labels, `[n] bool`, where some have; there,
            `labels` has any value.
    """

    inputs: Mapping[str, Array]
    labels: Array | None
    class_names: tuple[str, ...]
    where: str
    notes: tuple[str, ...] = ()
    unlabelled: Array | None = None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


def choose_columns(
    names: Iterable[str], config: DataConfig, where: str, *, optional: bool = False
) -> tuple[tuple[str, ...], str | None]:
    """Which of a source's columns or arrays are the inputs, and which is the label.

    Args:
        optional: whether the source may lack the label that the recipe names.

    Raises:
        DataError: a name of the recipe that the source lacks, two labels, no input.
    """
    known = list(names)
    label = config.labels
    if label is None:
        usual = [name for name in LABEL_NAMES if name in known and name not in config.inputs]
        if len(usual) > 1:
            raise DataError(
                f"several could be the labels: {', '.join(usual)}",
                where=where,
                fix=f"Say which, such as data.labels: {usual[0]}",
            )
        label = usual[0] if usual else None
    if optional and label not in known:
        label = None
    for name in (*config.inputs, *([label] if label else [])):
        if name not in known:
            raise DataError(
                f"there is no column or array {name!r}",
                where=where,
                fix=nearest(name, known, "There are"),
            )
    if label in config.inputs:
        raise DataError(
            f"{label!r} is among data.inputs and the labels too",
            where=where,
            fix="Take it out of one of them",
        )
    inputs = config.inputs or tuple(name for name in known if name != label)
    if not inputs:
        raise DataError("there is nothing but labels", where=where, fix="Add an input")
    return inputs, label


def checked(
    inputs: Mapping[str, Any], labels: Any, class_names: Iterable[str], where: str
) -> RawData:
    """The source's arrays, each fit to be fed to a model.

    Raises:
        DataError: a name, type, shape, length or value that no model can use.
    """
    arrays = {
        name: _input(name, to_array(name, value, where), where) for name, value in inputs.items()
    }
    if not arrays:
        raise DataError("there are no inputs", where=where, fix="Return at least one array")
    if labels is not None:
        labels = to_array("labels", labels, where)
        if labels.ndim == 0:
            raise DataError("labels is a single value", where=where, fix="Give one per sample")
        if labels.dtype.kind == "f":
            _require_finite("labels", labels, where)
    lengths = {name: len(array) for name, array in arrays.items()}
    if labels is not None:
        lengths["labels"] = len(labels)
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise DataError(
            f"not the same number of samples: {found}", where=where, fix="Give one of each a sample"
        )
    if 0 in lengths.values():
        raise DataError("it has no samples", where=where)
    return RawData(arrays, labels, tuple(str(name) for name in class_names), where)


def with_ignored(raw: RawData, names: Sequence[str], why: str) -> RawData:
    """The source with a note on files of its folder that were not read."""
    if not names:
        return raw
    listed = ", ".join(names[:3])
    files = count_text(len(names), "file", "files")
    note = f"{raw.where}: {files} left out, {why}: {listed}"
    return replace(raw, notes=(*raw.notes, note))


def to_array(name: str, value: Any, where: str) -> Array:
    """A numpy array of what a user's code returned: an array, a tensor or nested lists."""
    if hasattr(value, "detach"):  # a torch tensor, without importing torch
        value = value.detach().cpu()
    if hasattr(value, "numpy"):
        try:
            value = value.numpy()
        except TypeError as error:
            raise DataError(
                f"{name}: {error}", where=where, fix="Convert it to a type that numpy has: .float()"
            ) from error
    try:
        array = numpy.asarray(value)
    except ValueError as error:  # lists of unequal lengths
        raise _ragged(name, where) from error
    return array


def _ragged(name: str, where: str) -> DataError:
    return DataError(
        f"{name} holds objects or rows of differing lengths, not numbers in one shape",
        where=where,
        fix="Pad or cut every sample to one shape (and give a mask as an input of its own)",
    )


def text_refused(name: str, example: str, where: str) -> DataError:
    """The error for text where numbers are needed."""
    shown = example if len(example) <= 40 else example[:37] + "..."
    return DataError(
        f"{name} is text (such as {shown!r}), and a model takes numbers",
        where=where,
        fix="Tokenise it in a file.py:callable, or leave it out: list the others in data.inputs",
    )


def _input(name: str, array: Array, where: str) -> Array:
    if not INPUT_NAME.fullmatch(name):
        raise DataError(
            f"{name!r} cannot be the name of a model's input",
            where=where,
            fix="Use letters, digits, _ - and ., and begin with a letter",
        )
    kind = array.dtype.kind
    if kind == "O" and array.size and not isinstance(array.flat[0], (str, bytes)):
        raise _ragged(name, where)
    if kind in "USTO":
        raise text_refused(name, str(array.flat[0]) if array.size else "", where)
    if kind not in "biuf":
        raise DataError(
            f"{name} is {array.dtype}, which no model takes", where=where, fix="Give it as numbers"
        )
    if array.ndim == 0 or 0 in array.shape[1:]:
        raise DataError(f"{name} has the shape {list(array.shape)}: no samples", where=where)
    if str(array.dtype) == "uint64":
        if array.size and array.max() > numpy.iinfo(numpy.int64).max:
            raise DataError(f"{name} has values beyond int64", where=where, fix="Give it as int64")
        return array.astype(numpy.int64)
    if array.dtype.name in _WIDER:
        return array.astype(_WIDER[array.dtype.name])
    if kind == "f":
        _require_finite(name, array, where)
        if array.dtype.name not in ("float16", "float32"):
            with numpy.errstate(over="ignore"):
                array = array.astype(numpy.float32)
            _require_finite(name, array, where, " as float32")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def chunks(array: Array) -> Iterable[slice]:
    """Slices of rows that take about `CHUNK_BYTES` each."""
    row = max(1, array.nbytes // max(1, len(array)))
    rows = max(1, CHUNK_BYTES // row)
    return (slice(start, start + rows) for start in range(0, len(array), rows))


def _require_finite(name: str, array: Array, where: str, as_what: str = "") -> None:
    first, count = None, 0
    for rows in chunks(array):
        finite = numpy.isfinite(array[rows])
        if finite.all():
            continue
        bad = numpy.flatnonzero(~finite.reshape(len(finite), -1).all(axis=1))
        first = rows.start + int(bad[0]) if first is None else first
        count += len(bad)
    if first is not None:
        samples = "1 sample" if count == 1 else f"{count} samples"
        raise DataError(
            f"{name} has NaN or Inf{as_what} in {samples}, the first is sample {first}",
            where=where,
            fix="Remove those samples or fill in the values",
        )
