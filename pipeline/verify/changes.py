"""Which samples and classes a model answers otherwise than another one, on the same split."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy
from numpy.typing import NDArray

from edgestill.artifact import Dataset, Predictions
from edgestill.data.arrays import load_ids, load_labels
from edgestill.metrics import IGNORED_LABEL
from edgestill.metrics.classification import predicted_classes
from edgestill.stats import Estimate, Interval, exact_paired_interval, mcnemar_exact
from edgestill.verify.results import MOST_CLASSES, MOST_FLIPS, Changes, ClassDrop, Flip, HopResult

Array = NDArray[Any]
Flags = NDArray[numpy.bool_]


def changes(
    name: str, reference: Predictions, candidate: Predictions, samples: Dataset, level: float
) -> Changes | None:
    """What changed from `reference`, called `name`; None where no answer is right or wrong.

    That is so in regression and custom tasks, where a sample has many positions, and where the two
    answer in different shapes.
    """
    labels = load_labels(samples)
    one, other = _prediction(reference), _prediction(candidate)
    if labels is None or one.shape[1:] != other.shape[1:] or len(one) != len(labels):
        return None
    described = samples.description
    if described.task == "classification" and labels.ndim == 1:
        kept = labels != IGNORED_LABEL
        before, after = (numpy.where(kept, predicted_classes(a), labels) for a in (one, other))
        members = [(int(c), kept & (labels == c)) for c in numpy.unique(labels[kept])]
        right_before, right_after = before == labels, after == labels
        right = [(c, right_before[own], right_after[own]) for c, own in members]
        flipped = [
            Flip(
                int(row),
                f"{load_ids(samples)[row]:016x}",
                *(_name(described.class_names, int(c[row])) for c in (labels, before, after)),
            )
            for row in numpy.flatnonzero(right_before & ~right_after)[:MOST_FLIPS]
        ]
    elif described.task == "multilabel" and labels.ndim == 2 and one.shape == labels.shape:
        hits_before, hits_after = ((answer > 0) == (labels > 0) for answer in (one, other))
        right = [(c, hits_before[:, c], hits_after[:, c]) for c in range(labels.shape[1])]
        right_before, right_after = hits_before.all(axis=1), hits_after.all(axis=1)
        flipped = []
    else:
        return None
    # The largest drop first; of equal ones that of more samples.
    worst = sorted(right, key=lambda item: (item[2].mean() - item[1].mean(), -len(item[1])))
    lost, won = _discordant(right_before, right_after)
    return Changes(
        reference=name,
        lost=lost,
        won=won,
        p_value=mcnemar_exact(won, lost),
        flips=tuple(flipped),
        classes=tuple(
            _class_drop(_name(described.class_names, c), first, second, level, len(right))
            for c, first, second in worst[:MOST_CLASSES]
        ),
        class_count=len(right),
    )


def with_changes(
    results: Sequence[HopResult],
    answers: Mapping[str, Predictions],
    references: Mapping[str, Predictions],
    samples: Dataset,
    level: float,
    *,
    shipped: Collection[str],
) -> tuple[HopResult, ...]:
    """Each hop with what changed since its parent, and what ships with what changed in all.

    Args:
        answers: of each hop, on `samples`.
        references: of `teacher` and `student`; the teacher's count where there are any.
    """
    first = "teacher" if "teacher" in references else "student"
    found = []
    for hop in results:
        given = answers[hop.name]
        if hop.parent is not None:
            since = changes(hop.parent, answers[hop.parent], given, samples, level)
            hop = replace(hop, changes=since)
        if hop.name in shipped:
            overall = changes(first, references[first], given, samples, level)
            hop = replace(hop, overall=overall)
        found.append(hop)
    return tuple(found)


def _class_drop(name: str, before: Flags, after: Flags, level: float, classes: int) -> ClassDrop:
    lost, won = _discordant(before, after)
    # Bonferroni: each of so many intervals may miss with its share alone.
    low, high = exact_paired_interval(lost, won, len(before), 1 - (1 - level) / classes)
    value = (lost - won) / len(before)
    drop = Estimate(value, Interval(min(low, value), max(high, value), level), len(before))
    return ClassDrop(name, float(before.mean()), float(after.mean()), drop)


def _discordant(before: Flags, after: Flags) -> tuple[int, int]:
    """Samples that only the first has right, and those that only the second has."""
    return int((before & ~after).sum()), int((~before & after).sum())


def _name(class_names: tuple[str, ...], number: int) -> str:
    return class_names[number] if number < len(class_names) else str(number)


def _prediction(predictions: Predictions) -> Array:
    name = predictions.description.prediction
    array: Array = numpy.load(predictions.output_path(name), mmap_mode="r")
    return array
