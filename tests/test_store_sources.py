"""The digest of a user's files: whatever changes is seen, whatever does not is read once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgestill.digest import digest_file
from edgestill.errors import DataError
from edgestill.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", print)


def make_images(folder: Path) -> Path:
    for number in range(4):
        file = folder / f"class{number % 2}" / "log" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"image {number}")
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return make_images(tmp_path / "images")


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images that were last changed so long ago that the index may vouch for them."""
    folder = make_images(tmp_path_factory.mktemp("settled") / "images")
    time.sleep(2.1)
    return folder


def edit(path: Path, text: str) -> None:
    """Change a file's bytes but not its size nor its modification time, as `cp -p` may."""
    status = path.stat()
    assert len(text) == status.st_size
    path.write_text(text)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def swap(images: Path) -> None:
    edit(images / "class0" / "log" / "0.png", "image 2")
    edit(images / "class0" / "log" / "2.png", "image 0")


def rename(images: Path) -> None:
    # The order of the names stays.
    (images / "class0" / "log" / "0.png").rename(images / "class0" / "log" / "1.png")


CHANGES: dict[str, Callable[[Path], object]] = {
    "an edit of one size and time": lambda i: edit(i / "class0" / "log" / "0.png", "image X"),
    "another label": lambda i: (i / "class0").rename(i / "class9"),
    "a new name": rename,
    "a new file": lambda i: (i / "new.png").write_text("image 9"),
    "a file less": lambda i: (i / "class1" / "log" / "1.png").unlink(),
    "swapped contents": swap,
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_of_a_folder_changes_its_digest(name: str, store: Store, images: Path) -> None:
    before = store.source_digest(images)
    assert store.source_digest(images) == before
    CHANGES[name](images)
    assert store.source_digest(images) != before


def test_what_is_unchanged_is_read_once(store: Store, settled: Path) -> None:
    digest = store.source_digest(settled)
    reads: list[str] = []
    sys.addaudithook(lambda event, args: reads.append(str(args[0])) if event == "open" else None)
    assert store.source_digest(settled) == digest
    assert [path for path in reads if path.endswith(".png")] == []
    edited = settled / "class0" / "log" / "0.png"
    edit(edited, "image X")
    reads.clear()
    assert store.source_digest(settled) != digest
    assert [path for path in reads if path.endswith(".png")] == [str(edited)]


def test_a_file_that_changed_just_now_is_not_trusted_to_the_index(
    store: Store, images: Path
) -> None:
    store.source_digest(images)
    assert not (store.root / "sources").exists()


def test_a_file_is_its_bytes_wherever_it_is(store: Store, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,b")
    digest = store.source_digest(tmp_path / "train.csv")
    assert digest == digest_file(tmp_path / "train.csv")
    (tmp_path / "train.csv").rename(tmp_path / "moved.csv")
    assert store.source_digest(tmp_path / "moved.csv") == digest


def test_a_copied_folder_has_the_same_digest(store: Store, images: Path, tmp_path: Path) -> None:
    shutil.copytree(images, tmp_path / "copy")
    assert store.source_digest(tmp_path / "copy") == store.source_digest(images)


def test_linked_folders_count_and_circles_end(store: Store, images: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(images)
    (images / "circle").symlink_to(images)
    (images / "out").symlink_to(tmp_path)  # it holds the images too
    os.mkfifo(images / "pipe")
    digest = store.source_digest(images)
    assert store.source_digest(tmp_path / "linked") == digest
    linked = tmp_path / "more"
    linked.mkdir()
    (linked / "9.png").write_text("image 9")
    (images / "class2").symlink_to(linked)
    assert store.source_digest(images) != digest


def test_hidden_files_do_not_count(store: Store, images: Path) -> None:
    digest = store.source_digest(images)
    for name in (".DS_Store", "Thumbs.db", ".ipynb_checkpoints/0-checkpoint.png"):
        file = images / "class0" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("not data")
    assert store.source_digest(images) == digest
    (images / "class0" / "notes.txt").touch()
    assert store.source_digest(images) != digest


def test_what_is_named_itself_counts_even_if_hidden(store: Store, images: Path) -> None:
    (images / ".folder").mkdir()
    (images / ".folder" / "0.png").write_text("image 0")
    hidden, named = images / ".folder", images / ".folder" / "0.png"
    assert store.source_digest(named) == digest_file(named)
    digest = store.source_digest(hidden)
    named.write_text("image 1")
    assert store.source_digest(hidden) != digest


def test_names_with_spaces_and_of_any_script(store: Store, images: Path) -> None:
    digests = {store.source_digest(images)}
    for name in ("große Katze.png", "猫 1.png", os.fsdecode(b"\xff\xfe.png")):
        (images / name).write_text("image")
        digests.add(store.source_digest(images))
        assert store.source_digest(images) in digests
    assert len(digests) == 4


@pytest.mark.parametrize("damage", [bytes, lambda text: text[:-20], lambda text: b"\0" + text[1:]])
def test_a_damaged_index_only_costs_time(
    damage: Callable[[bytes], bytes], store: Store, settled: Path
) -> None:
    digest = store.source_digest(settled)
    (index,) = (store.root / "sources").iterdir()
    whole = index.read_bytes()
    index.write_bytes(damage(whole))
    assert store.source_digest(settled) == digest
    assert index.read_bytes() == whole


DIGEST = """
import sys
from pathlib import Path
from edgestill.store import Store

store = Store(Path(sys.argv[1]), print)
digests = set()
for _ in range(20):
    for index in (store.root / "sources").glob("*"):
        index.unlink(missing_ok=True)
    digests.add(store.source_digest(Path(sys.argv[2])))
print(digests)
"""


def test_processes_may_use_one_index_at_once(store: Store, settled: Path) -> None:
    command = [sys.executable, "-c", DIGEST, str(store.root), str(settled)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = {process.communicate(timeout=30)[0] for process in processes}
    assert outputs == {f"{ {store.source_digest(settled)} }\n"}


def test_what_is_missing_is_an_error_with_its_place(store: Store, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder") as raised:
        store.source_digest(tmp_path / "train.csv")
    assert raised.value.where == str(tmp_path / "train.csv")


def test_a_link_that_leads_nowhere_is_an_error(store: Store, images: Path) -> None:
    link = images / "class0" / "5.png"
    link.symlink_to("missing.png")
    with pytest.raises(DataError) as raised:
        store.source_digest(images)
    assert str(raised.value) == (
        f"{link}: a link that leads nowhere. Restore what it leads to, or remove it"
    )


def test_a_file_that_vanishes_while_the_folder_is_read_is_an_error(
    store: Store, images: Path
) -> None:
    files = {str(file): file for file in images.rglob("*.png")}

    def remove_the_others(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and arguments[0] in files:
            opened = files.pop(str(arguments[0]))
            for file in [file for file in files.values() if file.parent == opened.parent]:
                file.unlink()
            files.clear()  # the hook cannot be taken off

    sys.addaudithook(remove_the_others)
    with pytest.raises(DataError, match=r"[0-3]\.png: no such file or folder"):
        store.source_digest(images)


WRITE = """
import os, sys
with open(sys.argv[1], "r+b", buffering=0) as file:
    print("writing", flush=True)
    while True:
        os.pwrite(file.fileno(), os.urandom(8), 0)
"""


def test_a_file_that_keeps_changing_is_an_error(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "growing.bin"
    with file.open("wb") as data:
        data.truncate(64 << 20)  # takes longer to read than the clock of the file system ticks
    writer = subprocess.Popen([sys.executable, "-c", WRITE, str(file)], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(DataError, match=r"changes while it is read. Stop what writes to it"):
            store.source_digest(file)
    finally:
        writer.kill()
        writer.communicate()
