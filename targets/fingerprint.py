"""What machine this is, and what state it is in. What cannot be read is None, never a guess."""

from __future__ import annotations

import math
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from edgestill.digest import digest_value
from edgestill.errors import DeviceError
from edgestill.quantities import count_text
from edgestill.targets.nvml import GpuState, engines_gpu

# Instructions that decide how fast, and with what rounding, int8 and bfloat16 run.
ISA_FLAGS = frozenset(
    (
        *(
            "avx2",
            "fma",
            "f16c",
            "avx_vnni",
            "avx512f",
            "avx512_vnni",
            "avx512_bf16",
            "avx512_fp16",
        ),
        *("amx_tile", "amx_int8", "amx_bf16"),
        *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
    )
)

_CPU = Path("/sys/devices/system/cpu")
_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Fingerprint:
    """A machine. Two with the same digest can be expected to measure alike.

    Attributes:
        machine: its architecture, such as `x86_64` or `aarch64`.
        board: the name of a single-board computer.
        cpu: the model of its processor.
        isa: those of `ISA_FLAGS` that it has.
        cores: that this process may run on.
        cpu_quota: how many cores' worth of time its control groups let this process use.
        governor: what sets the clock frequency.
        memory_gib: its main memory, or the control groups' limit.
        gpus: name, compute capability and driver of each.
        os: not part of the digest, and neither is `python`.
    """

    machine: str
    board: str | None
    cpu: str
    isa: tuple[str, ...]
    cores: int
    cpu_quota: float | None
    governor: str | None
    memory_gib: int | None
    gpus: tuple[str, ...]
    os: str = field(compare=False)
    python: str = field(compare=False)

    @classmethod
    def read(cls) -> Fingerprint:
        """The fingerprint of this machine."""
        cpu, flags = _cpu()
        board = (_text(Path("/proc/device-tree/model")) or "").strip("\0")
        return cls(
            machine=platform.machine(),
            board=board or None,
            cpu=cpu,
            isa=tuple(sorted(ISA_FLAGS & flags)),
            cores=available_cores(),
            cpu_quota=_cpu_quota(),
            governor=_text(_CPU / "cpu0/cpufreq/scaling_governor"),
            memory_gib=_memory_gib(),
            gpus=_gpus(),
            os=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
        )

    @property
    def digest(self) -> str:
        return digest_value(self)

    @property
    def usable_cores(self) -> int:
        """How many cores' worth of time a process gets here."""
        return _usable(self.cores, self.cpu_quota)

    def crowd(self, threads: int) -> str:
        """Why so many threads are too many for it; empty where they are not."""
        if threads <= self.usable_cores:
            return ""
        cores = count_text(self.cores, "core", "cores")
        if self.cpu_quota is not None and self.cpu_quota < self.cores:
            cores = f"{self.cpu_quota:g} of {cores} (the quota of its control group)"
        return (
            f"{threads} threads share {cores} here and wait for each other: training and timed "
            "calls take longer than with fewer"
        )

    @property
    def name(self) -> str:
        """What people call it: `Raspberry Pi 5 Model B Rev 1.0, 4 cores`."""
        return device_name(asdict(self))


def device_name(facts: Mapping[str, Any]) -> str:
    """What people call a machine, from the fields of its fingerprint as a file has them."""
    cores = facts.get("cores")
    parts = (
        facts.get("board") or facts.get("cpu"),
        count_text(cores, "core", "cores") if cores else None,
        *(facts.get("gpus") or ()),
    )
    return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class DeviceState:
    """What can make one measurement differ from the next on the same machine.

    Attributes:
        load: processes that wanted to run, averaged over the last minute.
        frequency_mhz: of the clock, averaged over the cores.
        temperature_c: of the hottest sensor.
        throttled: how often the cores were slowed for their temperature since the machine started.
        cpu_quota: how many cores' worth of time the control groups let this process use.
        quota_throttled_us: how long the control groups were held back since they were made.
        available_memory_bytes: what could be used without swapping.
        gpu: of the GPU that engines run on, where one is measured.
    """

    load: float | None
    frequency_mhz: float | None
    temperature_c: float | None
    throttled: int | None
    cpu_quota: float | None
    quota_throttled_us: int | None
    available_memory_bytes: int | None
    gpu: GpuState | None

    @classmethod
    def read(cls, *, gpu: bool = False) -> DeviceState:
        """The state of this machine now, with that of its GPU if that is asked for."""
        frequencies = _numbers(_CPU, "cpu[0-9]*/cpufreq/scaling_cur_freq")
        temperatures = _numbers(Path("/sys/class/thermal"), "thermal_zone*/temp")
        throttles = _numbers(_CPU, "cpu[0-9]*/thermal_throttle/core_throttle_count")
        available = _line(Path("/proc/meminfo"), "MemAvailable")
        return cls(
            load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            frequency_mhz=round(sum(frequencies) / len(frequencies) / 1e3) if frequencies else None,
            temperature_c=max(temperatures) / 1e3 if temperatures else None,
            throttled=sum(throttles) if throttles else None,
            cpu_quota=_cpu_quota(),
            quota_throttled_us=_quota_throttled_us(),
            available_memory_bytes=available * 1024 if available is not None else None,
            gpu=_gpu_state() if gpu else None,
        )


def _gpu_state() -> GpuState | None:
    try:
        return engines_gpu().state()
    except DeviceError:
        return None


def usable_cores() -> int:
    """How many cores' worth of time this process gets: by affinity and control group."""
    return _usable(available_cores(), _cpu_quota())


def _usable(cores: int, quota: float | None) -> int:
    return max(1, min(cores, math.ceil(quota or cores)))


def available_cores() -> int:
    """How many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu() -> tuple[str, set[str]]:
    """The processor's name and all its flags."""
    text = _text(Path("/proc/cpuinfo")) or ""
    entries: dict[str, str] = {}
    for name, value in re.findall(r"^([^\n:\t]+?)[ \t]*:[ \t]*(.*)$", text, re.MULTILINE):
        entries.setdefault(name, value)
    arm = " ".join(
        f"{name.removeprefix('CPU ')} {entries[name]}"
        for name in ("CPU implementer", "CPU part")
        if name in entries
    )
    name = entries.get("model name") or arm or platform.processor() or "unknown"
    return name, set((entries.get("flags") or entries.get("Features") or "").split())


def _control_groups(controller: str) -> list[Path]:
    """The folders of the control groups that this process is in: its own, and all above it.

    In a container the path may be the host's, of which only the root can be seen from inside.
    """
    folders = []
    for line in (_text(_OWN_CGROUP) or "0::/").splitlines():
        _, controllers, path = line.split(":", 2)
        own = PurePosixPath(path.lstrip("/"))
        if ".." in own.parts:  # outside of what this namespace shows
            own = PurePosixPath()
        if not controllers:  # version 2, alone or beside version 1
            roots = [_CGROUP, _CGROUP / "unified"]
        elif controller in controllers.split(","):
            roots = [_CGROUP / controller]
        else:
            continue
        folders += [root / group for root in roots for group in (own, *own.parents)]
    return folders


def _cpu_quota() -> float | None:
    quotas = []
    for folder in _control_groups("cpu"):
        words = (_text(folder / "cpu.max") or "").split()
        if not words:  # version 1
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            words = [_text(folder / name) or "-1" for name in names]
        if words[0].isdecimal():  # neither `max` nor -1
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def _quota_throttled_us() -> int | None:
    found = []
    for folder in _control_groups("cpu"):
        statistics = folder / "cpu.stat"
        nanoseconds = _line(statistics, "throttled_time")  # version 1
        microseconds = _line(statistics, "throttled_usec")
        if microseconds is None and nanoseconds is not None:
            microseconds = nanoseconds // 1000
        found += [] if microseconds is None else [microseconds]
    return sum(found) if found else None


def _memory_gib() -> int | None:
    total = _line(Path("/proc/meminfo"), "MemTotal")
    sizes = [total * 1024] if total is not None else []
    for folder in _control_groups("memory"):
        limit = _text(folder / "memory.max") or _text(folder / "memory.limit_in_bytes")
        if limit and limit.isdecimal():
            sizes.append(int(limit))
    return round(min(sizes) / 2**30) if sizes else None


def _gpus() -> tuple[str, ...]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    query = [tool, "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


def _line(path: Path, name: str) -> int | None:
    """The number that follows `name` in a file of names and numbers."""
    found = re.search(rf"^{name}:?\s+(\d+)", _text(path) or "", re.MULTILINE)
    return int(found[1]) if found else None


def _numbers(folder: Path, pattern: str) -> list[int]:
    texts = (_text(path) for path in folder.glob(pattern))
    return [int(text) for text in texts if text and text.lstrip("-").isdecimal()]
