"""What machine this is, and what state it is in. What cannot be read is None, never a guess."""

from __future__ import annotations

import math
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from edgestill.digest import digest_value

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


@dataclass(frozen=True)
class Fingerprint:
    """A machine. Two with the same digest can be expected to measure alike.

    Attributes:
        machine: its architecture, such as `x86_64` or `aarch64`.
        board: the name of a single-board computer.
        cpu: the model of its processor.
        isa: those of `ISA_FLAGS` that it has.
        cores: that this process may run on.
        cpu_quota: how many cores' worth of time its control group may use.
        governor: what sets the clock frequency.
        memory_gib: its main memory, or the control group's limit.
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
    def name(self) -> str:
        """What people call it: `Raspberry Pi 5 Model B Rev 1.0, 4 cores`."""
        cores = f"{self.cores} core" + ("s" if self.cores > 1 else "")
        return ", ".join([self.board or self.cpu, cores, *self.gpus])


@dataclass(frozen=True)
class DeviceState:
    """What can make one measurement differ from the next on the same machine.

    Attributes:
        load: processes that wanted to run, averaged over the last minute.
        frequency_mhz: of the clock, averaged over the cores.
        temperature_c: of the hottest sensor.
        throttled: how often the cores were slowed for their temperature since the machine started.
        quota_throttled_us: how long the control group was held back since it was made.
        available_memory_bytes: what could be used without swapping.
    """

    load: float | None
    frequency_mhz: float | None
    temperature_c: float | None
    throttled: int | None
    quota_throttled_us: int | None
    available_memory_bytes: int | None

    @classmethod
    def read(cls) -> DeviceState:
        """The state of this machine now."""
        frequencies = _numbers(_CPU, "cpu[0-9]*/cpufreq/scaling_cur_freq")
        temperatures = _numbers(Path("/sys/class/thermal"), "thermal_zone*/temp")
        throttles = _numbers(_CPU, "cpu[0-9]*/thermal_throttle/core_throttle_count")
        available = _line(Path("/proc/meminfo"), "MemAvailable")
        held_back = _line(_CGROUP / "cpu.stat", "throttled_usec")
        return cls(
            load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            frequency_mhz=round(sum(frequencies) / len(frequencies) / 1e3) if frequencies else None,
            temperature_c=max(temperatures) / 1e3 if temperatures else None,
            throttled=sum(throttles) if throttles else None,
            quota_throttled_us=held_back,
            available_memory_bytes=available * 1024 if available is not None else None,
        )


def usable_cores() -> int:
    """How many cores' worth of time this process gets: by affinity and control group."""
    return max(1, min(available_cores(), math.ceil(_cpu_quota() or available_cores())))


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


def _cpu_quota() -> float | None:
    words = (_text(_CGROUP / "cpu.max") or "").split()
    if len(words) == 2 and words[0] != "max":
        return int(words[0]) / int(words[1])
    quota = _text(_CGROUP / "cpu/cpu.cfs_quota_us")  # control groups, version 1
    period = _text(_CGROUP / "cpu/cpu.cfs_period_us")
    if quota and period and int(quota) > 0:
        return int(quota) / int(period)
    return None


def _memory_gib() -> int | None:
    total = _line(Path("/proc/meminfo"), "MemTotal")
    sizes = [total * 1024] if total is not None else []
    limit = _text(_CGROUP / "memory.max")
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
