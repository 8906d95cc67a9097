"""A teacher's answers on disk: written once, read in any order by any training.

    recording.json                what was recorded, of whom, on which samples and views
    views/<v>/<column>.npy        [n, ...], one column per prediction or layer
    views/<v>/<column>.kept.npy   with top-k: which classes the k columns are, [n, k, ...]
    views/<v>/<column>.rest.npy   with top-k: the logit that all others share, [n, 1, ...]

A row is that of a sample of the split, whose hashes are compared when it is opened, and a view has
a number: nothing is found by a place in a batch. Files are mapped into memory, and what was read is
handed back to the kernel from time to time, so that a training does not grow by the size of the
recording.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from edgestill.artifact import Column, Recording
from edgestill.digest import digest_bytes
from edgestill.errors import ModelError
from edgestill.train.losses.base import Labels, Outputs
from edgestill.train.losses.config import Tap
from edgestill.train.predict import placed
from edgestill.train.views import Ids, Rows

Array = NDArray[Any]

# Pages that were touched since the last time the kernel got them back.
_HELD_BYTES = 16 * 2**20


def ids_digest(ids: Ids) -> str:
    """The digest of the samples that a recording is of."""
    return digest_bytes(numpy.ascontiguousarray(ids).tobytes())


class ColumnWriter:
    """Appends the rows of one column to its files, which are as small as the column allows.

    Args:
        folder: of the view.
        index: the column's place among all.
        count: how many rows there will be.

    Raises:
        ModelError: a value that the type cannot hold.
    """

    def __init__(self, folder: Path, index: int, column: Column, count: int, dtype: str) -> None:
        self._folder, self._index, self._count, self._dtype = folder, index, count, dtype
        self._column = column
        self._files: dict[str, BinaryIO] = {}

    def append(self, values: Tensor) -> None:
        """The next rows `[b, ...]`."""
        top_k = self._column.top_k
        if top_k is None:
            self._put("", self._narrowed(values))
            return
        kept, classes = values.topk(top_k, dim=1)
        # The others share one logit that gives them, together, the probability that they have.
        others = values.scatter(1, classes, -torch.inf).logsumexp(dim=1, keepdim=True)
        rest = others - float(numpy.log(values.shape[1] - top_k))
        self._put("", self._narrowed(kept))
        self._put(".rest", self._narrowed(rest))
        small = numpy.uint16 if values.shape[1] <= 2**16 else numpy.uint32
        self._put(".kept", classes.cpu().numpy().astype(small))

    def close(self) -> None:
        """On disk: a recording that was killed goes on behind the views that it finds."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
            file.close()

    def _narrowed(self, values: Tensor) -> Array:
        with numpy.errstate(over="ignore"):  # found below
            rows: Array = values.cpu().numpy().astype(self._dtype)
        if not numpy.isfinite(rows).all():
            what = self._column.layer or "prediction"
            raise ModelError(
                f"the teacher's {what} has values that {self._dtype} cannot hold",
                where="distill.cache",
                fix="Set cache.dtype: float32, or look for extreme values in the data",
            )
        return rows

    def _put(self, suffix: str, rows: Array) -> None:
        if suffix not in self._files:
            # Not a mapped file: written pages would count as ours until they reach the disk.
            file = (self._folder / f"{self._index}{suffix}.npy").open("wb")
            header = {
                "descr": npy.dtype_to_descr(rows.dtype),
                "fortran_order": False,
                "shape": (self._count, *rows.shape[1:]),
            }
            npy.write_array_header_1_0(file, header)
            self._files[suffix] = file
        self._files[suffix].write(numpy.ascontiguousarray(rows).data)


class ColumnReader:
    """Rows of one file, in any order."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            npy.read_magic(file)
            shape, _, dtype = npy.read_array_header_1_0(file)
            start = file.tell()
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._rows = numpy.frombuffer(self._map, dtype, offset=start).reshape(shape)
        # A row that is read brings the pages around it.
        self._touched = max(self._rows[0].nbytes, 16 * mmap.PAGESIZE)
        self._held = 0

    def read(self, rows: Rows) -> Array:
        taken: Array = self._rows[rows]
        self._held += len(rows) * self._touched
        if self._held > _HELD_BYTES:
            self._map.madvise(mmap.MADV_DONTNEED)
            self._held = 0
        return taken


class RecordedTeacher:
    """Answers from a recording instead of a model.

    Args:
        ids: of the samples of the train split.
        teacher: the digest of the teacher that should have been recorded.
        views: the settings of the views that the training makes, as canonical JSON values.

    Raises:
        ModelError: the recording is of another teacher, of other views or other samples.
    """

    def __init__(self, recording: Recording, ids: Ids, teacher: str, augment: Any) -> None:
        description = recording.description
        for what, recorded, wanted in (
            ("another teacher", description.teacher, teacher),
            ("views made in another way", description.augment, augment),
            ("other samples", description.samples, ids_digest(ids)),
        ):
            if recorded != wanted:
                raise ModelError(
                    f"the recorded answers are of {what}",
                    where=str(recording.path),
                    fix="Record them again, for this teacher, train split and augment",
                )
        self._description = description
        self._path = recording.path
        self._view = -1
        self._readers: dict[str, ColumnReader] = {}

    def view_of(self, epoch: int) -> int:
        return epoch % self._description.views

    def answer(
        self, inputs: list[Tensor], rows: Rows, view: int, labels: Labels | None = None
    ) -> Outputs:
        del labels
        device = inputs[0].device
        answers = {
            column: self._column(index, column, rows, view, device)
            for index, column in enumerate(self._description.columns)
        }
        features = {
            Tap(column.layer, column.part): answer  # type: ignore[arg-type]
            for column, answer in answers.items()
            if column.layer is not None
        }
        logits = [answer for column, answer in answers.items() if column.layer is None]
        return Outputs(logits[0] if logits else torch.empty(len(rows), 0, device=device), features)

    def require_unchanged(self) -> None:
        """Files of the store do not change: their digests were compared before."""

    def _column(
        self, index: int, column: Column, rows: Rows, view: int, device: torch.device
    ) -> Tensor:
        values = placed(self._read(view, f"{index}", rows), device).float()
        if column.top_k is None:
            return values
        rest = placed(self._read(view, f"{index}.rest", rows), device).float()
        kept = placed(self._read(view, f"{index}.kept", rows).astype(numpy.int64), device)
        dense = rest.expand(len(rows), column.classes, *rest.shape[2:]).clone()
        return dense.scatter_(1, kept, values)

    def _read(self, view: int, name: str, rows: Rows) -> Array:
        if view != self._view:
            self._view, self._readers = view, {}  # of many views, the files of one are open
        if name not in self._readers:
            self._readers[name] = ColumnReader(self._path / "views" / str(view) / f"{name}.npy")
        return self._readers[name].read(rows)
