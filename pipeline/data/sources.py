"""Reads a source, whatever it is, into `RawData`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy

from edgestill.data.config import DataConfig
from edgestill.data.images import read_folder
from edgestill.data.origin import Kind, resolve
from edgestill.data.raw import RawData, checked, choose_columns, with_ignored
from edgestill.data.tables import read_delimited, read_parquet
from edgestill.errors import DataError
from edgestill.extras import folder_of
from edgestill.reference import call, describe
from edgestill.spelling import nearest
from edgestill.user_files import FETCH, POINTER, is_pointer


def read(
    source: str, config: DataConfig, base: Path, work: Path, *, optional: bool = False
) -> RawData:
    """The inputs and labels of one source.

    Args:
        base: the folder that relative paths start from.
        work: where decoded images lie while they are used.
        optional: whether it may lack labels that others have.

    Raises:
        DataError: the source is missing, cannot be read, or holds what no model can use.
    """
    origin = resolve(source, base)
    if origin.kind is Kind.DIGITS:
        return _read_digits(config)
    if origin.kind is Kind.CALLABLE:
        return _read_callable(source, config, base, optional)
    pointer = next((p for p in origin.paths if p.is_file() and is_pointer(p)), None)
    if pointer is not None:
        raise DataError(POINTER, where=str(pointer), fix=FETCH)
    path, where = origin.paths[0], str(base / source)
    if origin.kind is Kind.ARRAYS:
        return _read_arrays(path, config, optional)
    if origin.kind is Kind.IMAGES:
        return read_folder(path, config, work, optional=optional)
    if origin.kind is Kind.TABLE:
        raw = read_delimited(origin.paths, config, where, optional=optional)
    else:
        raw = read_parquet(origin.paths, config, where, work, optional=optional)
    return with_ignored(raw, origin.ignored, "no tables by ending")


def _read_digits(config: DataConfig) -> RawData:
    """1,797 digits, `image` `[n, 1, 8, 8] uint8` from 0 to 16."""
    where = Kind.DIGITS.value
    choose_columns(["image", "label"], config, where)
    # Read where scikit-learn keeps them: to import it takes longer than all else that is done here.
    file = folder_of("sklearn", extra="build") / "datasets" / "data" / "digits.csv.gz"
    rows = numpy.loadtxt(file, delimiter=",", dtype=numpy.int64)
    images = rows[:, :-1].reshape(-1, 1, 8, 8).astype(numpy.uint8)
    return checked({"image": images}, rows[:, -1], map(str, range(10)), where)


def _read_arrays(path: Path, config: DataConfig, optional: bool) -> RawData:
    if not is_zipfile(path):
        raise DataError("not a readable .npz file", where=str(path), fix="Write it by numpy.savez")
    try:
        with numpy.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:
        if "allow_pickle" in str(error):
            raise DataError(
                "it holds objects, which only unpickling could load: not loaded",
                where=str(path),
                fix="Save arrays of numbers in one shape",
            ) from error
        raise DataError(f"not a readable .npz file ({describe(error)})", where=str(path)) from error
    inputs, label = choose_columns(arrays, config, str(path), optional=optional)
    chosen = {name: arrays[name] for name in inputs}
    return checked(chosen, arrays[label] if label else None, (), str(path))


def _read_callable(source: str, config: DataConfig, base: Path, optional: bool) -> RawData:
    """What the user's function returns: `(inputs, labels)`, a dict, or an object."""
    returned = call(source, base, {}, DataError)
    inputs, labels, class_names = _parts(returned, config, source, optional)
    if not isinstance(inputs, Mapping):
        inputs = {"input": inputs}
    unknown = [name for name in config.inputs if name not in inputs]
    if unknown:
        fix = nearest(unknown[0], list(inputs), "There are")
        raise DataError(f"it gives no input {unknown[0]!r}", where=source, fix=fix)
    chosen = {name: inputs[name] for name in config.inputs or inputs}
    return checked(chosen, labels, class_names, source)


def _parts(returned: Any, config: DataConfig, where: str, optional: bool) -> tuple[Any, Any, Any]:
    if isinstance(returned, Mapping):
        held = dict(returned)
        class_names = held.pop("class_names", ())
        if isinstance(held.get("inputs"), Mapping):
            held = {**held.pop("inputs"), **held}
        _, label = choose_columns(held, config, where, optional=optional)
        labels = held.pop(label) if label else None
        return held, labels, class_names
    if isinstance(returned, tuple) and len(returned) == 2:
        return (*returned, ())
    if hasattr(returned, "inputs") and hasattr(returned, "labels"):
        return returned.inputs, returned.labels, getattr(returned, "class_names", ())
    raise DataError(
        f"it returned a {type(returned).__name__}",
        where=where,
        fix="Return (inputs, labels), a dict with labels, or an object with inputs and labels",
    )
