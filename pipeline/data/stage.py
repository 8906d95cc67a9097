"""The split stage: sources become four datasets on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy

from edgestill.artifact import Dataset, DatasetDescription, TensorSpec
from edgestill.data.arrays import IDS_FILE
from edgestill.data.assign import Hashes, Rows, assigned, hash_samples, limited
from edgestill.data.config import ROLES, SplitStep, shares, sources
from edgestill.data.labels import encode_labels
from edgestill.data.raw import Array, RawData, chunks
from edgestill.data.remarks import write_remarks
from edgestill.data.sources import read
from edgestill.digest import canonical
from edgestill.errors import DataError
from edgestill.metrics import IGNORED_LABEL
from edgestill.quantities import count_text
from edgestill.step import StepContext

# The roles whose samples a metric judges.
_JUDGED = ("validation", "test")
# A class with fewer samples than this may well be missing from a small split.
_ENOUGH = 8
# What data sets of segmented images write where a pixel has no label.
_OFTEN_IGNORED = "255"


@dataclass(frozen=True)
class Part:
    """The samples of one role: rows of a source, in order.

    Attributes:
        labels: those of the whole source, encoded for the task; None where it has none.
        hashes: those of the whole source.
        share: the part of the source that the role was to get.
    """

    source: RawData
    labels: Array | None
    hashes: Hashes
    rows: Rows
    share: float

    @property
    def classes(self) -> Array:
        """The class numbers, each once, without the ignored label."""
        assert self.labels is not None
        found: Array = numpy.unique(self.labels[self.rows])
        present: Array = found[found != IGNORED_LABEL]
        return present


def split(config: SplitStep, out: Path, context: StepContext) -> dict[str, Dataset]:
    """The datasets `out/<role>` for train, calibration, validation and test.

    What a reader of the scores should know is said, and lies beside them in `out`.

    Raises:
        DataError: the sources cannot be read or used for the task, or a split cannot be filled.
    """
    cut = shares(config.data)
    named = sources(config.data)
    served = {role: {role} for role in named} | {"train": set(cut)}
    optional = {role: served[role].isdisjoint(_JUDGED) for role in named}
    raws: dict[str, RawData] = {}
    # A wrong name of the labels is to be found where they have to be.
    for index, role in enumerate(sorted(named, key=lambda role: optional[role])):
        context.progress(0.7 * index / len(named), f"reading {named[role]}")
        raws[role] = read(
            named[role], config.data, context.base, context.work, optional=optional[role]
        )
    raws = {role: raws[role] for role in named}
    specs = _specs(list(raws.values()))
    encoded, class_names = encode_labels(list(raws.values()), config.task)
    context.progress(0.7, "splitting")
    parts: dict[str, Part] = {}
    for (role, raw), labels in zip(raws.items(), encoded, strict=True):
        hashes = hash_samples(raw.inputs, config.seed)
        kept = limited(hashes.limit, config.data.limit)
        wanted = cut if role == "train" else {role: 1.0}
        for part, rows in assigned(hashes.role[kept], wanted).items():
            parts[part] = Part(raw, labels, hashes.role, kept[rows], wanted[part])
    _require_labels(parts)
    unlabelled = _without_label(parts, config.task)
    parts |= {role: _labelled(parts[role], config.task) for role in _JUDGED}
    _require_filled(parts, config)
    notes = [note for raw in raws.values() for note in raw.notes]
    remarks = [*notes, *unlabelled, *_remarks(parts, cut, config.task, class_names)]
    for line in remarks:
        context.say(line)
    datasets = {}
    for index, role in enumerate(ROLES):
        context.progress(0.8 + 0.05 * index, f"writing {role}")
        description = DatasetDescription(
            role, len(parts[role].rows), config.task, specs, class_names
        )
        datasets[role] = _write(parts[role], description, out / role)
    write_remarks(remarks, out)
    context.progress(1.0, "split")
    return datasets


def _specs(raws: Sequence[RawData]) -> tuple[TensorSpec, ...]:
    """The device inputs, which every source has to share."""
    described = [
        tuple(
            TensorSpec(name, array.dtype.name, (None, *array.shape[1:]))
            for name, array in raw.inputs.items()
        )
        for raw in raws
    ]
    for raw, specs in zip(raws, described, strict=True):
        if specs != described[0]:
            first, other = (", ".join(map(str, found)) for found in (described[0], specs))
            raise DataError(
                f"it gives {other}, while {raws[0].where} gives {first}",
                where=raw.where,
                fix="Give every role the same inputs, in the same order, type and shape",
            )
    return described[0]


def _require_labels(parts: Mapping[str, Part]) -> None:
    for role in _JUDGED:
        source = parts[role].source
        if parts[role].labels is None:
            raise DataError(
                f"there are no labels (the inputs are {', '.join(source.inputs)}), and {role} is "
                "judged by them",
                where=source.where,
                fix="Say which column holds them with data.labels. Only sources of train and "
                "calibration may lack them",
            )


def _without_label(parts: Mapping[str, Part], task: str) -> list[str]:
    """What the user should read about samples that have no label."""
    lines = []
    for role in ("train", *_JUDGED):
        part = parts[role]
        if part.labels is None:
            lines.append(f"{role} has no labels: only a teacher can say what its samples are")
            continue
        count = len(part.rows) - len(_labelled(part, task).rows)
        if count:
            kept = "left out" if role in _JUDGED else "kept: only a teacher can say what they are"
            lines.append(
                f"{count} of {len(part.rows)} samples of {role} have no label and are {kept}"
            )
    return lines


def _labelled(part: Part, task: str) -> Part:
    """The part without the samples that have no label."""
    if task != "classification" or part.labels is None:
        return part
    positions = tuple(range(1, part.labels.ndim))
    known = (part.labels[part.rows] != IGNORED_LABEL).any(axis=positions)
    return replace(part, rows=part.rows[known])


def _require_filled(parts: Mapping[str, Part], config: SplitStep) -> None:
    for role in ROLES:
        part = parts[role]
        total, limit = len(part.source), config.data.limit
        limited = limit is not None and limit < total
        left = f"the {limit} samples that data.limit leaves" if limited else f"{total} samples"
        limit_or = "data.limit or " if limited else ""
        if not len(part.rows):
            raise DataError(
                f"{role} gets none of {left} (share {part.share:g})",
                where=part.source.where,
                fix=f"Raise {limit_or}data.split.{role}, add samples, or give {role} a source of "
                "its own",
            )
        labels = part.labels
        if config.task != "classification" or role == "calibration" or labels is None:
            continue
        if len(part.classes) > 1:
            continue
        overall = len(numpy.unique(labels[labels != IGNORED_LABEL]))
        classes = count_text(overall, "class", "classes")
        raise DataError(
            f"{role} has samples of {len(part.classes)} class "
            f"({len(part.rows)} of {left}; the source has {classes})",
            where=part.source.where,
            fix=f"Add samples of other classes, or raise {limit_or}the share of {role}",
        )


def _remarks(
    parts: Mapping[str, Part], cut: Mapping[str, float], task: str, class_names: Sequence[str]
) -> list[str]:
    """What is no error and should be known."""
    remarks = []
    unused = 1 - sum(cut.values())
    if unused > 1e-9:
        remarks.append(f"data.split: {unused:.1%} of the samples are in no split")
    train_ids = parts["train"].hashes[parts["train"].rows]
    for role in ("validation", "test"):
        part = parts[role]
        if part.source is not parts["train"].source:
            known = int(numpy.isin(part.hashes[part.rows], train_ids).sum())
            if known:
                remarks.append(
                    f"{known} of {len(part.rows)} samples of {role} are in train too: "
                    f"scores on {role} will flatter"
                )
    if task == "classification":
        remarks += _missing_classes(parts, class_names)
    return remarks


def _missing_classes(parts: Mapping[str, Part], class_names: Sequence[str]) -> list[str]:
    counts = numpy.zeros(len(class_names), numpy.int64)
    known = {role: part for role, part in parts.items() if part.labels is not None}
    for part in known.values():
        assert part.labels is not None
        labels = part.labels[part.rows]
        counts += numpy.bincount(labels[labels >= 0], minlength=len(class_names))
    remarks = []
    absent = [name for name, count in zip(class_names, counts, strict=True) if not count]
    if class_names[-1] == _OFTEN_IGNORED and class_names[-2] in absent:
        remarks.append(
            f"label {_OFTEN_IGNORED} is a class here, and {class_names[-2]} below it never occurs: "
            f"if it marks what has no label, write {IGNORED_LABEL} in its place"
        )
    elif absent:
        remarks.append(f"classes without any sample: {_listed(absent)}")
    for role in [role for role in ROLES if role in known]:
        present = set(known[role].classes.tolist())
        named = [
            f"{name} ({count} in all)"
            for index, (name, count) in enumerate(zip(class_names, counts, strict=True))
            if count >= _ENOUGH and index not in present
        ]
        if named:
            remarks.append(f"{role} has no sample of: {_listed(named)}")
    return remarks


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


def _write(part: Part, description: DatasetDescription, out: Path) -> Dataset:
    (out / "inputs").mkdir(parents=True)
    # A model is fed by position, and steps that read inputs alone are keyed by this folder.
    text = json.dumps(canonical(description.inputs), indent=2) + "\n"
    (out / "inputs" / "order.json").write_text(text, encoding="utf-8")
    for spec in description.inputs:
        _write_rows(part.source.inputs[spec.name], part.rows, out / "inputs" / f"{spec.name}.npy")
    if part.labels is not None:
        _write_rows(part.labels, part.rows, out / "labels.npy")
    _write_rows(part.hashes, part.rows, out / IDS_FILE)
    return Dataset.seal(out, description)


def _write_rows(array: Array, rows: Rows, path: Path) -> None:
    """The rows of an array as a `.npy` file, without a second copy of it in memory."""
    shape = (len(rows), *array.shape[1:])
    with path.open("wb") as file:
        header = {"descr": array.dtype.str, "fortran_order": False, "shape": shape}
        numpy.lib.format.write_array_header_1_0(file, header)
        for piece in chunks(numpy.broadcast_to(array[:1], shape)):
            file.write(numpy.ascontiguousarray(array[rows[piece]]).data)
