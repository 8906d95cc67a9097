"""Arrays from `.npz` files and from users' functions, and what is refused of them."""

import textwrap

import numpy
import pytest

from edgestill.data.config import DataConfig
from edgestill.data.sources import read
from edgestill.errors import DataError

IMAGES = numpy.arange(24, dtype=numpy.uint8).reshape(6, 4)
LABELS = numpy.array([0, 1, 0, 1, 0, 1])


def read_npz(folder, config=None, **arrays):
    numpy.savez(folder / "data.npz", **arrays)
    return read("data.npz", config or DataConfig("data.npz"), folder, folder / "work")


def read_code(folder, body, config=None):
    code = "import numpy\n\ndef data():\n" + textwrap.indent(textwrap.dedent(body), "    ")
    (folder / "load.py").write_text(code)
    source = "load.py:data"
    return read(source, config or DataConfig(source), folder, folder / "work")


def test_digits(tmp_path):
    raw = read("sklearn.digits", DataConfig("sklearn.digits"), tmp_path, tmp_path)
    image = raw.inputs["image"]
    assert (image.shape, image.dtype, int(image.max())) == ((1797, 1, 8, 8), "uint8", 16)
    assert raw.class_names == tuple("0123456789")
    assert numpy.bincount(raw.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@pytest.mark.parametrize("label", ["label", "labels", "y"])
def test_npz_arrays_by_name_and_its_labels(tmp_path, label):
    raw = read_npz(tmp_path, x=IMAGES, **{label: LABELS})
    assert list(raw.inputs) == ["x"]
    assert raw.inputs["x"].tolist() == IMAGES.tolist()
    assert raw.labels.tolist() == LABELS.tolist()


def test_chosen_inputs_come_in_the_order_of_the_recipe(tmp_path):
    config = DataConfig("data.npz", inputs=("b", "a"), labels="target")
    raw = read_npz(tmp_path, config, a=IMAGES, b=IMAGES, c=IMAGES, target=LABELS)
    assert list(raw.inputs) == ["b", "a"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("float64", "float32"),
        ("float16", "float16"),
        ("uint16", "int32"),
        ("uint32", "int64"),
        ("uint64", "int64"),
        (">i4", "int32"),
        ("bool", "bool"),
        ("int8", "int8"),
    ],
)
def test_types_that_models_take(tmp_path, given, kept):
    raw = read_npz(tmp_path, x=(IMAGES % 2).astype(given), y=LABELS)
    assert raw.inputs["x"].dtype == kept
    assert raw.inputs["x"].astype(int).tolist() == (IMAGES % 2).tolist()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": IMAGES, "y": LABELS[:5]}, r"same number of samples: x has 6, labels has 5"),
        ({"x": IMAGES[:0], "y": LABELS[:0]}, r"it has no samples"),
        ({"x": IMAGES.astype(complex), "y": LABELS}, r"x is complex128, which no model takes"),
        ({"x": IMAGES.astype("M8[s]"), "y": LABELS}, r"x is datetime64\[s\], which no model"),
        ({"x": numpy.array(["a b"] * 6), "y": LABELS}, r"x is text \(such as 'a b'\).*Tokenise"),
        ({"label": LABELS}, r"there is nothing but labels"),
        ({"x": IMAGES, "y": LABELS, "label": LABELS}, r"several could be the labels: label, y"),
        ({"x": numpy.float32(1), "y": LABELS}, r"x has the shape \[\]: no samples"),
        ({"in/put": IMAGES, "y": LABELS}, r"'in/put' cannot be the name of a model's input"),
        ({"x": numpy.full(6, 2**64 - 1), "y": LABELS}, r"x has values beyond int64"),
    ],
)
def test_arrays_that_are_refused(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        read_npz(tmp_path, **arrays)


def test_nan_and_inf_are_counted_and_the_first_named(tmp_path):
    values = IMAGES.astype(numpy.float32)
    values[2, 1], values[2, 3], values[4, 0] = numpy.nan, numpy.inf, -numpy.inf
    with pytest.raises(DataError, match=r"x has NaN or Inf in 2 samples, the first is sample 2\. "):
        read_npz(tmp_path, x=values, y=LABELS)
    labels = LABELS.astype(float)
    labels[5] = numpy.nan
    with pytest.raises(
        DataError, match=r"labels has NaN or Inf in 1 sample, the first is sample 5"
    ):
        read_npz(tmp_path, x=IMAGES, y=labels)
    with pytest.raises(DataError, match=r"x has NaN or Inf as float32 in 6 samples"):
        read_npz(tmp_path, x=numpy.full((6, 1), 1e300), y=LABELS)


def test_names_that_the_file_lacks(tmp_path):
    with pytest.raises(DataError, match=r"no column or array 'imag'. Did you mean 'image'\?"):
        read_npz(tmp_path, DataConfig("data.npz", inputs=("imag",)), image=IMAGES, y=LABELS)
    with pytest.raises(DataError, match=r"no column or array 'target'. There are: image, y"):
        read_npz(tmp_path, DataConfig("data.npz", labels="target"), image=IMAGES, y=LABELS)
    with pytest.raises(DataError, match=r"'y' is among data.inputs and the labels too"):
        read_npz(tmp_path, DataConfig("data.npz", inputs=("y",), labels="y"), x=IMAGES, y=LABELS)


def test_objects_are_not_unpickled(tmp_path):
    with pytest.raises(DataError, match=r"holds objects, which only unpickling could load"):
        read_npz(tmp_path, x=numpy.array([[1], [2, 3]], dtype=object), y=LABELS)


def test_a_file_that_is_no_archive(tmp_path):
    (tmp_path / "data.npz").write_text("hello")
    with pytest.raises(DataError, match=r"data.npz: not a readable .npz file"):
        read("data.npz", DataConfig("data.npz"), tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        ("return numpy.zeros((3, 2)), [0, 1, 0]", ["input"]),
        ("return {'a': numpy.zeros(3), 'b': numpy.ones(3)}, numpy.zeros(3)", ["a", "b"]),
        ("return {'image': numpy.zeros(3), 'labels': [0, 1, 0]}", ["image"]),
        ("return {'inputs': {'a': [1, 2, 3]}, 'labels': [0, 1, 0]}", ["a"]),
        (
            "from types import SimpleNamespace\n"
            "return SimpleNamespace(inputs=[[1], [2], [3]], labels=[0, 1, 0])",
            ["input"],
        ),
    ],
)
def test_what_a_function_may_return(tmp_path, body, inputs):
    raw = read_code(tmp_path, body)
    assert list(raw.inputs) == inputs
    assert len(raw.labels) == 3


def test_class_names_of_a_function(tmp_path):
    raw = read_code(tmp_path, "return {'x': [1, 2], 'labels': [0, 1], 'class_names': ['a', 'b']}")
    assert raw.class_names == ("a", "b")


def test_tensors_are_taken(tmp_path):
    body = "import torch\nreturn torch.ones(2, 3, requires_grad=True), torch.tensor([0, 1])"
    raw = read_code(tmp_path, body)
    assert raw.inputs["input"].dtype == numpy.float32
    assert raw.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [[1], [2, 3]], [0, 1]", r"input holds objects or rows of differing .*Pad or cut"),
        ("return 5", r"it returned a int. Return \(inputs, labels\), a dict with labels"),
        ("return 1 / 0", r"load.py:data \(load.py:4\): data\(\) raised ZeroDivisionError"),
        ("return {}, [1]", r"there are no inputs"),
        ("return [1, 2], 3", r"labels is a single value"),
        (
            "import torch\nreturn torch.ones(2, dtype=torch.bfloat16), [0, 1]",
            r"input: .*BFloat16.*Convert it to a type that numpy has",
        ),
    ],
)
def test_functions_that_go_wrong(tmp_path, body, message):
    with pytest.raises(DataError, match=message):
        read_code(tmp_path, body)


def test_an_input_that_the_function_does_not_give(tmp_path):
    config = DataConfig("load.py:data", inputs=("imag",))
    with pytest.raises(DataError, match=r"it gives no input 'imag'. Did you mean 'image'\?"):
        read_code(tmp_path, "return {'image': numpy.zeros(2)}, [0, 1]", config)


@pytest.mark.parametrize("name", ["a.csv", "a.npz", "a.parquet"])
def test_a_file_that_git_lfs_did_not_fetch(tmp_path, name):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n")
    with pytest.raises(DataError) as error:
        read(name, DataConfig(name), tmp_path, tmp_path)
    assert str(error.value) == (
        f"{tmp_path / name}: a pointer of Git LFS, not the file itself. Fetch the file: "
        "git lfs pull"
    )
