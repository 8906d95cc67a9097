"""The data section: shares of roles, and what a source stands on, without reading it."""

import subprocess
import sys

import pytest

from edgestill.data.config import (
    DataConfig,
    SplitConfig,
    shares,
    source_code,
    source_files,
    source_libraries,
)
from edgestill.errors import DataError


def shares_of(**split):
    return shares(DataConfig("sklearn.digits", SplitConfig(**split)))


def test_train_keeps_what_the_others_leave():
    expected = {"test": 0.2, "validation": 0.1, "calibration": 0.1, "train": 0.6}
    assert shares_of() == expected
    assert list(shares_of()) == list(expected), "train is cut last"


def test_test_takes_the_rest_where_train_is_given():
    assert shares_of(train=0.4)["test"] == 0.4
    assert shares_of(train=0.4, calibration=0.1, validation=0.1, test=0.4)["train"] == 0.4


def test_a_role_with_its_own_source_is_not_cut_from_train():
    config = DataConfig({"train": "a.npz", "test": "b.npz", "calibration": "c.npz"})
    assert shares(config) == {"validation": 0.1, "train": 0.9}


def test_shares_above_one():
    with pytest.raises(DataError, match=r"add up to more than 1: test 0.6, .*train 0.5"):
        shares_of(train=0.5, test=0.6)


def test_a_role_that_gets_nothing():
    with pytest.raises(
        DataError,
        match=r"calibration beside test 0.2, validation 0.1, train 0.7\. Every role needs",
    ):
        shares_of(calibration=0)
    with pytest.raises(DataError, match=r"nothing is left for train"):
        shares_of(test=0.8)
    with pytest.raises(
        DataError, match=r"for test beside validation 0.1, calibration 0.1, train 0.9"
    ):
        shares_of(train=0.9)


def test_a_share_for_a_role_with_its_own_source():
    config = DataConfig({"train": "a.npz", "test": "b.npz"}, SplitConfig(test=0.3))
    with pytest.raises(DataError, match=r"data.split.test: test has a source of its own"):
        shares(config)


def test_train_needs_a_source():
    with pytest.raises(DataError, match=r"no source for train \(there is for test\)"):
        shares(DataConfig({"test": "b.npz"}))


def test_files_of_a_folder_without_hidden_ones(tmp_path):
    for name in ("b/2.png", "a/1.png", ".git/x", "a/.hidden"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).touch()
    files = source_files(DataConfig("images"), tmp_path)
    assert [file.relative_to(tmp_path / "images").as_posix() for file in files] == [
        "a/1.png",
        "b/2.png",
    ]


def test_a_linked_folder_is_followed_and_a_circle_ends(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.png").touch()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "cat").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images" / "circle").symlink_to(tmp_path / "images")
    assert source_files(DataConfig("images"), tmp_path) == (tmp_path / "images" / "cat" / "1.png",)


def test_what_a_callable_stands_on(tmp_path):
    (tmp_path / "load.py").touch()
    (tmp_path / "words.txt").touch()
    config = DataConfig("load.py:train", files=("words.txt",))
    assert source_files(config, tmp_path) == (tmp_path / "words.txt",)
    assert source_code(config) == ("load.py:train",)
    assert source_libraries(config) == ()


def test_libraries_that_read_a_source():
    assert source_libraries(DataConfig("sklearn.digits")) == ("scikit-learn",)
    both = DataConfig({"train": "a.parquet", "test": "images"})
    assert source_libraries(both) == ("datasets", "pillow", "pyarrow")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("digitz.npz", r"there is no .*digitz.npz. Did you mean 'digits.npz'\?"),
        ("deep/x.npz", r"There is no folder .*deep either"),
        ("notes.jsonl", r"no reader for notes.jsonl. Known: sklearn.digits, .npz, .parquet"),
        ("sklearn.iris", r"no built-in source 'sklearn.iris'. Built in: sklearn.digits"),
        ("lod.py:x", r"data.source: there is no .*lod.py. Did you mean 'load.py'\?"),
        ("load.py:", r"'load.py:' is not a reference to a callable. Write file.py:callable"),
        ("folder.csv", r"folder.csv is a folder, not a file"),
    ],
)
def test_a_source_that_is_not_there(tmp_path, source, message):
    for name in ("digits.npz", "notes.jsonl", "load.py"):
        (tmp_path / name).touch()
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=message):
        source_files(DataConfig(source), tmp_path)


def test_a_declared_file_that_is_not_there(tmp_path):
    (tmp_path / "load.py").touch()
    with pytest.raises(DataError, match=r"data.files: there is no .*words.txt"):
        source_files(DataConfig("load.py:train", files=("words.txt",)), tmp_path)


def test_importing_the_section_loads_no_numpy_and_the_package_no_readers():
    code = (
        "import sys; import edgestill.data.config; assert 'numpy' not in sys.modules; "
        "import edgestill.data.stage; "
        "print({'torch', 'datasets', 'sklearn', 'PIL', 'pyarrow'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
