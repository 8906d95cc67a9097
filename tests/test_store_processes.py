"""Several processes on one store: one computes, the others wait and take over where it dies."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgestill.store import Key, Store

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


COMPUTE = """
import sys, time
from pathlib import Path
from edgestill.store import Key, Store

root, seconds = Path(sys.argv[1]), float(sys.argv[2])

def produce(out, work):
    with (root.parent / "computed").open("a") as file:
        file.write("once\\n")
    print("computing", flush=True)
    (work / "checkpoint").write_text("epoch 3")
    time.sleep(seconds)
    (out / "weights.bin").write_text("result")

store = Store(root, lambda line: print(line, flush=True))
print("hit" if store.compute(Key("student", "distill", {}), produce).hit else "computed")
"""


def start(root: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", COMPUTE, str(root), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_that_want_one_result_compute_it_once(tmp_path: Path) -> None:
    processes = [start(tmp_path / "store", 0.5) for _ in range(3)]
    outputs = [process.communicate(timeout=30)[0] for process in processes]
    assert sorted(output.splitlines()[-1] for output in outputs) == ["computed", "hit", "hit"]
    assert (tmp_path / "computed").read_text() == "once\n"
    waited = [line for output in outputs for line in output.splitlines() if "waiting" in line]
    pids = {str(process.pid) for process in processes}
    assert len(waited) >= 2
    for line in waited:
        assert line.startswith("waiting for process ")
        assert line.split()[3] in pids
        assert line.endswith(f"on host {os.uname().nodename}, which computes student")


def test_who_waits_for_a_killed_process_takes_over_with_its_work(
    store: Store, lines: list[str]
) -> None:
    killed = start(store.root, 60)
    assert killed.stdout is not None
    assert killed.stdout.readline() == "computing\n"
    waiter = start(store.root, 0)
    assert waiter.stdout is not None
    assert waiter.stdout.readline().startswith(f"waiting for process {killed.pid} ")
    killed.kill()
    killed.communicate()
    assert waiter.communicate(timeout=30)[0].splitlines() == ["computing", "computed"]
    entry = store.find(Key("student", "distill", {}))
    assert entry is not None
    assert lines == []
    # The second process swept up what the first had staged.
    assert list((store.root / "tmp").glob("*/*")) == []


@pytest.mark.parametrize("winner", ["whole", "damaged"])
def test_a_lost_race_ends_with_the_whole_result_of_the_winner(
    winner: str, store: Store, lines: list[str]
) -> None:
    def overtaken(out: Path, work: Path) -> None:
        (store.root / "locks" / f"{key().digest}.lock").unlink()
        entry = Store(store.root, lines.append).compute(key(), write("the winner's"))
        if winner == "damaged":
            flip(entry.path / "weights.bin", 0)
        write("the loser's")(out, work)

    entry = store.compute(key(), overtaken)
    expected = {"whole": "the winner's", "damaged": "the loser's"}
    assert (entry.path / "weights.bin").read_text() == expected[winner]
    assert len(lines) == (winner == "damaged")
    assert store.find(key()) is not None
