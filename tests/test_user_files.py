"""What a folder of a user's files holds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgestill.errors import DataError
from edgestill.user_files import is_pointer, reading, walk


def names(folder: Path) -> list[str]:
    return sorted(name for name, _ in walk(str(folder)))


def make(folder: Path, *files: str) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


def test_hidden_and_left_behind_files_are_none_of_it(tmp_path: Path) -> None:
    make(tmp_path, "a/1.png", "b.txt", ".DS_Store", "a/Thumbs.db", "a/desktop.ini", ".git/config")
    make(tmp_path, ".ipynb_checkpoints/b-checkpoint.txt", "__MACOSX/a/1.png", "a/__pycache__/x.pyc")
    assert names(tmp_path) == ["a/1.png", "b.txt"]


def test_a_folder_that_is_hidden_itself(tmp_path: Path) -> None:
    assert names(make(tmp_path / ".cache" / "__MACOSX", "1.png")) == ["1.png"]


def test_links_are_followed_but_not_to_what_holds_them(tmp_path: Path) -> None:
    folder = make(tmp_path / "project" / "images", "cat/1.png", "dog/1.png")
    make(tmp_path, "elsewhere/9.png")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "cat" / "2.png").symlink_to(tmp_path / "elsewhere" / "9.png")
    (folder / "circle").symlink_to(folder)
    (folder / "dog" / "self").symlink_to(folder / "dog")
    (folder / "dog" / "above").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    assert names(folder) == ["cat/1.png", "cat/2.png", "dog/1.png", "linked/9.png"]


def test_folders_that_link_to_each_other_end(tmp_path: Path) -> None:
    make(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a" / "b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "a").symlink_to(tmp_path / "a")
    assert names(tmp_path / "a") == ["1.png", "b/2.png"]


def test_a_link_that_leads_nowhere_is_missed_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "1.png").symlink_to("gone.png")
    ((_, path),) = walk(str(tmp_path))
    words = r"1.png: a link that leads nowhere. Restore what it leads to, or remove it"
    with pytest.raises(DataError, match=words), reading(tmp_path):
        Path(path).read_bytes()


def test_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DataError, match=r"loop: a link that leads nowhere"), reading(tmp_path):
        names(tmp_path)


def test_what_the_system_refuses(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone: no such file or folder"), reading(tmp_path):
        names(tmp_path / "gone")
    make(tmp_path, "file")
    words = r"file: cannot be read: Not a directory"
    with pytest.raises(DataError, match=words), reading(tmp_path):
        names(tmp_path / "file")


def test_what_git_lfs_leaves_in_the_place_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    assert is_pointer(file)
    file.write_text("version 2\n")
    assert not is_pointer(file)
