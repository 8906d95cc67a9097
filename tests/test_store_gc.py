"""What `gc` removes, and what it leaves because somebody may need it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgestill.store import Entry, Key, Store

DAY = 86400.0


def key(**parts: Any) -> Key:
    return Key("student", "distill", parts)


def write(out: Path, _: Path) -> None:
    (out / "weights.bin").write_bytes(b"x" * 1000)


def open_store(root: Path) -> Store:
    return Store(root, print)


def compute(root: Path, **parts: Any) -> Entry:
    """The result as a process that has ended since leaves it."""
    return open_store(root).compute(key(**parts), write)


def age(path: Path, days: float) -> None:
    """Make a file, or all below a folder, look as if untouched for `days`."""
    moment = time.time() - days * DAY
    for item in (*path.rglob("*"), path):
        os.utime(item, (moment, moment))


def kept(root: Path) -> list[int]:
    """The numbers below 3 whose results are there, which listing them does not use."""
    stored = {info.key for info in open_store(root).entries()}
    return [number for number in range(3) if key(number=number).digest in stored]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_results_go_by_their_last_use(root: Path) -> None:
    for number, days in enumerate((1, 10, 100)):
        age(compute(root, number=number).path.parent, days)
    assert open_store(root).gc(keep_days=30) > 1000
    assert kept(root) == [0, 1]
    open_store(root).find(key(number=1))
    assert open_store(root).gc(keep_days=5) == 0
    assert open_store(root).gc(keep_days=0.5) > 1000
    assert kept(root) == [1]


def everything(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_look_names_what_would_go_and_leaves_it(root: Path) -> None:
    for number, days in enumerate((1, 100)):
        age(compute(root, number=number).path.parent, days)
        open_store(root).facts(key(number=number)).append({"a": 1})
        age(root / "facts" / key(number=number).digest, days)
    (root / "logs").mkdir()
    (root / "logs" / "old.log").write_bytes(b"x" * 5000)
    age(root / "logs", 100)
    (root / "tmp" / "killed").mkdir()
    (root / "tmp" / "killed" / "part.bin").write_bytes(b"x" * 700)
    (root / "tmp" / "killed.lock").touch()
    gc_leaves = {name for name in everything(root) if "locks" not in name}
    found = open_store(root).collectable(keep_days=30)
    assert found.keys == (key(number=1).digest,) * 2  # the result, and the facts
    assert gc_leaves <= everything(root).keys()
    assert open_store(root).gc(keep_days=30) == found.size_bytes > 6700
    assert kept(root) == [0]
    assert [info.key for info in open_store(root).all_facts()] == [key(number=0).digest]


def test_what_a_living_process_may_read_would_not_go(root: Path) -> None:
    age(compute(root).path.parent, 100)
    reader = open_store(root)
    assert reader.find(key()) is not None
    assert open_store(root).collectable(keep_days=-1).keys == ()
    del reader
    assert open_store(root).collectable(keep_days=-1).keys == (key().digest,)


def test_everything_can_go(root: Path) -> None:
    compute(root)
    open_store(root).facts(key()).append({"a": 1})
    assert open_store(root).gc(keep_days=-1) > 1000
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_what_a_living_process_was_given_stays(root: Path) -> None:
    age(compute(root).path.parent, 100)
    reader = open_store(root)
    entry = reader.find(key())
    assert entry is not None
    assert open_store(root).gc(keep_days=-1) == 0
    assert (entry.path / "weights.bin").stat().st_size == 1000
    del reader
    assert open_store(root).gc(keep_days=-1) > 1000


COMPUTE = """
import sys, time
from pathlib import Path
from edgestill.store import Key, Store

def produce(out, work):
    (out / "weights.bin").write_bytes(b"x" * 1000)
    (work / "checkpoint").write_bytes(b"x" * 1000)
    print("computing", flush=True)
    sys.stdin.readline()

Store(Path(sys.argv[1]), print).compute(Key("student", "distill", {}), produce)
"""


@pytest.mark.parametrize("killed", [False, True])
def test_staging_and_work_stay_exactly_while_their_process_lives(root: Path, killed: bool) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", COMPUTE, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "computing\n"
    for path in (root / "work").iterdir():
        age(path, 100)
    if killed:
        process.kill()
        process.communicate()
        lock = 100  # bytes, about: what the locks say is gone too
        assert 2000 <= open_store(root).gc(keep_days=30) < 2000 + 3 * lock
        assert list((root / "work").iterdir()) == []
        assert list((root / "tmp").rglob("weights.bin")) == []
    else:
        assert open_store(root).gc(keep_days=30) == 0
        process.communicate("go on\n", timeout=30)
        assert process.returncode == 0
        assert open_store(root).find(key()) is not None


def test_unfinished_work_stays_for_as_long_as_asked(root: Path) -> None:
    def fail(_: Path, work: Path) -> None:
        (work / "checkpoints").mkdir()
        (work / "checkpoints" / "3").write_bytes(b"x" * 1000)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_store(root).compute(key(), fail)
    (work,) = (root / "work").iterdir()
    age(work, 40)
    os.utime(work / "checkpoints" / "3")  # the folder is old, what is in it is not
    assert open_store(root).gc(keep_days=30) == 0
    age(work, 40)
    assert open_store(root).gc(keep_days=30) == 1000


def test_damaged_results_and_unused_facts_go_too(root: Path) -> None:
    entry = compute(root)
    (entry.path / "added.bin").write_bytes(b"x")
    assert Store(root, lambda _: None).find(key()) is None
    for number in range(2):
        open_store(root).facts(key(number=number)).append({"a": 1})
    age(root / "damaged", 100)
    age(root / "facts", 100)
    assert open_store(root).facts(key(number=1)).read() == [{"a": 1}]
    assert open_store(root).gc(keep_days=30) > 1000
    assert list((root / "damaged").iterdir()) == []
    assert open_store(root).facts(key(number=0)).read() == []
    assert open_store(root).facts(key(number=1)).read() == [{"a": 1}]


def test_the_store_works_on_after_its_locks_are_cleaned_up(root: Path) -> None:
    store = open_store(root)
    store.compute(key(seed=1), write)
    store.gc(keep_days=30)
    assert list((root / "locks").iterdir()) == []
    assert not store.compute(key(seed=2), write).hit
    assert store.compute(key(seed=1), write).hit


def test_logs_of_runs_go_by_their_age(root: Path) -> None:
    store = open_store(root)
    store.compute(key(), write)
    for name, days in (("20260101-120000-7", 100), ("20261101-120000-8", 10)):
        log = root / "logs" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        log.write_bytes(b"x" * 5000)
        age(log, days)
    assert 5000 <= open_store(root).gc(keep_days=30) < 10_000
    assert [log.stem for log in (root / "logs").iterdir()] == ["20261101-120000-8"]
