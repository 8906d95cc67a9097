"""What machine this is: read from the system, and None where the system does not say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from edgestill.targets import fingerprint
from edgestill.targets.fingerprint import DeviceState, Fingerprint, available_cores

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")


@pytest.fixture(scope="module")
def here() -> Fingerprint:
    return Fingerprint.read()


def test_a_machine_is_the_same_the_next_time(here: Fingerprint) -> None:
    again = Fingerprint.read()
    assert again == here
    assert again.digest == here.digest


def test_everything_but_the_software_makes_another_machine(here: Fingerprint) -> None:
    for name in (field.name for field in fields(here)):
        other = replace(here, **{name: "something else"})
        assert (other.digest == here.digest) == (name in ("os", "python"))


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        ({}, "Cortex-A76, 4 cores"),
        ({"cores": 1}, "Cortex-A76, 1 core"),
        ({"board": "Raspberry Pi 5"}, "Raspberry Pi 5, 4 cores"),
        ({"gpus": ("NVIDIA A2, 8.6, 550.54",)}, "Cortex-A76, 4 cores, NVIDIA A2, 8.6, 550.54"),
    ],
)
def test_a_machine_has_a_name_for_people(
    here: Fingerprint, parts: dict[str, Any], name: str
) -> None:
    plain = replace(here, board=None, cpu="Cortex-A76", cores=4, gpus=())
    assert replace(plain, **parts).name == name


@linux
def test_it_is_this_machine(here: Fingerprint) -> None:
    assert here.machine == os.uname().machine
    assert here.cores == len(os.sched_getaffinity(0))
    assert here.cpu
    assert set(here.isa) <= fingerprint.ISA_FLAGS
    assert here.python == sys.version.split()[0]
    assert here.memory_gib is not None
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert here.memory_gib <= round(pages / 2**30)


@linux
def test_cores_are_those_that_this_process_may_use() -> None:
    script = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from edgestill.targets.fingerprint import available_cores; print(available_cores())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
    assert available_cores() == len(os.sched_getaffinity(0))


@linux
def test_the_state_is_read_now() -> None:
    state = DeviceState.read()
    assert state.load is not None
    assert state.available_memory_bytes is not None
    assert (
        0 < state.available_memory_bytes < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    )
    assert state.temperature_c is None or -50 < state.temperature_c < 150
    assert state.frequency_mhz is None or 100 < state.frequency_mhz < 10_000


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts files in the place of those of the control groups, of which `own` is the process's."""

    def place(files: dict[str, str], own: str = "0::/") -> None:
        write(tmp_path / "cgroup", files)
        (tmp_path / "own").write_text(f"{own}\n")
        monkeypatch.setattr(fingerprint, "_CGROUP", tmp_path / "cgroup")
        monkeypatch.setattr(fingerprint, "_OWN_CGROUP", tmp_path / "own")

    return place


SLICE = "0::/user.slice/job.scope"
V1 = "9:name=systemd:/job\n4:memory:/docker/ab\n3:cpuacct,cpu:/docker/ab"


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/", {}, None),
        ("0::/", {"cpu.max": "max 100000\n"}, None),
        ("0::/", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/", {"cpu.max": "50000 100000\n"}, 0.5),
        ("0::/", {"unified/cpu.max": "50000 100000\n"}, 0.5),
        (SLICE, {"user.slice/job.scope/cpu.max": "50000 100000\n"}, 0.5),
        # The tightest of the way up holds; a group beside it does not.
        (
            SLICE,
            {
                "cpu.max": "400000 100000\n",
                "user.slice/cpu.max": "100000 100000\n",
                "user.slice/job.scope/cpu.max": "200000 100000\n",
                "user.slice/other.scope/cpu.max": "10000 100000\n",
            },
            1.0,
        ),
        ("0::/../../host.slice", {"cpu.max": "150000 100000\n"}, 1.5),
        # Version 1; in a container the path is the host's.
        (V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        (V1, {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        (
            V1,
            {
                "cpu/docker/ab/cpu.cfs_quota_us": "50000\n",
                "cpu/docker/ab/cpu.cfs_period_us": "100000\n",
                "cpu/cpu.cfs_quota_us": "-1\n",
                "cpu/cpu.cfs_period_us": "100000\n",
            },
            0.5,
        ),
    ],
)
def test_the_tightest_quota_of_the_control_groups_counts(
    own: str, files: dict[str, str], quota: float | None, control_groups: Callable[..., None]
) -> None:
    control_groups(files, own)
    assert Fingerprint.read().cpu_quota == quota
    assert DeviceState.read().cpu_quota == quota


@linux
@pytest.mark.parametrize(
    ("own", "files", "gib"),
    [
        ("0::/", {"memory.max": "max\n"}, None),
        ("0::/", {"memory.max": "1073741824\n"}, 1),
        (
            SLICE,
            {"user.slice/memory.max": "1073741824\n", "user.slice/job.scope/memory.max": "max\n"},
            1,
        ),
        (V1, {"memory/docker/ab/memory.limit_in_bytes": "1073741824\n"}, 1),
        (V1, {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("0::/", {}, None),
    ],
)
def test_a_limit_of_the_control_groups_is_the_memory(
    own: str,
    files: dict[str, str],
    gib: int | None,
    here: Fingerprint,
    control_groups: Callable[..., None],
) -> None:
    control_groups(files, own)
    found = Fingerprint.read().memory_gib
    assert found is not None and here.memory_gib is not None
    assert found == gib if gib else found >= here.memory_gib


@pytest.mark.parametrize(
    ("own", "files", "held_back"),
    [
        ("0::/", {"cpu.stat": "usage_usec 5\nthrottled_usec 4200\n"}, 4200),
        # A process is held back with each of its groups.
        (
            SLICE,
            {
                "cpu.stat": "usage_usec 5\n",
                "user.slice/cpu.stat": "throttled_usec 1000\n",
                "user.slice/job.scope/cpu.stat": "throttled_usec 200\n",
            },
            1200,
        ),
        (V1, {"cpu/docker/ab/cpu.stat": "nr_throttled 3\nthrottled_time 4200000\n"}, 4200),
    ],
)
def test_what_the_control_groups_held_back_is_read(
    own: str, files: dict[str, str], held_back: int, control_groups: Callable[..., None]
) -> None:
    control_groups(files, own)
    assert DeviceState.read().quota_throttled_us == held_back


def test_clock_heat_and_throttling_are_read_from_all_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        tmp_path,
        {
            "cpu0/cpufreq/scaling_cur_freq": "1000000\n",
            "cpu1/cpufreq/scaling_cur_freq": "3000000\n",
            "cpu0/cpufreq/scaling_governor": "powersave\n",
            "cpu0/thermal_throttle/core_throttle_count": "3\n",
            "cpu1/thermal_throttle/core_throttle_count": "4\n",
            "cpufreq/scaling_cur_freq": "9\n",
        },
    )
    monkeypatch.setattr(fingerprint, "_CPU", tmp_path)
    state = DeviceState.read()
    assert (state.frequency_mhz, state.throttled) == (2000, 7)
    assert Fingerprint.read().governor == "powersave"


def test_what_the_system_does_not_say_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_CPU", "_CGROUP"):
        monkeypatch.setattr(fingerprint, name, tmp_path)
    state, machine = DeviceState.read(), Fingerprint.read()
    assert (state.frequency_mhz, state.throttled, state.quota_throttled_us) == (None, None, None)
    assert (machine.governor, machine.cpu_quota) == (None, None)


INTEL = """processor\t: 0
model name\t: Intel(R) Xeon(R) CPU @ 2.80GHz
flags\t\t: fpu avx2 avx512_vnni fma
power management:

processor\t: 1
model name\t: another
flags\t\t: sse
"""
ARM = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b

processor\t: 1
CPU part\t: 0xd05
"""
NAMELESS = """processor\t: 0
model name\t:
flags\t\t: avx2
"""


@pytest.mark.parametrize(
    ("text", "cpu", "isa"),
    [
        (INTEL, "Intel(R) Xeon(R) CPU @ 2.80GHz", ("avx2", "avx512_vnni", "fma")),
        (ARM, "implementer 0x41 part 0xd0b", ("asimd", "asimddp")),
        (NAMELESS, None, ("avx2",)),
        ("", None, ()),
    ],
)
def test_the_processor_is_that_of_the_first_core(
    text: str, cpu: str | None, isa: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = fingerprint._text
    monkeypatch.setattr(
        fingerprint, "_text", lambda path: text if path.name == "cpuinfo" else read(path)
    )
    found = Fingerprint.read()
    assert found.isa == isa
    assert found.cpu == cpu if cpu else found.cpu


@pytest.mark.parametrize(
    ("tool", "gpus"),
    [
        (
            "echo 'NVIDIA A2, 8.6, 550.54'; echo 'NVIDIA L4, 8.9, 550.54'",
            ("NVIDIA A2, 8.6, 550.54", "NVIDIA L4, 8.9, 550.54"),
        ),
        ("echo 'No devices were found'; exit 6", ()),
        ("", ()),
    ],
)
def test_gpus_are_what_the_drivers_tool_lists(
    tool: str, gpus: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "nvidia-smi"
    file.write_text(f"#!/bin/sh\n{tool}\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert Fingerprint.read().gpus == gpus


def test_without_the_drivers_tool_there_are_no_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Fingerprint.read().gpus == ()
