"""The data section: shares of roles, and what a source stands on, without reading it."""

import subprocess
import sys

import pytest

from edgestill.data.config import (
    DataConfig,
    SplitConfig,
    origins,
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


def test_a_folder_of_images_is_one_file_of_the_key(tmp_path):
    (tmp_path / "images" / "cat").mkdir(parents=True)
    (tmp_path / "images" / "cat" / "1.png").touch()
    assert source_files(DataConfig("images"), tmp_path) == (tmp_path / "images",)


def test_the_tables_of_a_glob_are_files_of_the_key_one_by_one(tmp_path):
    for name in ("b.csv", "a.csv", "c.tsv"):
        (tmp_path / name).touch()
    assert source_files(DataConfig("*.csv"), tmp_path) == (tmp_path / "a.csv", tmp_path / "b.csv")


def test_what_a_callable_stands_on(tmp_path):
    (tmp_path / "load.py").touch()
    (tmp_path / "words").mkdir()
    config = DataConfig({"train": "load.py:train", "test": "load.py:train"}, files=("words",))
    assert source_files(config, tmp_path) == (tmp_path / "words",)
    assert source_code(config, tmp_path) == ("load.py:train",)
    assert source_libraries(config, tmp_path) == ()


def test_libraries_that_read_a_source(tmp_path):
    assert source_libraries(DataConfig("sklearn.digits"), tmp_path) == ("scikit-learn",)
    for name in ("shards/a.parquet", "images/cat/1.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    both = DataConfig({"train": "shards", "test": "images"})
    assert source_libraries(both, tmp_path) == ("datasets", "pillow", "pyarrow")
    assert source_libraries(DataConfig("images"), tmp_path) == ("pillow",)


def test_roles_that_have_to_be_apart_share_no_file(tmp_path):
    for name in ("train-0.csv", "train-1.csv", "test-0.csv"):
        (tmp_path / name).touch()
    (tmp_path / "held.csv").symlink_to(tmp_path / "test-0.csv")
    for test in ("test-0.csv", "held.csv"):
        with pytest.raises(
            DataError,
            match=r"data.source: test-0.csv is in the source of train and in that of test. Name "
            rf"apart what each role takes: t\*.csv and {test} overlap",
        ):
            origins(DataConfig({"train": "t*.csv", "test": test}), tmp_path)


@pytest.mark.parametrize(
    "source",
    [
        {"train": "train-*.csv", "calibration": "train-0.csv", "test": "test-*.csv"},
        {"train": "train-*.csv", "validation": "train-?.csv"},
    ],
    ids=["the ranges may come from what trains", "the same files twice are meant"],
)
def test_roles_that_may_share_files(tmp_path, source):
    for name in ("train-0.csv", "train-1.csv", "test-0.csv"):
        (tmp_path / name).touch()
    assert origins(DataConfig(source), tmp_path).keys() == source.keys()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("digitz.npz", r"there is no .*digitz.npz. Did you mean 'digits.npz'\?"),
        ("deep/x.npz", r"There is no folder .*deep either"),
        ("notes.jsonl", r"no reader for notes.jsonl. Known: sklearn.digits, .npz, .parquet"),
        ("sklearn.iris", r"no built-in source 'sklearn.iris'. Built in: sklearn.digits"),
        ("lod.py:x", r"data.source: there is no .*lod.py. Did you mean 'load.py'\?"),
        ("load.py:", r"'load.py:' is not a reference to a callable. Write file.py:callable"),
        ("", r"data.source: it is empty. Name a source: sklearn.digits, .npz, .parquet"),
        ("x" * 300, r"x{300}: cannot be read: File name too long"),
    ],
)
def test_a_source_that_is_not_there(tmp_path, source, message):
    for name in ("digits.npz", "notes.jsonl", "load.py"):
        (tmp_path / name).touch()
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
