"""A process that is killed anywhere leaves a store that is whole; so does a full disk."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgestill.errors import ExitCode, StoreError
from edgestill.store import Key, Store


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a kill takes nothing back that was written, and a
    hundred stores that wait for a disk take a minute."""
    shared = Path("/dev/shm")
    usable = shared.is_dir() and os.access(shared, os.W_OK)
    with tempfile.TemporaryDirectory(dir=shared if usable else tmp_path) as folder:
        yield Path(folder)


# Kills a forked child at its first, second, third ... file operation until one survives. The
# interpreter's audit events (PEP 578) come before each open, mkdir, rename, remove, chmod, flock.
KILL_AT_EVERY_OPERATION = """
import itertools, os, signal, sys
from pathlib import Path
from edgestill.store import Key, Store

KEY, OLD = Key("student", "distill", {}), Key("student", "distill", {"old": True})
notices = []

def produce(out, work):
    (work / "checkpoint").write_text("epoch 1")
    (out / "part").mkdir()
    for number in range(3):
        (out / "part" / f"{number}.bin").write_bytes(b"x" * 5000)

def open_store(root):
    return Store(root, notices.append)

def old(root):
    open_store(root).compute(OLD, produce)

def compute(root):
    open_store(root).compute(KEY, produce)

def damaged(root):
    path = open_store(root).compute(KEY, produce).path / "part" / "1.bin"
    path.chmod(0o644)
    path.write_bytes(b"rotten")

def append(root):
    open_store(root).facts(KEY).append({"a": 1})

def collect(root):
    open_store(root).gc(-1)

def check(root):
    for key in (KEY, OLD):
        entry = open_store(root).find(key)
        assert entry is None or len(entry.files) == 3
        entry = open_store(root).compute(key, produce)
        contents = [(entry.path / name).read_bytes() for name in entry.files]
        assert contents == [b"x" * 5000] * 3
        assert open_store(root).find(key).hit
    facts = open_store(root).facts(KEY)
    before = facts.read()
    assert before in ([], [{"a": 1}]), before
    facts.append({"a": 2})
    assert facts.read() == [*before, {"a": 2}]
    del facts  # or the store would count as in use
    open_store(root).gc(keep_days=1)
    left = [path for path in (root / "tmp").rglob("*")] + list((root / "work").glob("*"))
    assert left == [], left

def run(root, prepare, action, last):
    prepare(root)
    child = os.fork()
    if child == 0:
        seen = itertools.count(1)
        def hook(event, _):
            if event == "open" or event.startswith(("os.", "fcntl.", "shutil.")):
                if next(seen) == last:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        action(root)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    notices.clear()
    check(root)
    return os.WIFSIGNALED(status)

prepare, action = globals()[sys.argv[2]], globals()[sys.argv[3]]
for last in itertools.count(1):
    if not run(Path(sys.argv[1]) / str(last), prepare, action, last):
        break
    # What is committed is never taken for damaged.
    assert prepare is damaged or notices == [], notices
print(last - 1)
"""


@pytest.mark.parametrize(
    ("before", "action", "at_least"),
    [
        ("old", "compute", 40),
        ("damaged", "compute", 45),
        ("compute", "collect", 30),
        ("old", "append", 15),
    ],
)
def test_a_kill_at_any_file_operation_leaves_a_whole_store(
    before: str, action: str, at_least: int, memory: Path
) -> None:
    command = [sys.executable, "-c", KILL_AT_EVERY_OPERATION, str(memory), before, action]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert int(finished.stdout) >= at_least


KILL_AT_RANDOM = """
import os, random, signal, sys, time
from pathlib import Path
from edgestill.store import Key, Store

root, key = Path(sys.argv[1]), Key("student", "distill", {})

def produce(out, work):
    for number in range(12):
        with (out / f"{number}.bin").open("wb", buffering=0) as file:
            for _ in range(10):
                file.write(os.urandom(2000))

def whole(entry):
    return entry is None or len(entry.files) == 12 and all(
        (entry.path / name).stat().st_size == 20_000 for name in entry.files
    )

began = time.perf_counter()
Store(root, print).compute(Key("student", "distill", {"timed": True}), produce)
longest = time.perf_counter() - began
killed = committed = 0
random.seed(0)
# How long it takes depends on what else the machine does: early kills are drawn as often as late.
for _ in range(500):
    if killed == 15:
        break
    child = os.fork()
    if child == 0:
        Store(root, print).compute(key, produce)
        os._exit(0)
    time.sleep(longest * 100 ** -random.random())
    os.kill(child, signal.SIGKILL)
    killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    entry = Store(root, print).find(key)
    assert whole(entry)
    if entry is not None:
        committed += 1
        entry.path.parent.rename(root / f"taken-{committed}")
assert whole(Store(root, print).compute(key, produce))
assert killed == 15, killed
"""


def test_a_kill_at_a_random_moment_leaves_a_whole_store(memory: Path) -> None:
    command = [sys.executable, "-c", KILL_AT_RANDOM, str(memory / "store")]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == ""


def test_everything_is_on_the_disk_before_the_rename_that_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def noted_fsync(descriptor: int) -> None:
        fsync(descriptor)
        done.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    def noted_rename(path: Path, target: Path) -> Path:
        done.append(f"rename {path}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    entry = Store(tmp_path / "store", print).compute(key(), small)
    commit = next(number for number, line in enumerate(done) if line.startswith("rename"))
    staged = done[commit].removeprefix("rename ")
    in_order = ["result/small.bin", "result", "manifest.json", ""]
    synced = [line for line in done[:commit] if line.startswith(staged)]
    assert synced == [f"{staged}/{name}".rstrip("/") for name in in_order]
    assert done[commit + 1] == str(entry.path.parent.parent)


def big(out: Path, _: Path) -> None:
    (out / "small.bin").write_bytes(b"x")
    (out / "big.bin").write_bytes(b"x" * 3_000_000)


def small(out: Path, _: Path) -> None:
    (out / "small.bin").write_bytes(b"x")


def key(**parts: int) -> Key:
    return Key("student", "distill", parts)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The place of a file system that holds 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk needs root: sudo unshare -m pytest ...")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_an_error_with_a_fix_and_leaves_no_half_result(small_disk: Path) -> None:
    store = Store(small_disk / "store", print)
    with pytest.raises(StoreError) as raised:
        store.compute(key(), big)
    assert "No space left on device" in str(raised.value)
    assert "Free some space (edgestill store gc)" in str(raised.value)
    assert str(raised.value.where).startswith(str(store.root))
    assert raised.value.exit_code is ExitCode.ENVIRONMENT
    assert store.find(key()) is None
    assert store.compute(key(), small).digest() == store.compute(key(), big).digest()


def test_a_disk_that_fills_up_at_any_moment_leaves_a_whole_store(small_disk: Path) -> None:
    store = Store(small_disk / "store", print)
    store.compute(key(old=1), small)
    failed = 0
    for blocks in range(14):
        free = os.statvfs(small_disk).f_bavail
        with (small_disk / "ballast").open("wb") as ballast:
            ballast.write(b"x" * 4096 * (free - blocks))
        try:
            store.compute(key(blocks=blocks), small)
        except StoreError:
            failed += 1
        assert store.find(key(old=1)) is not None
        (small_disk / "ballast").unlink()
        store.compute(key(blocks=blocks), small)
    assert 0 < failed < 14


def test_a_read_only_store_serves_its_results(small_disk: Path) -> None:
    root = small_disk / "store"
    Store(root, print).compute(key(), small)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    store = Store(root, print)
    assert store.find(key()) is not None
    assert store.explain(key(seed=1)) == ("seed: (none) -> 1",)
    with pytest.raises(StoreError, match=r"Read-only file system. Change the permissions"):
        store.compute(key(seed=1), small)


LIMITED = """
import resource, sys
from pathlib import Path
from edgestill.errors import StoreError
from edgestill.store import Key, Store

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
store = Store(Path(sys.argv[1]), print)

def produce(out, work):
    (out / "small.bin").write_bytes(b"x")
    (out / "big.bin").write_bytes(b"x" * 3_000_000)

try:
    store.compute(Key("student", "distill", {}), produce)
except StoreError as error:
    print(error)
"""


def test_a_file_that_the_file_system_refuses_is_an_error_with_a_fix(tmp_path: Path) -> None:
    root = tmp_path / "store"
    command = [sys.executable, "-c", LIMITED, str(root)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.endswith(
        "the store cannot be used: File too large. Free some space (edgestill store gc) or "
        "choose another disk with --store FOLDER\n"
    )
    store = Store(root, print)
    assert store.find(key()) is None
    assert list((root / "tmp").iterdir()) == []


def test_a_full_disk_that_a_library_reports_in_its_own_type_is_recognised(tmp_path: Path) -> None:
    def native(_out: Path, _work: Path) -> None:
        raise RuntimeError("I/O error: No space left on device (os error 28)")

    with pytest.raises(StoreError, match="Free some space"):
        Store(tmp_path / "store", print).compute(key(), native)


def test_the_trouble_of_a_step_with_its_own_files_stays_as_it_is(tmp_path: Path) -> None:
    def refused(_out: Path, _work: Path) -> None:
        raise PermissionError(13, "Permission denied", "/data/train.csv")

    with pytest.raises(PermissionError):
        Store(tmp_path / "store", print).compute(key(), refused)


def test_a_store_where_no_folder_can_be_made_is_an_error_with_a_fix() -> None:
    why = (
        r"(its folder cannot be made\. Choose|Permission denied\. .* choose)"  # of root, of others
    )
    words = rf"^/proc/store: the store cannot be used: {why} another folder with --store FOLDER$"
    with pytest.raises(StoreError, match=words):
        Store(Path("/proc/store"), print).compute(key(), small)


def test_a_store_below_a_file_is_an_error_with_a_fix(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "store"):
        with pytest.raises(StoreError, match=r"is a file. Choose another folder with --store"):
            Store(root, print).compute(key(), small)
