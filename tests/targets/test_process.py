"""Worker processes: whatever a runtime does, ours goes on and nothing is left over."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgestill.artifact import Dataset, Engine, OnnxModel
from edgestill.errors import DataError, DeviceError, MissingExtra, StoreError
from edgestill.targets import worker
from edgestill.targets.jobs import Model, PredictJob
from edgestill.targets.process import Workers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are read from /proc")

Ask = Callable[..., Any]


def ancestors() -> dict[int, int]:
    """The parent of each process that runs; one that ended and waits to be noticed does not."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state not in "ZX":
            parents[int(folder.name)] = int(parent)
    return parents


def children(process: int) -> list[int]:
    """The worker processes below a process: its own children's children are not counted."""
    found = []
    for child, parent in ancestors().items():
        try:
            words = Path(f"/proc/{child}/cmdline").read_bytes()
        except OSError:
            continue
        if parent == process and worker.__name__.encode() in words:
            found.append(child)
    return found


def wait_for(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen within 30 s"
        time.sleep(0.01)
    return found


@pytest.fixture(scope="module")
def engine(doubling: OnnxModel, built: Callable[..., Engine]) -> Engine:
    return built("onnxruntime", doubling)


@pytest.fixture(scope="module")
def workers(obedient_runtime: Path) -> Iterator[Workers]:
    with Workers() as started:
        yield started


@pytest.fixture
def ask(engine: Engine, numbers: Dataset, tmp_path: Path) -> Ask:
    """Has an engine asked for predictions, which are returned."""
    asked = iter(range(100))

    def ask(workers: Workers, limit_s: float = 60.0, **changes: Any) -> np.ndarray[Any, Any]:
        out = tmp_path / str(next(asked))
        job = {"model": Model.of(engine), "dataset": numbers.path, "threads": 1, "batch": 64}
        workers.ask("onnxruntime", PredictJob("predict", out=out, **{**job, **changes}), limit_s)
        answer: np.ndarray[Any, Any] = np.load(out / "outputs" / "0.npy")
        return answer

    return ask


def assert_right(answer: np.ndarray[Any, Any]) -> None:
    np.testing.assert_array_equal(answer[:, 0], 2 * np.arange(100))


BAD = [
    ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "onnxruntime crashed (SIGSEGV)"),
    ("import os, signal; os.kill(os.getpid(), 40)", "onnxruntime crashed (signal 40)"),
    (
        "import os; os.write(1, b'out of\\n\\n  memory\\n'); os.abort()",
        "onnxruntime crashed (SIGABRT); its last words: out of | memory",
    ),
    ("import os; os._exit(3)", "onnxruntime crashed (exit code 3)"),
    ("import os; os._exit(0)", "onnxruntime ended without an answer"),
    ("raise RuntimeError('no such kernel')", "ONNX Runtime failed (no such kernel)"),
    (
        "import time; print('thinking', flush=True); time.sleep(600)",
        "onnxruntime gave no sign of life for 0.5 s and was stopped; its last words: thinking",
    ),
    (
        # Every descriptor, since it does not know which one leads to the parent.
        "import os\nfor n in range(3, 30):\n"
        "  try: os.write(n, b'noise\\n')\n  except OSError: pass",
        "onnxruntime answered nonsense (b'noise')",
    ),
]


@pytest.mark.parametrize(("code", "text"), BAD, ids=[text for _, text in BAD])
def test_a_runtime_that_goes_wrong_is_an_error_and_the_next_job_works(
    code: str, text: str, deed: Path, workers: Workers, ask: Ask
) -> None:
    deed.write_text(code)
    with pytest.raises(DeviceError) as raised:
        ask(workers, limit_s=0.5 if "sleep" in code else 60.0)
    assert str(raised.value) == text
    # Nobody is left who waits, or who still writes.
    wait_for(lambda: not any(map(children, children(os.getpid()))))
    deed.write_text("")
    assert_right(ask(workers))


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import os; os.write(2, b'why\\n'); os.abort()", "crashed (SIGABRT); its last words: why"),
        ("raise SystemExit(4)", "crashed (exit code 4)"),
        ("import time; time.sleep(600)", "gave no sign of life for 0.5 s and was stopped"),
    ],
)
def test_the_same_holds_where_a_process_cannot_fork(
    code: str, text: str, deed: Path, ask: Ask
) -> None:
    with Workers(fork=False) as workers:
        deed.write_text(code)
        with pytest.raises(DeviceError) as raised:
            ask(workers, limit_s=0.5 if "sleep" in code else 60.0)
        assert str(raised.value) == f"onnxruntime {text}"
        deed.write_text("")
        assert_right(ask(workers))


def test_last_words_are_those_of_this_job_and_its_last_lines(
    deed: Path, workers: Workers, ask: Ask
) -> None:
    deed.write_text("print('an earlier job', flush=True)")
    ask(workers)
    deed.write_text(
        "import os\nfor n in range(9): print(f'line {n}', flush=True)\n"
        "os.write(2, b'\\xff'); os.abort()"
    )
    with pytest.raises(DeviceError) as raised:
        ask(workers)
    words = "line 5 | line 6 | line 7 | line 8 | \N{REPLACEMENT CHARACTER}"
    assert str(raised.value) == f"onnxruntime crashed (SIGABRT); its last words: {words}"


def test_what_a_runtime_prints_does_not_disturb_its_answer(
    deed: Path, workers: Workers, ask: Ask, capfd: pytest.CaptureFixture[str]
) -> None:
    deed.write_text("import os; print('{\"exit\": 1}' * 9999, flush=True); os.write(1, b'{}\\n')")
    assert_right(ask(workers))
    assert capfd.readouterr() == ("", "")


def test_slow_is_not_hung(deed: Path, workers: Workers, ask: Ask) -> None:
    # Ten calls of 0.2 s: together they take longer than the limit.
    deed.write_text("import time; time.sleep(0.2)")
    assert_right(ask(workers, limit_s=1.5, batch=10))


def test_errors_of_a_job_arrive_as_what_they_are(
    workers: Workers, ask: Ask, images: Dataset
) -> None:
    with pytest.raises(DataError) as raised:
        ask(workers, dataset=images.path)
    assert str(raised.value) == (
        f"{images.path}: the model's input x float32 [?, 2] is not in the data, "
        "which has image uint8 [?, 3, 8, 8]"
    )
    with pytest.raises(StoreError, match="not a readable dataset"):
        ask(workers, dataset=images.path / "inputs")


def test_a_runtime_that_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ask: Ask
) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ModuleNotFoundError(name='onnxruntime')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with Workers() as workers, pytest.raises(MissingExtra) as raised:
        ask(workers)
    assert str(raised.value) == (
        "onnxruntime is not installed. Install it: pip install 'edgestill[onnxruntime]'"
    )


@pytest.mark.parametrize("fork", [True, False])
def test_each_job_has_a_fresh_process(fork: bool, deed: Path, ask: Ask) -> None:
    log = deed.with_name("processes")
    deed.write_text(
        "import os\nwith (here / 'processes').open('a') as file: "
        "file.write(f'{os.getpid()} {os.getppid()}\\n')"
    )
    log.unlink(missing_ok=True)
    before = children(os.getpid())
    with Workers(fork=fork) as workers:
        for _ in range(3):
            assert_right(ask(workers))
    processes = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
    # Two calls a job: 100 samples in batches of 64.
    assert len(processes) == 6
    assert processes[::2] == processes[1::2]
    own, parents = zip(*processes[::2], strict=True)
    assert len(set(own)) == 3
    if fork:
        # All from one that has imported the runtime.
        assert len(set(parents)) == 1
        assert parents[0] != os.getpid()
    else:
        assert set(parents) == {os.getpid()}
    assert children(os.getpid()) == before


def test_a_worker_that_was_killed_between_two_jobs_is_replaced_without_a_trace(
    ask: Ask, deed: Path
) -> None:
    before = set(children(os.getpid()))
    with Workers() as workers:
        assert_right(ask(workers))
        (process,) = set(children(os.getpid())) - before
        os.kill(process, signal.SIGKILL)
        # Until all its threads have ended, so that its parent can know; the parent still has to.
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        assert_right(ask(workers))
        (other,) = set(children(os.getpid())) - before
        assert other != process
    gc.collect()  # a pipe that was left open would warn here
    assert set(children(os.getpid())) == before


ASK_FOREVER = """
import sys
from pathlib import Path
from edgestill.targets.jobs import Model, PredictJob
from edgestill.targets.process import Workers

engine, dataset, out, fork = sys.argv[1:]
model = Model("engine", Path(engine), "")
with Workers(fork=fork == "True") as workers:
    for number in range(2):
        job = PredictJob("predict", model, Path(dataset), Path(out, str(number)), 1, 64)
        workers.ask("onnxruntime", job, 600)
        print("answered", flush=True)
"""


@pytest.mark.parametrize("fork", [True, False])
def test_workers_and_their_jobs_die_with_a_parent_that_is_killed(
    fork: bool, engine: Engine, numbers: Dataset, deed: Path, tmp_path: Path
) -> None:
    # The second job hangs.
    deed.write_text(
        "import os, time\n"
        "if len(list(here.glob('call*'))) == 2: (here / 'hangs').touch(); time.sleep(600)\n"
        "(here / f'call{time.time_ns()}').touch()"
    )
    hangs = deed.with_name("hangs")
    command = [sys.executable, "-c", ASK_FOREVER]
    arguments = [engine.path, numbers.path, tmp_path, fork]
    with subprocess.Popen([*command, *map(str, arguments)], stdout=subprocess.PIPE) as parent:
        try:
            wait_for(hangs.exists)
            workers = children(parent.pid)
            jobs = [job for process in workers for job in children(process)]
            assert (len(workers), len(jobs)) == (1, int(fork))
        finally:
            parent.kill()
            for file in (hangs, *deed.parent.glob("call*")):
                file.unlink(missing_ok=True)
    wait_for(lambda: not {*workers, *jobs} & set(ancestors()))


def test_a_job_dies_with_its_worker(deed: Path, ask: Ask) -> None:
    # Not the tests themselves, should it have come about without a worker.
    deed.write_text(
        "import os, time; (here / 'job').write_text(f'{os.getpid()} {os.getppid()}')\n"
        f"if os.getppid() != {os.getpid()}: os.kill(os.getppid(), 9); time.sleep(600)"
    )
    with Workers() as workers, pytest.raises(DeviceError) as raised:
        ask(workers)
    assert str(raised.value) == "onnxruntime crashed (SIGKILL)"
    job, process = map(int, deed.with_name("job").read_text().split())
    wait_for(lambda: not {job, process} & set(ancestors()))


def test_a_module_beside_the_recipe_does_not_shadow_a_library(
    engine: Engine, numbers: Dataset, tmp_path: Path
) -> None:
    for name in ("numpy", "onnxruntime", "edgestill", "json", "types", "runpy", "typing"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    script = tmp_path / "elsewhere" / "script.py"
    script.parent.mkdir()
    script.write_text(ASK_FOREVER)
    command = [sys.executable, str(script)]
    arguments = [engine.path, numbers.path, tmp_path, True]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}
    done = subprocess.run(
        [*command, *map(str, arguments)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.stdout, done.stderr) == ("answered\nanswered\n", "")
