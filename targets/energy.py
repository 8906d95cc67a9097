"""The energy that a device uses, by the counters that processors (RAPL) and NVIDIA GPUs have.

A counter is updated from time to time: the first and the last update of a window may be off by one
period each. So a window is as long as 50 periods, or nothing is said: then it is 4 % at most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgestill.errors import DeviceError
from edgestill.targets.blocks import Energy
from edgestill.targets.nvml import engines_gpu

FEWEST_UPDATES = 50

_POWERCAP = Path("/sys/class/powercap")
# Intel, Software Developer's Manual 3B, "RAPL interfaces": about every millisecond.
_RAPL_PERIOD_NS = 1_000_000
# 20 to 100 ms by GPU (Yang, Adamek and Armour 2023, "Part-time power measurements").
_NVML_PERIOD_NS = 100_000_000


@dataclass(frozen=True)
class Meter:
    """Counters of microjoules that are added up.

    Attributes:
        source: what is metered, in words.
        period_ns: the longest time between two updates.
        ranges_uj: after which value each counter begins again from 0; None for never.
        read_uj: what the counters show now.
    """

    source: str
    period_ns: int
    ranges_uj: tuple[int | None, ...]
    read_uj: Callable[[], tuple[int, ...]]

    @property
    def shortest_window_ns(self) -> int:
        return FEWEST_UPDATES * self.period_ns

    def used(
        self, before: tuple[int, ...], after: tuple[int, ...], window_ns: int, calls: int
    ) -> Energy | None:
        """What was used between two readings; None where the window is too short for an answer."""
        if window_ns < self.shortest_window_ns:
            return None
        used = 0
        for first, last, range_uj in zip(before, after, self.ranges_uj, strict=True):
            grown = last - first
            used += grown if range_uj is None else grown % (range_uj + 1)
        return Energy(self.source, used, window_ns, calls)


def find_meter(*, gpu: bool) -> Meter:
    """The meter of the GPU that engines run on, or of the processors.

    Raises:
        DeviceError: the machine has none, or this process may not read it.
    """
    return _nvml() if gpu else _rapl()


def _rapl() -> Meter:
    # `intel-rapl:0` is a package, `intel-rapl:0:1` a part of it. AMD's processors have them too.
    zones = [
        zone
        for zone in sorted(_POWERCAP.glob("intel-rapl:*"))
        if zone.name.count(":") == 1 and _text(zone / "name").startswith("package")
    ]
    if not zones:
        raise DeviceError(
            "the machine has no energy counters (RAPL in /sys/class/powercap)",
            fix="Virtual machines and most boards have none: measure on the processor itself",
        )
    counters = [zone / "energy_uj" for zone in zones]

    def read_uj() -> tuple[int, ...]:
        return tuple(int(counter.read_text()) for counter in counters)

    try:
        ranges = tuple(int((zone / "max_energy_range_uj").read_text()) for zone in zones)
        read_uj()
    except PermissionError as error:
        raise DeviceError(
            "the energy counters may be read by root alone",
            where=str(error.filename),
            fix=f"As root: chmod a+r {_POWERCAP}/intel-rapl:*/energy_uj",
        ) from error
    except (OSError, ValueError) as error:
        raise DeviceError(f"the energy counters cannot be read ({error})") from error
    return Meter("RAPL, the whole processor", _RAPL_PERIOD_NS, ranges, read_uj)


def _nvml() -> Meter:
    gpu = engines_gpu()
    gpu.energy_uj()
    return Meter("NVML, the whole GPU", _NVML_PERIOD_NS, (None,), lambda: (gpu.energy_uj(),))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
