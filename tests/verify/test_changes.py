"""Which samples were lost and won, and which classes dropped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.artifact import Dataset, DatasetDescription, Predictions, TensorSpec
from edgestill.stats import exact_paired_interval
from edgestill.verify.changes import changes, with_changes
from edgestill.verify.results import MOST_CLASSES, MOST_FLIPS, Changes, HopResult

Array = NDArray[Any]
NAMES = ("cat", "dog", "owl", "rat")


@pytest.fixture
def samples(place: Callable[[], Path]) -> Callable[..., Dataset]:
    """A split of these labels; the sample of row n has the id 0xf00 + n."""

    def make(
        labels: Array, names: tuple[str, ...] = NAMES, task: str = "classification"
    ) -> Dataset:
        folder = place()
        np.save(folder / "labels.npy", labels)
        np.save(folder / "ids.npy", np.arange(len(labels), dtype=np.uint64) + 0xF00)
        spec = TensorSpec("image", "uint8", (None, 8))
        return Dataset.seal(folder, DatasetDescription("test", len(labels), task, (spec,), names))

    return make


@pytest.fixture
def compared(
    samples: Callable[..., Dataset], predictions: Callable[..., Predictions]
) -> Callable[..., Changes | None]:
    """What changed between two models that answer these classes."""

    def compare(labels: Array, before: Array, after: Array, **options: Any) -> Changes | None:
        size = 1 + int(max(labels.max(), before.max(), after.max()))
        first, second = (
            predictions(logits=np.eye(size, dtype=np.float32)[given]) for given in (before, after)
        )
        return changes("teacher", first, second, samples(labels, **options), 0.95)

    return compare


def test_lost_and_won_samples_are_counted_and_the_lost_ones_named(
    compared: Callable[..., Changes | None],
) -> None:
    labels = np.repeat([0, 1, 2], 10)
    before, after = labels.copy(), labels.copy()
    before[4] = 3  # won
    after[[2, 11, 13]] = [1, 0, 3]  # lost
    before[20], after[20] = 0, 1  # wrong in both
    found = compared(labels, before, after)
    assert found is not None
    assert (found.reference, found.lost, found.won) == ("teacher", 3, 1)
    assert found.p_value == pytest.approx(0.625)  # 2 (1 + 4) / 2^4
    assert [(f.sample, f.id, f.label, f.before, f.after) for f in found.flips] == [
        (2, "0000000000000f02", "cat", "cat", "dog"),
        (11, "0000000000000f0b", "dog", "dog", "cat"),
        (13, "0000000000000f0d", "dog", "dog", "rat"),
    ]


def test_classes_come_worst_first_with_the_share_that_is_right(
    compared: Callable[..., Changes | None],
) -> None:
    labels = np.repeat([0, 1, 2], [100, 50, 4])
    after = labels.copy()
    after[100:105] = 0
    after[150:152] = 0
    found = compared(labels, labels, after)
    assert found is not None and found.class_count == 3
    shown = [(c.name, c.before, c.after, c.drop.value, c.drop.count) for c in found.classes]
    assert shown == [("owl", 1.0, 0.5, 0.5, 4), ("dog", 1.0, 0.9, 0.1, 50), ("cat", 1, 1, 0, 100)]
    owl, dog, cat = (c.drop.interval for c in found.classes)
    assert owl is not None and dog is not None and cat is not None
    # Two of four say little, and nothing of 100 does not say that there is nothing.
    assert owl.low < 0.0 and owl.high > 0.9
    # A third of the error for each of three classes.
    assert (dog.low, dog.high) == exact_paired_interval(5, 0, 50, 1 - 0.05 / 3)
    assert 0.03 < cat.high < 0.08
    assert owl.level == 0.95


def test_intervals_of_many_classes_hold_together(
    compared: Callable[..., Changes | None],
) -> None:
    """Of 50 classes in which nothing changed for the worse, none may seem to have dropped."""
    rng = np.random.default_rng(0)
    misled = 0
    for _ in range(20):
        labels = np.repeat(np.arange(50), 12)
        before, after = labels.copy(), labels.copy()
        before[rng.random(600) < 0.15] = 50
        after[rng.random(600) < 0.15] = 50
        found = compared(labels, before, after, names=())
        assert found is not None
        misled += any(c.drop.interval and c.drop.interval.low > 0 for c in found.classes)
    assert misled <= 1


def test_what_is_listed_is_bounded(compared: Callable[..., Changes | None]) -> None:
    labels = np.tile(np.arange(60), 2)
    found = compared(labels, labels, (labels + 1) % 60, names=())
    assert found is not None
    assert (found.lost, len(found.flips)) == (120, MOST_FLIPS)
    assert (found.class_count, len(found.classes)) == (60, MOST_CLASSES)
    assert found.flips[0].label == "0"  # without names, the numbers


def test_one_logit_and_samples_without_a_label(
    samples: Callable[..., Dataset], predictions: Callable[..., Predictions]
) -> None:
    labels = np.array([0, 1, 1, -100])
    first = predictions(logits=np.array([[-1.0], [1.0], [1.0], [1.0]]))
    second = predictions(logits=np.array([[-1.0], [1.0], [-1.0], [-1.0]]))
    found = changes("student", first, second, samples(labels), 0.95)
    assert found is not None and (found.lost, found.won, found.class_count) == (1, 0, 2)
    assert found.flips[0].after == "cat"


def test_labels_of_a_multi_label_task_are_compared_one_by_one(
    samples: Callable[..., Dataset], predictions: Callable[..., Predictions]
) -> None:
    labels = np.zeros((10, 3), np.float32)
    labels[:5, 1] = 1
    right = np.where(labels > 0, 1.0, -1.0)
    wrong = right.copy()
    wrong[:4, 1] = -1.0
    split = samples(labels, names=("red", "green", "blue"), task="multilabel")
    found = changes("teacher", predictions(logits=right), predictions(logits=wrong), split, 0.95)
    assert found is not None
    assert (found.lost, found.won, found.flips) == (4, 0, ())
    worst = found.classes[0]
    assert (worst.name, worst.before, worst.after, worst.drop.count) == ("green", 1.0, 0.6, 10)


@pytest.mark.parametrize(
    ("task", "labels", "shape"),
    [
        ("regression", np.zeros(6, np.float32), (6, 1)),
        ("classification", np.zeros((6, 4), int), (6, 3, 4)),  # positions
        ("classification", np.zeros(6, int), (6, 5)),  # other classes than the reference
        ("custom", np.zeros(6, np.float32), (6, 3)),
    ],
)
def test_where_no_answer_is_right_or_wrong_nothing_is_said(
    samples: Callable[..., Dataset],
    predictions: Callable[..., Predictions],
    task: str,
    labels: Array,
    shape: tuple[int, ...],
) -> None:
    reference = predictions(logits=np.zeros((6, 3) if len(shape) == 2 else shape))
    candidate = predictions(logits=np.zeros(shape))
    assert changes("teacher", reference, candidate, samples(labels, task=task), 0.95) is None


def test_hops_are_compared_with_their_parent_and_what_ships_with_the_teacher(
    samples: Callable[..., Dataset], answers: Callable[..., Predictions]
) -> None:
    labels = np.arange(400) % 4
    given = {"teacher": answers("test", 0), "student": answers("test", 8)}
    given["openvino int8"] = answers("test", 12)
    hops = [
        HopResult("teacher", None, 1.0, None, None, None),
        HopResult("student", "teacher", 0.98, None, None, None),
        HopResult("openvino int8", "student", 0.97, None, None, None),
    ]
    references = {name: given[name] for name in ("teacher", "student")}
    teacher, student, int8 = with_changes(
        hops, given, references, samples(labels), 0.95, shipped=["openvino int8"]
    )
    assert teacher.changes is None and teacher.overall is None and student.overall is None
    assert student.changes is not None and student.changes.lost == 8
    assert int8.changes is not None and int8.overall is not None
    assert (int8.changes.reference, int8.changes.lost) == ("student", 4)
    assert (int8.overall.reference, int8.overall.lost) == ("teacher", 12)
    # Without a teacher, accuracy is owed to the student.
    alone = with_changes(
        hops, given, {"student": given["student"]}, samples(labels), 0.95, shipped=["openvino int8"]
    )[2].overall
    assert alone is not None and (alone.reference, alone.lost) == ("student", 4)
