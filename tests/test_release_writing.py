"""A release is written whole or not at all: errors, full disks, and kills at any moment."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgestill.artifact import OnnxDescription, OnnxModel, Signature
from edgestill.errors import ExitCode, StoreError, UsageError
from edgestill.release import ReleaseDescription, open_release, writing
from edgestill.verdict import Verdict


def described(name: str, verdict: Verdict = Verdict.PASS) -> ReleaseDescription:
    return ReleaseDescription(name, "custom", "x", 1, 0, (), {}, None, (), (), verdict)


def write(place: Path, name: str, verdict: Verdict = Verdict.PASS) -> None:
    with writing(place) as writer:
        writer.describe(described(name, verdict))
        writer.add_text(f"code/{name}.py", "pass\n")


def name_of(place: Path) -> str:
    return open_release(place).description.name


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "dist" / "small"


def test_a_release_is_written(place: Path) -> None:
    write(place, "first")
    assert name_of(place) == "first"
    assert [file.name for file in place.parent.iterdir()] == ["small"]


def test_a_former_release_is_replaced_as_a_whole(place: Path) -> None:
    write(place, "first")
    write(place, "second")
    assert name_of(place) == "second"
    assert [file.name for file in (place / "code").iterdir()] == ["second.py"]
    assert [file.name for file in place.parent.iterdir()] == ["small"]


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE])
def test_a_release_that_passed_stays_beside_one_that_did_not(place: Path, verdict: Verdict) -> None:
    passed = place.with_name("small.passed")
    write(place, "good")
    with writing(place) as writer:
        writer.describe(described("bad", verdict))
    assert writer.kept == passed
    assert (name_of(place), name_of(passed)) == ("bad", "good")
    # One that did not pass takes no place of one that did, and one that did takes every place.
    write(place, "worse", verdict)
    assert (name_of(place), name_of(passed)) == ("worse", "good")
    write(place, "better")
    assert (name_of(place), name_of(passed)) == ("better", "good")
    write(place, "bad", verdict)
    assert (name_of(place), name_of(passed)) == ("bad", "better")
    assert {file.name for file in place.parent.iterdir()} == {"small", "small.passed"}


def test_one_without_gates_is_none_that_failed(place: Path) -> None:
    write(place, "good")
    write(place, "without", Verdict.NOT_RUN)
    assert [file.name for file in place.parent.iterdir()] == ["small"]
    write(place, "bad", Verdict.FAIL)
    assert name_of(place.with_name("small.passed")) == "without"


def test_what_somebody_has_where_it_would_be_kept_is_refused_before_any_work(place: Path) -> None:
    passed = place.with_name("small.passed")
    passed.mkdir(parents=True)
    (passed / "notes.txt").write_text("mine")
    text = f"{passed}: the output folder is not empty and not a release. Choose another with --out"
    with pytest.raises(UsageError, match=re.escape(text)):
        write(place, "first")
    assert not place.exists()


def test_a_kill_before_the_release_that_passed_was_put_aside_loses_nothing(place: Path) -> None:
    write(place, "good")
    place.rename(place.with_name(".small.999999999.former"))
    # As a killed run leaves them: the new one is in its place, the former one beside it.
    write(place.with_name("other"), "bad", Verdict.FAIL)
    place.with_name("other").rename(place)
    with pytest.raises(KeyboardInterrupt), writing(place):
        raise KeyboardInterrupt
    assert name_of(place.with_name("small.passed")) == "good"


KILLED_WHILE_KEEPING = """
import os, signal, sys
from pathlib import Path
from edgestill.release import ReleaseDescription, open_release, writing

place, passed = Path(sys.argv[1]), Path(sys.argv[1] + ".passed")


def write(name, verdict):
    with writing(place) as writer:
        description = (name, "custom", "x", 1, 0, (), {}, None, (), (), verdict)
        writer.describe(ReleaseDescription(*description))
        for file in range(3):
            writer.add_text(f"code/{name}{file}.py", "pass")


def names():
    return [open_release(found).description.name for found in (place, passed) if found.exists()]


def killed_at(point):
    seen = 0

    def watch(event, arguments):
        nonlocal seen
        if event in {"os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}:
            seen += str(place.parent) in str(arguments) or isinstance(arguments[-1], int)
            if seen == point:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    write("bad", "FAIL")
    os._exit(0)


for point in range(1, 100):
    for name, verdict in (("older", "PASS"), ("worse", "FAIL"), ("good", "PASS")):
        write(name, verdict)
    if (child := os.fork()) == 0:
        killed_at(point)
    _, status = os.waitpid(child, 0)
    names()  # whole, or not there
    write("last", "FAIL")
    print(*names(), *sorted(file.name for file in place.parent.iterdir()))
    if not os.WIFSIGNALED(status):
        break
"""


def test_a_kill_at_any_moment_of_keeping_loses_no_release_that_passed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_KEEPING, tmp_path / "small"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stderr == ""
    outcomes = done.stdout.splitlines()
    assert 5 < len(outcomes) < 99
    assert set(outcomes) == {"last good small small.passed"}


def test_another_run_may_keep_what_passed_at_the_same_moment(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, passed = Path.rename, place.with_name("small.passed")
    write(place, "good")
    write(place.with_name("theirs"), "theirs")

    def second(self: Path, target: Path) -> Path:
        if target == passed and place.with_name("theirs").exists():
            rename(place.with_name("theirs"), passed)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", second)
    write(place, "bad", Verdict.FAIL)
    assert (name_of(place), name_of(passed)) == ("bad", "good")
    assert {file.name for file in place.parent.iterdir()} == {"small", "small.passed"}


def test_an_error_inside_leaves_the_former_release_untouched(place: Path) -> None:
    def content() -> dict[Path, bytes]:
        return {file: file.read_bytes() for file in place.rglob("*") if file.is_file()}

    write(place, "first")
    before = content()
    # An error of the disk that is not this release's is not told as one.
    with pytest.raises(FileNotFoundError, match=r"labels\.csv"), writing(place) as writer:
        writer.describe(described("second"))
        (place / "labels.csv").open()
    assert content() == before
    assert [file.name for file in place.parent.iterdir()] == ["small"]


def test_an_error_inside_leaves_nothing_where_nothing_was(place: Path) -> None:
    with pytest.raises(KeyboardInterrupt), writing(place) as writer:
        writer.describe(described("first"))
        raise KeyboardInterrupt
    assert list(place.parent.iterdir()) == []


def test_where_the_exchange_fails_the_former_release_is_put_back(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def fail_for_the_new_one(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    write(place, "first")
    monkeypatch.setattr(Path, "rename", fail_for_the_new_one)
    text = f"{place}: the release cannot be written (Input/output error)"
    with pytest.raises(StoreError, match=re.escape(text)):
        write(place, "second")
    assert name_of(place) == "first"
    assert [file.name for file in place.parent.iterdir()] == ["small"]


def test_an_artifact_is_copied_without_its_log_and_writable(place: Path, tmp_path: Path) -> None:
    source = tmp_path / "artifact"
    (source / "deep" / "log").mkdir(parents=True)
    (source / "deep" / "log" / "times.json").write_text("{}")
    (source / "deep" / "model.data").write_text("weights")
    model = OnnxModel.seal(source, OnnxDescription(Signature((), (), "y"), "fp32"))
    for file in (*source.rglob("*"), source):
        file.chmod(0o555 if file.is_dir() else 0o444)
    with writing(place) as writer:
        writer.describe(described("first"))
        assert writer.add(model, "targets/cpu/fp32") == "targets/cpu/fp32"
    copied = place / "targets" / "cpu" / "fp32"
    files = {file.relative_to(copied).as_posix() for file in copied.rglob("*") if file.is_file()}
    assert files == {"onnx.json", "deep/model.data"}
    assert open_release(place).engine("targets/cpu/fp32").digest == model.digest
    modes = [file.stat().st_mode & 0o200 for file in copied.rglob("*")]
    assert all(modes) and len(modes) == 3


@pytest.mark.parametrize("what", ["a folder of somebody", "a file", "the working directory"])
def test_a_place_that_is_no_release_is_refused_before_anything_is_written(
    place: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {
        "a folder of somebody": "the output folder is not empty and not a release",
        "a file": "the output folder is a file",
        "the working directory": "the output folder holds the store or the folder that this runs "
        "in",
    }
    if what == "a file":
        place.parent.mkdir()
        place.write_text("mine")
    elif what == "a folder of somebody":
        place.mkdir(parents=True)
        (place / "thesis.txt").write_text("mine")
    else:
        (place / "deep").mkdir(parents=True)
        monkeypatch.chdir(place / "deep")
    before = sorted(place.parent.rglob("*"))
    with pytest.raises(UsageError) as raised, writing(place):
        pytest.fail("the block is not entered")
    assert str(raised.value) == f"{place}: {expected[what]}. Choose another with --out"
    assert raised.value.exit_code is ExitCode.USAGE
    assert sorted(place.parent.rglob("*")) == before


def test_an_empty_folder_will_do(place: Path) -> None:
    place.mkdir(parents=True)
    write(place, "first")
    assert name_of(place) == "first"


def test_a_link_is_followed(place: Path, tmp_path: Path) -> None:
    write(tmp_path / "disk" / "real", "first")
    place.parent.mkdir()
    place.symlink_to(tmp_path / "disk" / "real")
    write(place, "second")
    assert place.is_symlink()
    assert name_of(tmp_path / "disk" / "real") == "second"


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


# In containers the run that was killed often had the same number as this one.
@pytest.mark.parametrize("own", [False, True], ids=["another process", "one of our number"])
@pytest.mark.parametrize("name", ["small", "small[1]*"])
def test_what_a_killed_run_left_behind_is_tidied_up(tmp_path: Path, own: bool, name: str) -> None:
    place = tmp_path / name
    pid = os.getpid() if own else ended_process()
    write(tmp_path / "first", "first")
    (tmp_path / "first").rename(tmp_path / f".{name}.{pid}.former")
    (tmp_path / f".{name}.{pid}.partial" / "model").mkdir(parents=True)
    with pytest.raises(ZeroDivisionError), writing(place):
        raise ZeroDivisionError
    assert name_of(place) == "first"
    assert [file.name for file in tmp_path.iterdir()] == [name]
    write(place, "second")
    assert name_of(place) == "second"


def test_what_belongs_to_others_is_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "small"
    others = [
        f".small.{os.getppid()}.partial",  # a run that is at work
        f".small.v2.{ended_process()}.former",  # the release small.v2 of a killed run
        ".small.1.backup",
        ".small.partial",
    ]
    for other in others:
        write(tmp_path / other, "other")
    write(place, "first")
    assert name_of(place) == "first"
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([*others, "small"])


KILLED = """
import json, os, shutil, signal, sys
from pathlib import Path
from edgestill.release import ReleaseDescription, open_release, writing

EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree"}
folder = Path(sys.argv[1])
place = folder / "small"
with_former = sys.argv[2] == "former"


def write(name):
    with writing(place) as writer:
        description = (name, "custom", "x", 1, 0, (), {}, None, (), (), "PASS")
        writer.describe(ReleaseDescription(*description))
        for file in range(3):
            writer.add_text(f"code/{name}{file}.py", "pass" * 1000)


def killed_at(point):
    seen = 0

    def watch(event, arguments):
        nonlocal seen
        if event in EVENTS and str(folder) in str(arguments):
            seen += 1
            if seen == point:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    write("new")
    os._exit(0)


def name():
    return open_release(place).description.name


if with_former:
    write("old")
outcomes = []
while True:
    if (child := os.fork()) == 0:
        killed_at(len(outcomes) + 1)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        break
    found = name() if place.exists() else "nothing"
    try:
        with writing(place):
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    tidied = name() if place.exists() else "nothing"
    left = sorted(file.name for file in folder.iterdir())
    outcomes.append((found, tidied, left))
    shutil.rmtree(place, ignore_errors=True)
    if with_former:
        write("old")
print(json.dumps(outcomes))
"""


@pytest.mark.parametrize("before", ["former", "nothing"])
def test_a_kill_at_any_moment_leaves_the_old_or_the_new_release(
    tmp_path: Path, before: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path, before],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    outcomes = json.loads(done.stdout)
    old = "old" if before == "former" else "nothing"
    tidied = [after for _, after, _ in outcomes]
    # The old one until the moment of the exchange, and the new one from then on.
    exchange = tidied.index("new")
    assert tidied == [old] * exchange + ["new"] * (len(tidied) - exchange)
    assert exchange > 10
    for found, after, left in outcomes:
        # Between two renames the former release lies beside its place, and is put back.
        assert found in (after, "nothing")
        assert left == ([] if after == "nothing" else ["small"])
    if before == "former":
        assert [found for found, _, _ in outcomes].count("nothing") == 1


FULL = """
import resource, sys
from pathlib import Path
from edgestill.artifact import OnnxDescription, OnnxModel, Signature
from edgestill.errors import StoreError
from edgestill.release import writing

place, way = Path(sys.argv[1]), sys.argv[2]
large = place.parent / "large"
large.mkdir()
(large / "model.onnx").write_bytes(bytes(200_000))
model = OnnxModel.seal(large, OnnxDescription(Signature((), (), "y"), "fp32"))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with writing(place) as writer:
        if way == "artifact":
            writer.add(model, "model")
        elif way == "text":
            writer.add_text("report.md", "x" * 200_000)
        else:
            for index in range(1500):
                writer.add_text(f"code/{index}.py", "")
except StoreError as error:
    print(error, int(error.exit_code))
"""


@pytest.mark.parametrize("way", ["artifact", "text", "manifest"])
def test_a_disk_that_takes_no_more_is_told_and_the_former_release_stays(
    place: Path, way: str
) -> None:
    write(place, "first")
    done = subprocess.run(
        [sys.executable, "-c", FULL, place, way],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == (
        f"{place}: the release cannot be written (File too large). "
        "Free some space or choose another folder with --out 3"
    )
    assert name_of(place) == "first"
    assert sorted(file.name for file in place.parent.iterdir()) == ["large", "small"]


FORBIDDEN = """
import os, sys
from pathlib import Path
from edgestill.errors import StoreError
from edgestill.release import writing
if os.getuid() == 0:
    os.setuid(65534)
try:
    with writing(Path(sys.argv[1])):
        print("entered")
except StoreError as error:
    print(error)
"""


@pytest.fixture
def forbidden() -> Iterator[Path]:
    """A folder that others may look into, and nobody may write to."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("below", ["small", "deep/small"])
def test_a_folder_that_may_not_be_written_is_told_before_any_work(
    forbidden: Path, below: str
) -> None:
    place = forbidden / below
    done = subprocess.run(
        [sys.executable, "-c", FORBIDDEN, place],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=forbidden,
    )
    assert done.stdout.strip() == (
        f"{place}: the release cannot be written (Permission denied). "
        "Free some space or choose another folder with --out"
    )
    assert list(forbidden.iterdir()) == []


MANY = """
import sys
from pathlib import Path
from edgestill.release import ReleaseDescription, writing

for number in range(60):
    with writing(Path(sys.argv[1]) / "small") as writer:
        description = (sys.argv[2], "custom", "x", 1, 0, (), {}, None, (), (), "PASS")
        writer.describe(ReleaseDescription(*description))
        writer.add_text("code/file.py", sys.argv[2])
"""


def test_runs_that_write_one_release_at_once_all_finish(tmp_path: Path) -> None:
    call = [sys.executable, "-c", MANY, str(tmp_path)]
    runs = [
        subprocess.Popen([*call, name], stderr=subprocess.PIPE, text=True)
        for name in ("first", "second")
    ]
    errors = [run.communicate(timeout=120)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], errors
    release = open_release(tmp_path / "small")
    assert (release.path / "code" / "file.py").read_text("utf-8") == release.description.name
    assert [file.name for file in tmp_path.iterdir()] == ["small"]


def test_a_place_that_holds_what_has_to_stay_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "small"
    write(place, "former")
    words = "the output folder holds the store or the folder that this runs in"
    with pytest.raises(UsageError, match=words), writing(place, keep=(place / "store",)):
        pass
    assert name_of(place) == "former"


def test_files_that_somebody_put_beside_a_release_are_not_lost(tmp_path: Path) -> None:
    place = tmp_path / "small"
    write(place, "former")
    (place / "thesis.tex").write_text("years of work", "utf-8")
    with pytest.raises(UsageError, match="not empty and not a release"), writing(place):
        pass
    assert (place / "thesis.tex").read_text("utf-8") == "years of work"
