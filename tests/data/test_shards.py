"""Which files a glob or a folder stands for, and what is refused with its fix."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgestill.data.origin import Kind, resolve
from edgestill.errors import DataError


def make(base: Path, *names: str) -> Path:
    for name in names:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).touch()
    return base


def found(base: Path, source: str) -> list[str]:
    """The files of a source, as they lie beside the recipe."""
    return [os.path.relpath(path, base) for path in resolve(source, base).paths]


def refusal(base: Path, source: str) -> str:
    with pytest.raises(DataError) as raised:
        resolve(source, base)
    return str(raised.value)


HUGGING_FACE = (
    "data/train-00001-of-00002.parquet",
    "data/train-00000-of-00002.parquet",
    "data/test-00000-of-00001.parquet",
)


def test_a_glob_is_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    make(tmp_path, *HUGGING_FACE)
    assert resolve("data/train-*.parquet", tmp_path).kind is Kind.PARQUET
    assert found(tmp_path, "data/train-*.parquet") == [
        "data/train-00000-of-00002.parquet",
        "data/train-00001-of-00002.parquet",
    ]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.csv", ["a.csv", "b.csv"]),
        ("./[ab].csv", ["a.csv", "b.csv"]),
        ("?.CSV", ["C.CSV"]),
        ("**/*.csv", ["a.csv", "b.csv", "deep/er/a.csv"]),
        ("deep/*/a*", ["deep/er/a.csv"]),
        (".hidden/*", [".hidden/a.csv"]),
        ("../*/a.csv", ["a.csv"]),
    ],
)
def test_patterns_are_those_of_a_shell(tmp_path: Path, pattern: str, names: list[str]) -> None:
    base = make(tmp_path / "project", "a.csv", "b.csv", "C.CSV", "deep/er/a.csv", "a.parquet")
    make(base, ".hidden/a.csv", ".c.csv", "__MACOSX/a.csv", ".ipynb_checkpoints/a-checkpoint.csv")
    assert found(base, pattern) == names


def test_an_absolute_pattern(tmp_path: Path) -> None:
    make(tmp_path, "a.csv")
    assert found(tmp_path, str(tmp_path / "[a].csv")) == ["a.csv"]


def test_the_folder_of_the_recipe_may_have_any_name(tmp_path: Path) -> None:
    base = make(tmp_path / "[v1] große *", "Daten 1.csv", "Daten 2.csv")
    assert found(base, "Daten *.csv") == ["Daten 1.csv", "Daten 2.csv"]


def test_a_file_with_the_name_of_a_pattern_is_that_file(tmp_path: Path) -> None:
    make(tmp_path, "data[1].csv", "data1.csv")
    assert found(tmp_path, "data[1].csv") == ["data[1].csv"]


@pytest.mark.parametrize("source", ["*.csv", "."])
def test_a_file_that_links_lead_to_is_taken_once(tmp_path: Path, source: str) -> None:
    make(tmp_path, "a.csv", "c.csv")
    (tmp_path / "b.csv").symlink_to("a.csv")
    (tmp_path / "circle").symlink_to(tmp_path)
    assert found(tmp_path, source) == ["a.csv", "c.csv"]


def test_a_folder_of_shards(tmp_path: Path) -> None:
    make(tmp_path, "out.csv/part-1.csv", "out.csv/part-0.csv", "out.csv/.part-0.csv.crc")
    make(tmp_path, "out.csv/_SUCCESS", "out.csv/more/part-2.csv", "out.csv/.git/x.csv")
    origin = resolve("out.csv", tmp_path)
    assert origin.kind is Kind.TABLE
    assert found(tmp_path, "out.csv") == [
        "out.csv/more/part-2.csv",
        "out.csv/part-0.csv",
        "out.csv/part-1.csv",
    ]
    assert origin.ignored == ("_SUCCESS",)


def test_a_folder_of_one_split(tmp_path: Path) -> None:
    make(tmp_path, "data/train-0.parquet", "data/train-1.parquet", "data/latest.parquet")
    assert len(found(tmp_path, "data")) == 3


def test_a_folder_with_images_keeps_its_meaning(tmp_path: Path) -> None:
    make(tmp_path, "images/cat/0.PNG", "images/cat/boxes.csv", "images/dog/boxes.csv")
    origin = resolve("images", tmp_path)
    assert origin.kind is Kind.IMAGES
    assert origin.paths == (tmp_path / "images",)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (
            "data/trian-*-of-00002.parquet",
            "no file matches data/trian-*-of-00002.parquet. "
            "Did you mean 'train-00001-of-00002.parquet'?",
        ),
        ("data/*.json", "no file matches data/*.json. {base}/data has: {names}"),
        ("**/*.json", "no file matches **/*.json. {base} has: data/, labels.json5, model.py"),
        ("dat/*.parquet", "there is no {base}/dat. Did you mean 'data'?"),
        (
            "data*",
            "data* matches folders (data), not files. "
            "Match the tables in them, such as data*/*.parquet",
        ),
        (
            "*.py",
            "*.py matches model.py, and only tables may come in several files. "
            "End the pattern in one of .parquet, .csv, .tsv",
        ),
    ],
)
def test_globs_that_are_refused(tmp_path: Path, pattern: str, message: str) -> None:
    make(tmp_path, *HUGGING_FACE, "data/Thumbs.db", "model.py", "labels.json5", ".hidden")
    names = ", ".join(sorted(name.removeprefix("data/") for name in HUGGING_FACE))
    expected = message.replace("{base}", str(tmp_path)).replace("{names}", names)
    assert refusal(tmp_path, pattern) == f"data.source: {expected}"


@pytest.mark.parametrize(
    ("source", "subject", "example"), [("data", "holds", "*.csv"), ("data/t*", "matches", "*.csv")]
)
def test_several_formats(tmp_path: Path, source: str, subject: str, example: str) -> None:
    make(tmp_path, "data/t0.csv", "data/t1.tsv", "data/t2.parquet", "data/t3.csv")
    assert refusal(tmp_path, source) == (
        f"data.source: {source} {subject} tables of several formats: "
        + ", ".join(f"{'' if source == 'data' else 'data/'}t{i}" for i in ("0.csv", "1.tsv"))
        + f", {'' if source == 'data' else 'data/'}t2.parquet. "
        f"Say by their ending which are meant, such as data/{example}"
    )


@pytest.mark.parametrize(
    ("names", "sources"),
    [
        (
            HUGGING_FACE,
            "{train: repo/data/train-*.parquet, test: repo/data/test-00000-of-00001.parquet}",
        ),
        (
            ("train.csv", "dev.csv", "eval.csv"),
            "{train: repo/train.csv, validation: repo/dev.csv, test: repo/eval.csv}",
        ),
        (
            ("train/0.csv", "train/1.csv", "val/a/0.csv", "val/b/0.csv"),
            "{train: repo/train/*.csv, validation: repo/val/**/*.csv}",
        ),
        (
            ("en/train-0.csv", "fr/train-0.csv", "en/test-0.csv", "fr/test-0.csv"),
            "{train: repo/**/train-*.csv, test: repo/**/test-*.csv}",
        ),
        (
            ("a_train.csv", "b_train.csv", "a_test.csv", "b_test.csv"),
            "{train: repo/*train*.csv, test: repo/*test*.csv}",
        ),
        (
            ("en/train/0.csv", "fr/train/0.csv", "en/test/0.csv", "fr/test/0.csv"),
            "{train: repo/**/*train*/**/*.csv, test: repo/**/*test*/**/*.csv}",
        ),
        (
            ("my train[1].csv", "my test.csv"),
            '{train: "repo/my train[[]1].csv", test: "repo/my test.csv"}',
        ),
    ],
    ids=["Hugging Face", "a file each", "a folder each", "both", "words", "folders", "to quote"],
)
def test_shards_of_several_splits_and_the_sources_to_write_instead(
    tmp_path: Path, names: tuple[str, ...], sources: str
) -> None:
    make(tmp_path / "repo", *names, "README.md")
    message = refusal(tmp_path, "repo")
    assert message.startswith("data.source: repo holds shards of several splits: ")
    assert message.endswith(f". Give each role its source: data.source: {sources}")
    patterns = dict(pair.split(": ") for pair in sources.strip("{}").split(", "))
    parts = [file for p in patterns.values() for file in found(tmp_path, p.strip('"'))]
    assert sorted(parts) == sorted(f"repo/{name}" for name in names)


def test_images_and_tables_in_one_folder(tmp_path: Path) -> None:
    make(tmp_path, "mixed/cat/0.png", "mixed/labels.csv")
    assert refusal(tmp_path, "mixed") == (
        "data.source: mixed holds images (cat/0.png) and tables (labels.csv). Name the tables by a "
        "glob, such as mixed/*.csv, or move them out of the folder of images"
    )


@pytest.mark.parametrize(
    ("names", "held"), [((), ""), (("a.arrow", ".0.png"), " (it has a.arrow)")]
)
def test_a_folder_without_data(tmp_path: Path, names: tuple[str, ...], held: str) -> None:
    make(tmp_path / "data", *names)
    (tmp_path / "data").mkdir(exist_ok=True)
    assert refusal(tmp_path, "data") == (
        f"data.source: data holds neither images nor tables{held}. "
        "Put images into a folder for each class, or tables (.parquet, .csv, .tsv) into it"
    )
