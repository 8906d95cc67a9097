"""Delimited text and parquet."""

from pathlib import Path

import numpy
import pytest

from edgestill.data.config import DataConfig, ImageConfig
from edgestill.data.sources import read
from edgestill.errors import DataError

SHARED = Path(__file__).parents[2].parent / "shared"
CIFAR = SHARED / "data" / "cifar10" / "test.parquet"


def read_text(folder, text, name="data.csv", **config):
    (folder / name).write_text(text)
    return read(name, DataConfig(name, **config), folder, folder / "work")


def test_numeric_columns_are_one_input(tmp_path):
    raw = read_text(tmp_path, "a,b,label\n1,2.5,cat\n3,4,dog\n\n")
    assert list(raw.inputs) == ["features"]
    assert raw.inputs["features"].tolist() == [[1, 2.5], [3, 4]]
    assert raw.inputs["features"].dtype == numpy.float32
    assert raw.labels.tolist() == ["cat", "dog"]


def test_named_columns_are_inputs_of_their_own(tmp_path):
    raw = read_text(tmp_path, "a,b,note,y\n1,2,hi,0\n3,4,ho,1\n", inputs=("b", "a"))
    assert {name: array.tolist() for name, array in raw.inputs.items()} == {
        "b": [[2], [4]],
        "a": [[1], [3]],
    }


@pytest.mark.parametrize(
    ("cells", "kind"), [("0 1 007", "i"), ("0 1 1.5", "f"), ("0 1 cat", "U"), ("-1 +2 3", "i")]
)
def test_labels_are_the_narrowest_kind_that_fits(tmp_path, cells, kind):
    lines = "\n".join(f"{index},{cell}" for index, cell in enumerate(cells.split()))
    assert read_text(tmp_path, f"a,label\n{lines}\n").labels.dtype.kind == kind


def test_tabs_and_byte_order_mark(tmp_path):
    raw = read_text(tmp_path, '\ufeffa\tlabel\n1\t"x\n2\ty\n', "data.tsv")
    assert raw.inputs["features"].tolist() == [[1], [2]]
    assert raw.labels.tolist() == ['"x', "y"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"the file is empty"),
        ("1,2,3\n4,5,6\n", r"first line holds numbers.*Add a header line"),
        ("a,a,label\n1,2,3\n", r"data.csv:1: two columns are named 'a'"),
        (",a,label\n1,2,3\n", r"data.csv:1: a column has no name"),
        ("a,label\n1,0\n2\n", r"data.csv:3: the line has 1 cells, the header 2"),
        (
            "a,label\n1,0\nhello there,1\n",
            r"column 'a' is text \(such as 'hello there'\).*Tokenise",
        ),
        ("a,label\n1,0\n,1\n", r"data.csv:3: column 'a' is empty. Fill in the value"),
        ("a,label\n1,0\nnan,1\n", r"data.csv:3: column 'a' is nan"),
        ("a,label\n1,\n", r"data.csv:2: the label is empty"),
        ("a,label\n", r"it has no samples"),
    ],
)
def test_tables_that_are_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_text(tmp_path, text)


def test_a_table_that_is_no_text(tmp_path):
    (tmp_path / "data.csv").write_bytes(b"a,label\n\xff\xfe,1\n")
    with pytest.raises(DataError, match=r"not a readable table \(UnicodeDecodeError"):
        read("data.csv", DataConfig("data.csv"), tmp_path, tmp_path)


def write_parquet(folder, columns):
    arrow = pytest.importorskip("pyarrow", reason="pip install 'edgestill[build]'")
    from pyarrow import parquet

    parquet.write_table(arrow.table(columns), folder / "data.parquet", row_group_size=2)


def read_parquet(folder, columns, **config):
    write_parquet(folder, columns)
    return read("data.parquet", DataConfig("data.parquet", **config), folder, folder / "work")


def test_parquet_columns_keep_their_types(tmp_path):
    raw = read_parquet(
        tmp_path, {"ids": [[1, 2], [3, 4], [5, 6]], "mass": [0.5, 1, 2], "label": ["x", "y", "x"]}
    )
    assert raw.inputs["ids"].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert (raw.inputs["ids"].dtype, raw.inputs["mass"].dtype) == ("int64", "float32")
    assert raw.labels.tolist() == ["x", "y", "x"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"x": [1, None, 3, 4], "label": [0, 1, 0, 1]}, r"column 'x' has no value in row 1"),
        ({"x": [1, 2, 3], "label": [0, 1, None]}, r"column 'label' has no value in row 2"),
        ({"x": ["ab", "c"], "label": [0, 1]}, r"x is text \(such as 'ab'\)"),
        ({"x": [[1], [2], [3, 4]], "label": [0, 1, 0]}, r"objects or rows of differing lengths"),
        ({"x": [[1], [2, 3]], "label": [0, 1]}, r"objects or rows of differing lengths"),
    ],
)
def test_parquet_columns_that_are_refused(tmp_path, columns, message):
    with pytest.raises(DataError, match=message):
        read_parquet(tmp_path, columns)


def test_a_file_that_is_no_parquet(tmp_path):
    (tmp_path / "data.parquet").write_text("hello")
    with pytest.raises(DataError, match=r"not a readable parquet file"):
        read("data.parquet", DataConfig("data.parquet"), tmp_path, tmp_path)


@pytest.fixture
def cifar(tmp_path):
    """The first 300 images of CIFAR-10's test set."""
    if not CIFAR.is_file():
        pytest.skip(f"needs CIFAR-10 as parquet at {CIFAR}")
    from pyarrow import parquet

    table = parquet.read_table(CIFAR).slice(0, 300)
    parquet.write_table(table, tmp_path / "cifar.parquet")
    return tmp_path


def test_images_of_hugging_face(cifar, monkeypatch):
    monkeypatch.setenv("HOME", str(cifar / "home"))
    raw = read("cifar.parquet", DataConfig("cifar.parquet"), cifar, cifar / "work")
    image = raw.inputs["image"]
    assert (image.shape, image.dtype) == ((300, 3, 32, 32), "uint8")
    assert raw.class_names[3] == "cat"
    assert set(raw.labels) == set(range(10))
    assert not (cifar / "home").exists()
    assert list((cifar / "work").iterdir()) == []


def test_images_agree_with_hugging_face_datasets(cifar):
    datasets = pytest.importorskip("datasets")
    peer = datasets.Dataset.from_parquet(
        str(cifar / "cifar.parquet"), cache_dir=str(cifar / "cache")
    )
    config = DataConfig("cifar.parquet", image=ImageConfig(layout="NHWC"))
    image = read("cifar.parquet", config, cifar, cifar / "work").inputs["image"]
    for row in (0, 150, 299):
        assert numpy.array_equal(image[row], numpy.asarray(peer[row]["image"]))


def test_broken_images_in_parquet_are_named_by_row(tmp_path):
    columns = {"image": [{"bytes": b"no image", "path": None}] * 3, "label": [0, 1, 0]}
    with pytest.raises(DataError, match=r"3 of 3 images cannot be read: image of row 0 \("):
        read_parquet(tmp_path, columns)
