"""What keeping a teacher's answers costs in memory and on disk.

    python tests/benchmarks/teacher_cache.py --json teacher_cache.json

Answers of 50,000 samples in 4 views of 1,000 classes are written as a recording writes them, then
read back in shuffled batches as a training reads them, whole and as the 20 largest logits. Growth
is of the process's resident memory, mapped files included. Ends with 1 when a bound is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy
import torch

from edgestill.artifact import Column, Recording, RecordingDescription
from edgestill.train.teachers.recorded import ColumnWriter, RecordedTeacher, ids_digest

SAMPLES, VIEWS, CLASSES, BATCH, TOP_K = 50_000, 4, 1_000, 256, 20
MEGABYTE = 1e6


@dataclass(frozen=True)
class Figure:
    name: str
    unit: str
    value: float
    at_most: float | None = None

    @property
    def kept(self) -> bool:
        return self.at_most is None or self.value <= self.at_most


def resident() -> float:
    """The process's resident memory in MB, files that are mapped included."""
    text = Path("/proc/self/status").read_text("ascii")
    line = next(line for line in text.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024 / MEGABYTE


def answers(start: int, count: int, view: int) -> torch.Tensor:
    """Logits that can be told apart: row and view are in the first two classes."""
    generator = torch.Generator().manual_seed(start * VIEWS + view)
    logits = torch.randn(count, CLASSES, generator=generator)
    logits[:, 0] = 10 + torch.arange(start, start + count) % 100
    logits[:, 1] = 10 + view
    return logits


def write(folder: Path, top_k: int | None) -> tuple[Recording, float]:
    """The recording, and the most memory that the process had while it was written."""
    most = 0.0
    ids = numpy.arange(SAMPLES, dtype=numpy.uint64)
    column = Column(None, "output", CLASSES, top_k)
    for view in range(VIEWS):
        place = folder / "views" / str(view)
        place.mkdir(parents=True)
        with closing(ColumnWriter(place, 0, column, SAMPLES, "float16")) as writer:
            for start in range(0, SAMPLES, BATCH):
                writer.append(answers(start, min(BATCH, SAMPLES - start), view))
                most = max(most, resident())
    description = RecordingDescription("t", ids_digest(ids), None, VIEWS, SAMPLES, (column,))
    (folder / "recording.json").write_text(json.dumps(asdict(description)))
    return Recording(folder, ""), most


def read(recording: Recording) -> float:
    """Every row of every view once, in an order that is new for each view; the most memory."""
    most = 0.0
    ids = numpy.arange(SAMPLES, dtype=numpy.uint64)
    teacher = RecordedTeacher(recording, ids, "t", None)
    order = numpy.random.default_rng(0)
    for epoch in range(VIEWS):
        for rows in numpy.array_split(order.permutation(SAMPLES), SAMPLES // BATCH):
            logits = teacher.answer([torch.zeros(1)], rows, teacher.view_of(epoch)).logits
            if not (logits[:, 0] == torch.from_numpy(10.0 + rows % 100)).all():
                raise SystemExit("a row is not that of its sample")
            if not (logits[:, 1] == 10 + epoch).all():
                raise SystemExit("a row is not that of its view")
            most = max(most, resident())
    return most


def figures(folder: Path, name: str, top_k: int | None, computed: float) -> Iterator[Figure]:
    began, before = time.monotonic(), resident()
    recording, most = write(folder, top_k)
    yield Figure(f"{name}: growth while written", "MB", most - before, 100)
    yield Figure(f"{name}: time to write", "s", time.monotonic() - began)
    began, before = time.monotonic(), resident()
    yield Figure(f"{name}: growth while read", "MB", read(recording) - before, 100)
    yield Figure(f"{name}: time to read", "s", time.monotonic() - began)
    size = sum(file.stat().st_size for file in folder.rglob("*.npy")) / MEGABYTE
    # A file has a header of 128 bytes.
    yield Figure(f"{name}: size on disk", "MB", size, computed + 3 * VIEWS * 128 / MEGABYTE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="where all values go")
    arguments = parser.parse_args()
    rows = SAMPLES * VIEWS / MEGABYTE
    answers(0, BATCH, 0).topk(TOP_K)  # what torch allocates once is not the recording's
    found: list[Figure] = []
    for name, top_k, row_bytes in (
        ("whole", None, 2 * CLASSES),
        (f"top {TOP_K}", TOP_K, 2 * TOP_K + 2 * TOP_K + 2),
    ):
        with TemporaryDirectory() as folder:
            found += figures(Path(folder), name, top_k, rows * row_bytes)
    for figure in found:
        bound = "" if figure.at_most is None else f"<= {figure.at_most:.2f}"
        missed = "" if figure.kept else "   MISSED"
        print(f"{figure.name:<32} {figure.value:9.2f} {figure.unit:<3} {bound}{missed}")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(figure) for figure in found], indent=2) + "\n")
    sys.exit(0 if all(figure.kept for figure in found) else 1)


if __name__ == "__main__":
    main()
