"""Labels as the task needs them: one mapping from names to numbers over all sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy

from edgestill.data.raw import Array, RawData
from edgestill.errors import DataError
from edgestill.metrics import IGNORED_LABEL
from edgestill.spelling import nearest

# More classes than labels and than this are taken for a mistake, unless the classes have names.
_MANY_CLASSES = 1000


def encode_labels(
    sources: Sequence[RawData], task: str
) -> tuple[list[Array | None], tuple[str, ...]]:
    """The labels of each source, None for one that has none, and the names of the classes.

    classification: `[n] int64`, or `[n, ...]` where each position is classified, the ignored label
    for samples and positions without one; multilabel: `[n, k] float32`, zeros and ones; regression:
    `[n]` or `[n, ...] float32`; custom: numbers as they are.

    Raises:
        DataError: labels that the task cannot use.
    """
    names = _given_names(sources)
    if task != "classification":
        for source in sources:
            _require_all(source, task)
    if any(source.labels is not None and _is_text(source.labels) for source in sources):
        if task in ("multilabel", "regression"):
            raise _text(sources, task)
        sources, names = _numbered(sources, names)
    if task == "classification":
        classes = [_class_numbers(source, names) for source in sources]
        return classes, names or _numbers_as_names(classes, sources)
    if task == "multilabel":
        return _yes_or_no(sources, names)
    if task == "regression":
        return [_floats(source) for source in sources], ()
    return [_custom(source) for source in sources], names


def _given_names(sources: Sequence[RawData]) -> tuple[str, ...]:
    given = {source.class_names: source for source in sources if source.class_names}
    if len(given) > 1:
        first, second = list(given.values())[:2]
        raise DataError(
            f"{first.where} names the classes {', '.join(first.class_names[:5])} ..., "
            f"{second.where} names them {', '.join(second.class_names[:5])} ...",
            where="data.source",
            fix="Write both with the same classes in the same order",
        )
    names = next(iter(given), ())
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"two classes are named {twice[0]!r}", where="data.source")
    return names


def _require_all(source: RawData, task: str) -> None:
    """Refuse gaps where nothing marks a sample as one without a label."""
    if source.unlabelled is not None:
        raise DataError(
            f"sample {int(source.unlabelled.argmax())} has no label, and of {task} all have to "
            "have one, or none",
            where=source.where,
            fix="Fill it in, or give train a source of its own, without labels",
        )


def _is_text(labels: Array) -> bool:
    if labels.dtype.kind == "O":
        return any(isinstance(item, (str, bytes)) for item in labels.flat)
    return labels.dtype.kind in "UST"


def _as_text(item: object) -> str:
    return item.decode(errors="backslashreplace") if isinstance(item, bytes) else str(item)


def _text(sources: Sequence[RawData], task: str) -> DataError:
    found = next(s for s in sources if s.labels is not None and _is_text(s.labels))
    assert found.labels is not None
    fix = {
        "regression": "Set task: classification, or give numbers",
        "multilabel": "Set task: classification, or give a column of 0 and 1 per label",
    }
    return DataError(
        f"the labels are text, such as {_as_text(found.labels.flat[0])!r}; the task is {task}",
        where=found.where,
        fix=fix[task],
    )


def _numbered(
    sources: Sequence[RawData], names: tuple[str, ...]
) -> tuple[list[RawData], tuple[str, ...]]:
    """Names of classes as their numbers, in the order of the names or of the alphabet."""
    texts = [_texts(source) for source in sources]
    if not names:
        numbers = [
            s
            for s, items in zip(sources, texts, strict=True)
            if s.labels is not None and items is None
        ]
        if numbers:
            named = next(s for s, items in zip(sources, texts, strict=True) if items is not None)
            raise DataError(
                f"{named.where} has names as labels, {numbers[0].where} has numbers",
                where="data.source",
                fix="Give both as names",
            )
        names = tuple(sorted({item for items in texts for item in items or ()}))
    index = {name: number for number, name in enumerate(names)}
    encoded = []
    for source, items in zip(sources, texts, strict=True):
        unknown = next((i for i, item in enumerate(items or ()) if item not in index), None)
        if items is not None and unknown is not None:
            sample = unknown * len(source) // len(items)
            raise DataError(
                f"label {items[unknown]!r} of sample {sample} is none of the classes",
                where=source.where,
                fix=nearest(items[unknown], list(names), "Classes"),
            )
        if items is not None and source.labels is not None:
            labels = numpy.array([index[item] for item in items], numpy.int64)
            labels = labels.reshape(source.labels.shape)
            source = replace(source, labels=labels)
        encoded.append(source)
    return encoded, names


def _texts(source: RawData) -> list[str] | None:
    if source.labels is None or not _is_text(source.labels):
        return None
    return [_as_text(item) for item in source.labels.flat]


def _class_numbers(source: RawData, names: tuple[str, ...]) -> Array | None:
    labels = source.labels
    if labels is None:
        return None
    if labels.ndim > 1 and labels.shape[1] == 1:  # a column, or a mask with an axis for its channel
        labels = labels[:, 0]
    if labels.dtype.kind not in "biuf":
        raise DataError(f"labels are {labels.dtype}, not numbers or names", where=source.where)
    if labels.dtype.kind == "f" and (labels % 1 != 0).any():
        example = labels[labels % 1 != 0][0]
        raise DataError(
            f"the labels are no classes but numbers such as {example:g}",
            where=source.where,
            fix="Set task: regression",
        )
    if labels.dtype.kind in "uf" and (wild := labels[(labels >= 2**63) | (labels < -(2**63))]).size:
        raise DataError(
            f"label {wild[0]:g} is too large to number a class",
            where=source.where,
            fix="Number the classes from 0 without gaps, or set task: regression",
        )
    classes = labels.astype(numpy.int64)
    if source.unlabelled is not None:
        classes[source.unlabelled] = IGNORED_LABEL
    negative = numpy.argwhere((classes < 0) & (classes != IGNORED_LABEL))
    if len(negative):
        raise DataError(
            f"label {classes[tuple(negative[0])]} of sample {negative[0][0]} is negative",
            where=source.where,
            fix=f"Number the classes from 0 ({IGNORED_LABEL} means no label), "
            "or set task: regression",
        )
    beyond = numpy.argwhere(classes >= len(names)) if names else negative
    if len(beyond):
        raise DataError(
            f"label {classes[tuple(beyond[0])]} of sample {beyond[0][0]} is beyond the "
            f"{len(names)} classes, numbered 0 to {len(names) - 1}",
            where=source.where,
            fix="Correct it, or add the class's name",
        )
    return None if (classes == IGNORED_LABEL).all() else classes


def _numbers_as_names(
    classes: Sequence[Array | None], sources: Sequence[RawData]
) -> tuple[str, ...]:
    count = max((int(array.max()) + 1 for array in classes if array is not None), default=0)
    labels = sum(array.size for array in classes if array is not None)
    if count > max(_MANY_CLASSES, labels):
        raise DataError(
            f"the largest label is {count - 1}, which makes {count} classes for {labels} labels",
            where=sources[0].where,
            fix="Number the classes from 0 without gaps, or set task: regression",
        )
    return tuple(str(number) for number in range(count))


def _yes_or_no(
    sources: Sequence[RawData], names: tuple[str, ...]
) -> tuple[list[Array | None], tuple[str, ...]]:
    widths = set()
    encoded: list[Array | None] = []
    for source in sources:
        labels = source.labels
        if labels is None:
            encoded.append(None)
            continue
        if labels.ndim != 2 or not numpy.isin(labels, (0, 1)).all():
            raise DataError(
                f"the labels are {labels.dtype} {list(labels.shape)}; "
                "multilabel needs a column of 0 and 1 for each label",
                where=source.where,
                fix="Set task: classification for one class a sample",
            )
        widths.add(labels.shape[1])
        encoded.append(labels.astype(numpy.float32))
    if len(widths) > 1 or (names and widths and widths != {len(names)}):
        found = " and ".join(str(width) for width in sorted(widths))
        expected = f", for {len(names)} class names" if names else ""
        raise DataError(
            f"the sources have {found} columns of labels{expected}", where="data.source"
        )
    return encoded, names or tuple(str(number) for number in range(max(widths, default=0)))


def _floats(source: RawData) -> Array | None:
    labels = source.labels
    if labels is None:
        return None
    if labels.dtype.kind not in "biuf":
        raise DataError(f"labels are {labels.dtype}, not numbers", where=source.where)
    with numpy.errstate(over="ignore"):
        floats = labels.astype(numpy.float32)
    if not numpy.isfinite(floats).all():
        raise DataError("labels are too large for float32", where=source.where, fix="Scale them")
    return floats


def _custom(source: RawData) -> Array | None:
    labels = source.labels
    if labels is not None and labels.dtype.kind not in "biuf":
        raise DataError(f"labels are {labels.dtype}, not numbers", where=source.where)
    return labels
