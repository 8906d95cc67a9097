"""What rots in the store is noticed, set aside with a line that says so, and made again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgestill.store import Key, Store
from edgestill.store.disk import Damaged, seal, unseal

Produce = Callable[[Path, Path], None]


def key(step: str = "student", stage: str = "distill", **parts: Any) -> Key:
    return Key(step, stage, parts)


def write(text: str = "result") -> Produce:
    """A step that writes files at two depths, and a log."""

    def produce(out: Path, _: Path) -> None:
        (out / "part" / "log").mkdir(parents=True)
        (out / "weights.bin").write_text(text)
        (out / "part" / "labels.bin").write_text(text)
        (out / "part" / "log" / "times.json").write_text(str(time.time_ns()))

    return produce


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, lines: list[str]) -> Store:
    return Store(tmp_path / "store", lines.append)


def flip(path: Path, position: int) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[position] ^= 0x20
    path.write_bytes(data)


def damages() -> dict[str, Callable[[Path], None]]:
    """What can befall a committed folder."""

    def flipped(name: str, position: int) -> Callable[[Path], None]:
        return lambda folder: flip(folder / name, position)

    def truncated(folder: Path) -> None:
        (folder / "manifest.json").write_text("")

    def added(folder: Path) -> None:
        (folder / "result" / "__pycache__").mkdir()
        (folder / "result" / "__pycache__" / "model.pyc").write_text("")

    def remove(name: str) -> Callable[[Path], None]:
        return lambda folder: (folder / name).unlink()

    files = ["result/weights.bin", "result/part/labels.bin", "result/part/log/times.json"]
    return {
        **{f"flip {name}": flipped(name, 0) for name in files},
        **{
            f"flip manifest at {n}": flipped("manifest.json", n)
            for n in (0, 9, 40, 90, 200, -2, -1)
        },
        **{f"remove {name}": remove(name) for name in [*files, "manifest.json"]},
        "truncate manifest": truncated,
        "add a file": added,
    }


@pytest.mark.parametrize("name", damages())
def test_damage_is_set_aside_and_rebuilt(name: str, store: Store, lines: list[str]) -> None:
    whole = store.compute(key(), write())
    damages()[name](whole.path.parent)
    assert store.find(key()) is None
    assert store.find(key()) is None
    (line,) = lines
    assert line.startswith("damaged result of student is rebuilt (")
    assert Path(line.rpartition(" ")[2]).parent == store.root / "damaged"
    assert Path(line.rpartition(" ")[2]).is_dir()
    assert store.compute(key(), write()).digest() == whole.digest()
    assert store.find(key()) is not None


def test_the_line_about_damage_names_the_file(store: Store, lines: list[str]) -> None:
    entry = store.compute(key(), write())
    flip(entry.path / "part" / "labels.bin", 0)
    store.compute(key(), write())
    assert "(part/labels.bin was changed)" in lines[0]


def test_a_result_put_under_another_key_is_not_served(store: Store, lines: list[str]) -> None:
    entry = store.compute(key(seed=1), write())
    other = key(seed=2).digest
    target = store.root / "objects" / other[:2] / other
    target.parent.mkdir(exist_ok=True)
    entry.path.parent.rename(target)
    assert store.find(key(seed=2)) is None
    assert "manifest.json belongs to another key" in lines[0]


@settings(deadline=None)
@given(record=st.dictionaries(st.text(), st.integers() | st.text()), data=st.data())
def test_every_changed_byte_of_a_record_is_noticed(
    record: dict[str, Any], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "record.json"
    sealed = bytearray(seal(record))
    path.write_bytes(sealed)
    assert unseal(path) == record
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(sealed)
    with pytest.raises(Damaged):
        unseal(path)
