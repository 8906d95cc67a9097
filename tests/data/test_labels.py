"""Labels become what the task needs, or an error that names the task to set."""

from dataclasses import replace

import numpy
import pytest

from edgestill.data.labels import encode_labels
from edgestill.data.raw import RawData
from edgestill.errors import DataError


def source(labels, class_names=(), where="train.npz"):
    array = None if labels is None else numpy.array(labels)
    count = 1 if array is None else len(array)
    return RawData({"x": numpy.zeros(count)}, array, tuple(class_names), where)


def encode(task, *labels, class_names=()):
    return encode_labels([source(item, class_names) for item in labels], task)


def test_names_become_numbers_in_one_order_over_all_sources():
    (train, test), names = encode("classification", ["dog", "ant"], ["cat", "dog"])
    assert names == ("ant", "cat", "dog")
    assert train.tolist() == [2, 0]
    assert test.tolist() == [1, 2]
    assert train.dtype == numpy.int64


def test_names_of_classes_that_a_source_declares():
    parts = [source([1, 0], ["cat", "ant"]), source(["ant", "cat"], where="test.csv")]
    (train, test), names = encode_labels(parts, "classification")
    assert names == ("cat", "ant")
    assert test.tolist() == train.tolist() == [1, 0]


@pytest.mark.parametrize("labels", [[0, 2, -100], [0.0, 2.0, -100.0], [[0], [2], [-100]]])
def test_numbers_are_kept_and_counted_from_zero(labels):
    (encoded,), names = encode("classification", labels)
    assert encoded.tolist() == [0, 2, -100]
    assert names == ("0", "1", "2")


def test_yes_and_no_are_two_classes():
    (encoded,), names = encode("classification", [True, False])
    assert encoded.tolist() == [1, 0]
    assert names == ("0", "1")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([[0, 2, -100], [1, 1, 0]], [[0, 2, -100], [1, 1, 0]]),
        ([["b", "a"], ["c", "c"]], [[1, 0], [2, 2]]),
        (numpy.eye(3)[None, None], numpy.eye(3)[None].tolist()),
    ],
    ids=["tokens", "names of tokens", "a mask with a channel"],
)
def test_each_position_of_a_sample_may_have_a_label(labels, expected):
    (encoded,), _ = encode("classification", labels)
    assert encoded.dtype == numpy.int64
    assert encoded.tolist() == expected


def test_many_classes_are_no_mistake_where_as_many_positions_are_labelled():
    _, names = encode("classification", [numpy.arange(2000), numpy.arange(2000)])
    assert len(names) == 2000


def test_names_that_are_no_text_stay_apart():
    _, names = encode("classification", [b"\xe9", b"\xe8", b"a"])
    assert names == ("\\xe8", "\\xe9", "a")


def test_columns_of_zero_and_one():
    (encoded,), names = encode("multilabel", [[0, 1], [1, 1]])
    assert encoded.dtype == numpy.float32
    assert encoded.tolist() == [[0, 1], [1, 1]]
    assert names == ("0", "1")


def test_numbers_of_a_regression():
    (encoded,), names = encode("regression", [[1, 2], [3, 4]])
    assert encoded.dtype == numpy.float32
    assert names == ()


def test_custom_takes_any_numbers_or_none():
    (encoded,), _ = encode("custom", [[[1]], [[-5]]])
    assert encoded.tolist() == [[[1]], [[-5]]]
    assert encode("custom", ["b", "a"])[1] == ("a", "b")


@pytest.mark.parametrize(
    ("task", "labels", "message"),
    [
        ("classification", [0.5, 1], r"no classes but numbers such as 0.5. Set task: regression"),
        ("classification", [0, -1], r"label -1 of sample 1 is negative. Number .*\(-100 means"),
        ("classification", [[0, 1], [1, -1]], r"label -1 of sample 1 is negative"),
        ("classification", [0, 5000], r"largest label is 5000, which makes 5001 classes for 2 la"),
        ("classification", [0, 1e30], r"label 1e\+30 is too large to number a class. Number .*reg"),
        ("classification", [0.0, -1e30], r"label -1e\+30 is too large to number a class"),
        ("classification", numpy.array([2**63 + 9], "u8"), r"label 9.22337e\+18 is too large to n"),
        ("multilabel", [0, 1], r"labels are int64 \[2\]; multilabel needs a column"),
        ("multilabel", [[0, 2]], r"labels are int64 \[1, 2\]; multilabel needs .* task: classif"),
        ("multilabel", ["a", "b"], r"text, such as 'a'; the task is multilabel. Set task: clas"),
        ("regression", ["a", "b"], r"text, such as 'a'; the task is regression. Set task: clas"),
        ("regression", [1e300], r"labels are too large for float32. Scale them"),
        ("regression", [1j], r"labels are complex128, not numbers"),
        ("classification", [1j], r"labels are complex128, not numbers or names"),
        ("custom", [1j], r"labels are complex128, not numbers"),
    ],
)
def test_labels_that_do_not_fit_the_task(task, labels, message):
    with pytest.raises(DataError, match=message) as error:
        encode(task, labels)
    assert str(error.value).startswith("train.npz: ")


def test_a_label_beyond_the_class_names():
    with pytest.raises(
        DataError, match=r"label 2 of sample 1 is beyond the 2 classes, numbered 0 "
    ):
        encode("classification", [0, 2], class_names=["a", "b"])


def test_positions_that_are_wrong_are_named_by_their_sample():
    with pytest.raises(DataError, match=r"label 'cot' of sample 1 is none of"):
        encode("classification", [["a", "a"], ["a", "cot"]], class_names=["a"])
    with pytest.raises(DataError, match=r"label 2 of sample 1 is beyond the 2 classes"):
        encode("classification", [[0, 0], [0, 2]], class_names=["a", "b"])


def test_a_name_that_is_no_class():
    with pytest.raises(DataError, match=r"label 'cot' of sample 1 is none .*Did you mean 'cat'\?"):
        encode("classification", ["cat", "cot"], class_names=["cat", "ant"])


def test_sources_that_contradict_each_other():
    parts = [source([0], ["a", "b"]), source([0], ["b", "a"], "test.npz")]
    with pytest.raises(DataError, match=r"train.npz names the classes a, b .*, test.npz names"):
        encode_labels(parts, "classification")
    parts = [source(["a"]), source([0], where="test.npz")]
    with pytest.raises(DataError, match=r"train.npz has names as labels, test.npz has numbers"):
        encode_labels(parts, "classification")
    with pytest.raises(DataError, match=r"the sources have 1 and 2 columns of labels"):
        encode("multilabel", [[0]], [[0, 1]])
    with pytest.raises(DataError, match=r"two classes are named 'a'"):
        encode("classification", [0], class_names=["a", "a"])


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        ("classification", ["b", "a"]),
        ("classification", [1, 0]),
        ("multilabel", [[0, 1], [1, 1]]),
        ("regression", [0.5, 1]),
        ("custom", [[[1]], [[-5]]]),
    ],
)
def test_a_source_without_labels_leaves_those_of_the_others_as_they_are(task, labels):
    (none, encoded), names = encode(task, None, labels)
    (alone,), own = encode(task, labels)
    assert none is None
    assert encoded.tolist() == alone.tolist()
    assert names == own


@pytest.mark.parametrize("labels", [["a", "b", "a"], [0, 1, 0]])
def test_samples_without_a_label_get_the_ignored_one(labels):
    part = replace(source(labels), unlabelled=numpy.array([False, False, True]))
    (encoded,), names = encode_labels([part], "classification")
    assert encoded.tolist() == [0, 1, -100]
    assert len(names) == 2


def test_a_source_of_ignored_labels_alone_has_none():
    (none, _), names = encode("classification", [-100, -100], [0, 1])
    assert none is None
    assert names == ("0", "1")


@pytest.mark.parametrize("task", ["multilabel", "regression", "custom"])
def test_only_classes_may_have_gaps(task):
    part = replace(source([1, 2, 3]), unlabelled=numpy.array([False, False, True]))
    with pytest.raises(DataError) as error:
        encode_labels([part], task)
    assert str(error.value) == (
        f"train.npz: sample 2 has no label, and of {task} all have to have one, or none. Fill it "
        "in, or give train a source of its own, without labels"
    )
