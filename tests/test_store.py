"""The store of step results: what is found, computed once, explained, appended and listed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgestill.digest import digest_folder
from edgestill.errors import StoreError
from edgestill.store import Key, Store

Produce = Callable[[Path, Path], None]


def key(step: str = "student", stage: str = "distill", **parts: Any) -> Key:
    return Key(step, stage, parts)


def write(text: str = "result") -> Produce:
    """A step that writes two files, one of them in a sub-folder, and a log."""

    def produce(out: Path, _: Path) -> None:
        (out / "part" / "log").mkdir(parents=True)
        (out / "weights.bin").write_text(text)
        (out / "part" / "labels.bin").write_text(text)
        (out / "part" / "log" / "times.json").write_text(str(time.time_ns()))

    return produce


def must_not_run(_out: Path, _work: Path) -> None:
    raise AssertionError("computed again")


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, lines: list[str]) -> Store:
    return Store(tmp_path / "store", lines.append)


def test_a_result_is_computed_once(store: Store, lines: list[str]) -> None:
    assert store.find(key(epochs=1)) is None
    computed = store.compute(key(epochs=1), write())
    again = store.compute(key(epochs=1), must_not_run)
    assert (computed.hit, again.hit) == (False, True)
    assert (computed.files, computed.seconds) == (again.files, again.seconds)
    assert (again.path / "weights.bin").read_text() == "result"
    assert lines == []


def test_nothing_is_written_before_there_is_a_result(store: Store) -> None:
    assert store.find(key()) is None
    assert store.explain(key()) == ()
    assert store.entries() == []
    assert store.gc(0) == 0
    assert not store.root.exists()


def test_steps_with_equal_stage_and_parts_share_a_result(store: Store) -> None:
    store.compute(key("student", epochs=(1, 2)), write())
    assert store.find(key("another", epochs=[1, 2])) is not None
    assert store.find(key("student", "train", epochs=[1, 2])) is None


def test_a_key_keeps_its_digest_when_the_caller_changes_its_parts() -> None:
    parts = {"config": {"epochs": 1}}
    made = Key("student", "distill", parts)
    parts["config"]["epochs"] = 2
    assert made.digest == Key("student", "distill", {"config": {"epochs": 1}}).digest
    assert len({made, Key("student", "distill", parts)}) == 2


def test_an_entry_has_the_digest_of_its_folder_and_of_each_part(store: Store) -> None:
    entry = store.compute(key(), write())
    assert entry.digest() == digest_folder(entry.path)
    assert entry.digest("part") == digest_folder(entry.path / "part")
    with pytest.raises(StoreError, match="the result of student has no train"):
        entry.digest("train")


def test_equal_content_has_an_equal_digest_whatever_the_log_says(store: Store) -> None:
    one, other = store.compute(key(seed=1), write()), store.compute(key(seed=2), write())
    assert one.files != other.files
    assert one.digest() == other.digest()


def test_a_failed_step_commits_nothing_and_keeps_its_work(store: Store) -> None:
    def fail(out: Path, work: Path) -> None:
        (out / "weights.bin").write_text("half")
        (work / "checkpoint").write_text("epoch 3")
        raise RuntimeError("out of patience")

    def resume(out: Path, work: Path) -> None:
        (out / "weights.bin").write_text((work / "checkpoint").read_text())

    with pytest.raises(RuntimeError, match="out of patience"):
        store.compute(key(), fail)
    assert store.find(key()) is None
    assert [path for path in (store.root / "tmp").rglob("*") if path.name == "weights.bin"] == []
    assert (store.compute(key(), resume).path / "weights.bin").read_text() == "epoch 3"
    assert list((store.root / "work").iterdir()) == []


def test_results_are_read_only_and_still_easy_to_remove(store: Store) -> None:
    entry = store.compute(key(), write())
    modes = [(entry.path / name).stat().st_mode & 0o222 for name in entry.files]
    assert modes == [0, 0, 0]
    subprocess.run(["rm", "-r", str(store.root)], check=True, stdin=subprocess.DEVNULL)


def test_a_result_must_not_hold_links(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="must hold files, not links"):
        store.compute(key(), lambda out, _: (out / "link").symlink_to(tmp_path))
    assert store.find(key()) is None


def distill_key(weight: float = 0.9, train: str = "3f" * 32, **more: Any) -> Key:
    config = {"losses": [{"ce": {"weight": 0.1}}, {"kd": {"weight": weight}}]}
    parts = {"config": config, "inputs": {"train": train}, "libraries": {"torch": "2.12.0"}}
    return Key("student", "distill", {**parts, **more})


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (distill_key(weight=0.5), ("config.losses[1].kd.weight: 0.9 -> 0.5",)),
        (distill_key(train="99" * 32), ("inputs.train: 3f3f3f3f… -> 99999999…",)),
        (
            distill_key(libraries={"torch": "2.13.0"}),
            ("libraries.torch: 2.12.0 -> 2.13.0",),
        ),
        (distill_key(seed=1), ("seed: (none) -> 1",)),
        (
            distill_key(libraries={"torch": "2.12.0", "nncf": "3.4"}),
            ("libraries.nncf: (none) -> 3.4",),
        ),
        (
            distill_key(source={"distill/stage.py": "aa" * 32}),
            ("source[distill/stage.py]: (none) -> aaaaaaaa…",),
        ),
        (
            distill_key(source={f"part{n}.py": "aa" * 32 for n in range(20)}),
            ("source: 20 values differ",),
        ),
    ],
    ids=lambda value: value[0].split(":")[0] if isinstance(value, tuple) else "",
)
def test_a_miss_is_explained_by_what_changed(
    changed: Key, expected: tuple[str, ...], store: Store
) -> None:
    store.compute(distill_key(), write())
    assert store.explain(changed) == expected


def test_the_most_similar_result_of_the_same_step_explains(store: Store) -> None:
    store.compute(distill_key(weight=0.1, train="00" * 32), write())
    store.compute(distill_key(weight=0.1), write())
    other_step = Key("other", "distill", distill_key(weight=0.4).parts)
    store.compute(other_step, write())
    assert store.explain(distill_key(weight=0.5)) == ("config.losses[1].kd.weight: 0.1 -> 0.5",)
    renamed = Key("new name", "distill", distill_key(weight=0.3).parts)
    assert len(store.explain(renamed)) == 1
    assert store.explain(Key("new name", "export", {"opset": 20})) == ()


APPEND = """
import sys
from pathlib import Path
from edgestill.store import Key, Store

facts = Store(Path(sys.argv[1]), print).facts(Key("measure", "measure", {}))
for number in range(int(sys.argv[3])):
    facts.append({"process": int(sys.argv[2]), "number": number})
"""


def test_facts_of_several_processes_are_all_kept_in_order(store: Store) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", APPEND, str(store.root), str(n), "20"])
        for n in range(3)
    ]
    assert [process.wait(30) for process in processes] == [0, 0, 0]
    records = store.facts(key("measure", "measure")).read()
    assert len(records) == 60
    for process in range(3):
        own = [record["number"] for record in records if record["process"] == process]
        assert own == list(range(20))


def test_facts_read_back_as_they_were_appended(store: Store) -> None:
    facts = store.facts(key())
    assert facts.read() == []
    facts.append({"samples_ns": (1, 2), "device": {"cpu": "x86"}})
    facts.append({"samples_ns": [3]})
    assert facts.read() == [{"samples_ns": [1, 2], "device": {"cpu": "x86"}}, {"samples_ns": [3]}]
    assert store.facts(key(seed=2)).read() == []


def flip(path: Path, position: int) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[position] ^= 0x20
    path.write_bytes(data)


def test_a_damaged_fact_is_set_aside_and_the_others_count(store: Store, lines: list[str]) -> None:
    facts = store.facts(key())
    for number in range(3):
        facts.append({"number": number})
    flip(sorted((store.root / "facts" / key().digest).iterdir())[1], 100)
    assert facts.read() == [{"number": 0}, {"number": 2}]
    assert lines[0].startswith("damaged fact 00000002 of student no longer counts")
    assert facts.read() == [{"number": 0}, {"number": 2}]
    assert len(lines) == 1


def test_entries_say_what_is_there_and_when_it_was_used(store: Store) -> None:
    before = time.time() - 1
    store.compute(key("teacher", "train"), write("123"))
    entry = store.compute(key("student", "distill"), write("1234"))
    os.utime(entry.path.parent / "manifest.json", (1, 1))
    assert [info.step for info in store.entries()] == ["teacher", "student"]
    store.find(entry.key)
    student = store.entries()[0]
    log = (entry.path / "part" / "log" / "times.json").stat().st_size
    assert (student.step, student.stage, student.key) == ("student", "distill", entry.key.digest)
    assert student.size_bytes == 8 + log
    assert before < student.created <= student.last_used <= time.time() + 1


def test_a_file_that_changed_is_told_once_whoever_names_it(store: Store) -> None:
    def of(digest: str) -> Key:
        parts = {
            "code": {f"net.py:{role}": {"files": {"net.py": digest}} for role in ("a", "b")},
            "files": {"net.py": digest, "data.csv": "0" * 64},
        }
        return Key("student", "distill", parts)

    store.compute(of("1" * 64), write())
    told = "code[net.py:a].files[net.py]: 11111111… -> 22222222…"
    assert store.explain(of("2" * 64)) == (told,)
