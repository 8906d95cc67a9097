"""What is ONNX Runtime's own: the threads that calls at the same time are given."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from edgestill.artifact import Engine, OnnxModel

pytest.importorskip("onnxruntime", reason="pip install 'edgestill[onnxruntime]'")

COUNT = """
import sys
from pathlib import Path
import onnxruntime
from edgestill.artifact import Engine
from edgestill.targets import get_target

path, threads, streams = Path(sys.argv[1]), *map(int, sys.argv[2:])
tasks = Path("/proc/self/task")
before = len(list(tasks.iterdir()))
session = get_target("onnxruntime").load(Engine(path, ""), threads, streams)
print(len(list(tasks.iterdir())) - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
@pytest.mark.parametrize(("threads", "streams"), [(1, 1), (4, 1), (4, 2), (4, 4)])
def test_the_pool_and_the_callers_are_as_many_as_the_threads(
    threads: int, streams: int, doubling: OnnxModel, built: Callable[..., Engine]
) -> None:
    path = str(built("onnxruntime", doubling).path)
    command = [sys.executable, "-c", COUNT, path, str(threads), str(streams)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) + streams == threads
