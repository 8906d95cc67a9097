"""Delimited text and parquet."""

import sys
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
    ("cells", "kind"),
    [
        ("0 1 007", "i"),
        ("0 1 1.5", "f"),
        ("0 1 cat", "U"),
        ("-1 +2 3", "i"),
        ("NA US none", "U"),
        (f"0 1 {10**30}", "f"),
    ],
)
def test_labels_are_the_narrowest_kind_that_fits(tmp_path, cells, kind):
    lines = "\n".join(f"{index},{cell}" for index, cell in enumerate(cells.split()))
    assert read_text(tmp_path, f"a,label\n{lines}\n").labels.dtype.kind == kind


def test_tabs_and_byte_order_mark(tmp_path):
    raw = read_text(tmp_path, '\ufeffa\tlabel\n1\t"x\n2\ty\n', "data.tsv")
    assert raw.inputs["features"].tolist() == [[1], [2]]
    assert raw.labels.tolist() == ['"x', "y"]


def test_blanks_around_names_and_numbers_do_not_count(tmp_path):
    raw = read_text(tmp_path, "a, b, label\n1, 2, x\n3 , 4, y\n")
    assert raw.inputs["features"].tolist() == [[1, 2], [3, 4]]
    assert raw.labels.tolist() == ["x", "y"]


def test_commas_in_a_table_of_tabs(tmp_path):
    with pytest.raises(DataError, match=r"separated by commas, not by a tab"):
        read_text(tmp_path, "a,label\n1,0\n", "data.tsv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"the file is empty"),
        ("1,2,3\n4,5,6\n", r"first line holds numbers.*Add a header line"),
        ("a,a,label\n1,2,3\n", r"data.csv:1: two columns are named 'a'"),
        (
            ",a,label\n1,2,3\n",
            r"data.csv:1: a column has no name. Give every column a name of its own, or leave the "
            r"row numbers of pandas out: to_csv\(index=False\)$",
        ),
        ("a,label,\n1,2,\n", r"a column has no name. Give every column a name of its own$"),
        (
            "a;b;label\n1,5;2;0\n",
            r"data.csv:1: its columns seem to be separated by semicolons, not by a comma. Save it "
            r"as .csv with commas, or as .tsv with tabs$",
        ),
        ("a,label\n1,0\n2\n", r"data.csv:3: the line has 1 cells, the header 2"),
        (
            "a,label\n1,0\nhello there,1\n",
            r"column 'a' is text \(such as 'hello there'\).*Tokenise",
        ),
        ("a,label\n1,0\n,1\n", r"data.csv:3: column 'a' is empty. Fill in the value"),
        ("a,label\n1,0\nnan,1\n", r"data.csv:3: column 'a' is nan"),
        ("a,label\n1,0\n1e39,1\n", r"data.csv:3: column 'a' is 1e39, too large for float32. Scale"),
        ("a,label\n", r"it has no samples"),
        (
            "a,label\n1,0\n2,NA\n3,1\n",
            r"data.csv: label 'NA' of sample 1 is no number, unlike others. Leave the cell empty "
            r"where a sample has no label$",
        ),
        ("a,label\n1,0.5\n2,nan\n", r"label 'nan' of sample 1 is no number, unlike others"),
    ],
)
def test_tables_that_are_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_text(tmp_path, text)


def test_a_table_that_is_no_text(tmp_path):
    (tmp_path / "data.csv").write_bytes(b"a,label\n\xff\xfe,1\n")
    with pytest.raises(DataError, match=r"not a text in UTF-8 \(UnicodeDec.*Save it in UTF-8$"):
        read("data.csv", DataConfig("data.csv"), tmp_path, tmp_path)


def read_shards(folder, *texts, **config):
    for number, text in enumerate(texts):
        (folder / f"part-{number}.csv").write_text(text)
    return read("part-*.csv", DataConfig("part-*.csv", **config), folder, folder / "work")


def test_several_files_are_read_as_one(tmp_path):
    raw = read_shards(tmp_path, "a,b,label\n1,2,0\n", "a,b,label\n", "label,b,a\n1.5,4,3\n")
    assert raw.inputs["features"].tolist() == [[1, 2], [3, 4]]
    assert raw.labels.tolist() == [0, 1.5], "their kind is that of all of them"
    assert raw.where == str(tmp_path / "part-*.csv")


def test_a_folder_of_files_and_what_else_lies_there(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("b.tsv", "a.tsv", ".c.tsv"):
        (tmp_path / "data" / name).write_text(f"x\tlabel\n{ord(name[0])}\t{name}\n")
    (tmp_path / "data" / "README.md").touch()
    (tmp_path / "data" / "Thumbs.db").touch()
    raw = read("data", DataConfig("data"), tmp_path, tmp_path)
    assert raw.labels.tolist() == ["a.tsv", "b.tsv"]
    assert raw.notes == (f"{tmp_path}/data: 1 file left out, no tables by ending: README.md",)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("a,label\n1,0\n", "label\n0\n"), r"part-1.csv: it has no column 'a', unlike .*part-0"),
        (("a,y\n1,0\n", "a,b,y\n1,2,0\n"), r"part-1.csv: it has a column 'b' more, unlike .*t-0"),
        (("a,label\n1,0\n", "3,4\n"), r"part-1.csv: the first line holds numbers"),
        (("a,label\n1,0\n", ""), r"part-1.csv: the file is empty"),
        (("a,label\n1,0\n", "a,label\n1,0\nx,1\n"), r"part-1.csv:3: column 'a' is text"),
        (("a,label\n", "a,label\n"), r"part-\*.csv: it has no samples"),
    ],
)
def test_files_that_do_not_go_together(tmp_path, texts, message):
    with pytest.raises(DataError, match=message):
        read_shards(tmp_path, *texts)


def test_a_file_that_vanishes_before_it_is_read(tmp_path):
    gone = tmp_path / "part-1.csv"
    first = str(tmp_path / "part-0.csv")

    def remove(event, arguments):
        if event == "open" and arguments[0] == first and arguments[1] == "r":
            gone.unlink(missing_ok=True)

    sys.addaudithook(remove)
    with pytest.raises(DataError, match=r"part-1.csv: no such file or folder"):
        read_shards(tmp_path, "a,label\n1,0\n", "a,label\n1,0\n")


def write_parquet(folder, columns, name="data.parquet"):
    arrow = pytest.importorskip("pyarrow", reason="pip install 'edgestill[build]'")
    from pyarrow import parquet

    parquet.write_table(arrow.table(columns), folder / name, row_group_size=2)


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
        ({"x": [1] * 1500 + [None], "label": [0] * 1501}, r"column 'x' has no value in row 1500"),
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
    with pytest.raises(DataError, match=r"data.parquet: not a readable parquet file"):
        read("data.parquet", DataConfig("data.parquet"), tmp_path, tmp_path)


def test_a_parquet_file_that_is_damaged_inside(tmp_path):
    write_parquet(tmp_path, {"x": list(range(1000)), "label": [0, 1] * 500})
    whole = (tmp_path / "data.parquet").read_bytes()
    (tmp_path / "data.parquet").write_bytes(whole[:4] + b"\xff" * 2000 + whole[2004:])
    with pytest.raises(DataError, match=r"data.parquet: not a readable parquet file \("):
        read("data.parquet", DataConfig("data.parquet"), tmp_path, tmp_path)


def read_parquets(folder, *columns, **config):
    for number, some in enumerate(columns):
        write_parquet(folder, some, f"part-{number}.parquet")
    config = DataConfig("part-*.parquet", **config)
    return read("part-*.parquet", config, folder, folder / "work")


def test_several_parquet_files_are_read_as_one(tmp_path):
    raw = read_parquets(
        tmp_path,
        {"ids": [[1, 2], [3, 4]], "mass": [0.5, 1.0], "label": ["x", "long"]},
        {"label": ["y"], "ids": [[5, 6]], "mass": [2.0]},
    )
    assert raw.inputs["ids"].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert raw.inputs["mass"].tolist() == [0.5, 1, 2]
    assert raw.labels.tolist() == ["x", "long", "y"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"x": [1.5], "label": [0]},
            r"part-1.parquet: column 'x' is .*float64.*, and .*int64.* in ",
        ),
        ({"x": [1], "label": ["a"]}, r"part-1.parquet: column 'label' is .*string.*, and .*int64"),
        ({"x": [1]}, r"part-1.parquet: it has no column 'label', unlike .*part-0.parquet"),
        ({"x": [1, None], "label": [0, 1]}, r"part-1.parquet: column 'x' has no value in row 1"),
    ],
)
def test_parquet_files_that_do_not_go_together(tmp_path, columns, message):
    with pytest.raises(DataError, match=message):
        read_parquets(tmp_path, {"x": [1, 2, 3], "label": [0, 1, 0]}, columns)


def test_columns_that_are_not_used_may_differ_in_type(tmp_path):
    shards = ({"x": [1], "id": [7], "y": [0]}, {"x": [2], "id": ["seven"], "y": [1]})
    assert read_parquets(tmp_path, *shards, inputs=("x",)).inputs["x"].tolist() == [1, 2]


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


def test_shards_of_images_are_read_as_one(cifar):
    from pyarrow import parquet

    table = parquet.read_table(cifar / "cifar.parquet")
    for number, start in enumerate((0, 100, 290)):
        some = table.slice(start, (100, 190, 10)[number])
        parquet.write_table(some, cifar / f"test-{number:05}-of-00003.parquet")
    one = read("cifar.parquet", DataConfig("cifar.parquet"), cifar, cifar / "work")
    three = read("test-*.parquet", DataConfig("test-*.parquet"), cifar, cifar / "work")
    assert numpy.array_equal(three.inputs["image"], one.inputs["image"])
    assert numpy.array_equal(three.labels, one.labels)
    assert three.class_names == one.class_names


def test_classes_that_differ_between_shards(tmp_path):
    datasets = pytest.importorskip("datasets", reason="pip install 'edgestill[build]'")
    for number, names in enumerate((["cat", "dog"], ["dog", "cat"])):
        features = datasets.Features(
            {"x": datasets.Value("int64"), "label": datasets.ClassLabel(names=names)}
        )
        shard = datasets.Dataset.from_dict({"x": [1], "label": [0]}, features)
        shard.to_parquet(tmp_path / f"{number}.parquet")
    with pytest.raises(
        DataError,
        match=r"1.parquet: column 'label' is ClassLabel\(names=\['dog', 'cat'\]\), and "
        r"ClassLabel\(names=\['cat', 'dog'\]\) in the first file \(.*0.parquet\). Give every file",
    ):
        read("*.parquet", DataConfig("*.parquet"), tmp_path, tmp_path)


def test_sequences_of_classes_keep_the_names(tmp_path):
    datasets = pytest.importorskip("datasets", reason="pip install 'edgestill[build]'")
    tags = datasets.Sequence(datasets.ClassLabel(names=["O", "PER"]))
    features = datasets.Features({"ids": datasets.Sequence(datasets.Value("int64")), "label": tags})
    held = {"ids": [[4, 5], [6, 7]], "label": [[0, 1], [1, 0]]}
    datasets.Dataset.from_dict(held, features).to_parquet(tmp_path / "a.parquet")
    raw = read("a.parquet", DataConfig("a.parquet"), tmp_path, tmp_path)
    assert raw.class_names == ("O", "PER")
    assert raw.labels.tolist() == [[0, 1], [1, 0]]


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


def test_broken_images_in_shards_are_named_by_file_and_row(tmp_path):
    broken = {"image": [{"bytes": b"no image", "path": None}], "label": [0]}
    with pytest.raises(
        DataError,
        match=r"2 of 2 images .*: image of row 0 in .*part-0.parquet \(.* row 0 in .*part-1",
    ):
        read_parquets(tmp_path, broken, broken)


@pytest.mark.parametrize(
    ("cells", "labels"),
    [(["3", "", "4"], [3, 4]), (["", "x", "y"], ["x", "y"]), ([" ", "0.5", ""], [0.5])],
)
def test_lines_whose_label_is_empty_have_none(tmp_path, cells, labels):
    lines = "".join(f"1,{cell}\n" for cell in cells)
    raw = read_text(tmp_path, f"a,label\n{lines}")
    assert raw.unlabelled.tolist() == [not cell.strip() for cell in cells]
    assert raw.labels[~raw.unlabelled].tolist() == labels


def test_a_column_of_empty_labels_is_no_labels(tmp_path):
    raw = read_text(tmp_path, "a,label\n1,\n2,\n")
    assert (raw.labels, raw.unlabelled) == (None, None)
    raw = read_parquet(tmp_path, {"x": [1, 2], "label": [None, None]})
    assert (raw.labels, raw.unlabelled) == (None, None)


@pytest.mark.parametrize("labels", [[None, 1, 0, None, 2], ["a", None, None, "b", "a"]])
def test_rows_whose_label_is_null_have_none(tmp_path, labels):
    raw = read_parquet(tmp_path, {"x": [1, 2, 3, 4, 5], "label": labels})
    assert raw.unlabelled.tolist() == [label is None for label in labels]
    assert raw.labels[~raw.unlabelled].tolist() == [label for label in labels if label is not None]


@pytest.mark.parametrize("name", ["data.csv", "data.parquet", "data.npz", "data.py:load"])
def test_a_label_that_only_other_sources_have(tmp_path, name):
    (tmp_path / "data.csv").write_text("x\n1\n2\n")
    write_parquet(tmp_path, {"x": [1, 2]})
    numpy.savez(tmp_path / "data.npz", x=numpy.ones(2))
    (tmp_path / "data.py").write_text("def load(): return {'x': [1, 2]}\n")
    config = DataConfig(name, labels="digit")
    assert read(name, config, tmp_path, tmp_path / "work", optional=True).labels is None
    with pytest.raises(DataError, match=r"there is no column or array 'digit'. There are: x"):
        read(name, config, tmp_path, tmp_path / "work")


def test_a_column_of_encoded_bytes_alone_is_images_too(tmp_path):
    from io import BytesIO

    import pyarrow
    import pyarrow.parquet
    from PIL import Image

    encoded = []
    for shade in (10, 200):
        file = BytesIO()
        Image.new("RGB", (4, 3), (shade, 0, 0)).save(file, "PNG")
        encoded.append(file.getvalue())
    table = pyarrow.table({"image": pyarrow.array(encoded, pyarrow.binary()), "label": [0, 1]})
    pyarrow.parquet.write_table(table, tmp_path / "raw.parquet")
    config = DataConfig(str(tmp_path / "raw.parquet"))
    raw = read(str(tmp_path / "raw.parquet"), config, tmp_path, tmp_path)
    assert raw.inputs["image"].shape == (2, 3, 3, 4)
    assert raw.inputs["image"][:, 0, 0, 0].tolist() == [10, 200]
