"""Energy is read from counters that wrap around, and not from windows that are too short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgestill.errors import DeviceError
from edgestill.targets import energy
from edgestill.targets.blocks import Energy
from edgestill.targets.energy import Meter, find_meter

MS = 1_000_000
RANGE_UJ = 262_143_328_850

# A machine of two packages, with a part of one and the platform, which would count it twice.
ZONES = {
    "intel-rapl:0": ("package-0", 1_000_000),
    "intel-rapl:0:0": ("core", 9),
    "intel-rapl:1": ("package-1", 5_000_000),
    "intel-rapl:2": ("psys", 77),
    "intel-rapl-mmio:0": ("package-0", 1_000_000),
}


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The counters of such a machine."""
    for zone, (name, used_uj) in ZONES.items():
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "name").write_text(f"{name}\n")
        (tmp_path / zone / "energy_uj").write_text(f"{used_uj}\n")
        (tmp_path / zone / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    monkeypatch.setattr(energy, "_POWERCAP", tmp_path)
    return tmp_path


def test_all_packages_are_added_up_and_their_parts_are_not(powercap: Path) -> None:
    meter = find_meter(gpu=False)
    before = meter.read_uj()
    assert before == (1_000_000, 5_000_000)
    (powercap / "intel-rapl:0" / "energy_uj").write_text("4000000\n")
    (powercap / "intel-rapl:0:0" / "energy_uj").write_text("3000000\n")
    (powercap / "intel-rapl:1" / "energy_uj").write_text("5500000\n")
    used = meter.used(before, meter.read_uj(), 100 * MS, calls=7)
    assert used == Energy("RAPL, the whole processor", 3_500_000, 100 * MS, 7)


def test_a_counter_that_began_again_is_read_on(powercap: Path) -> None:
    meter = find_meter(gpu=False)
    before = (RANGE_UJ - 999, 5_000_000)
    used = meter.used(before, (2000, 5_000_001), 100 * MS, calls=1)
    assert used is not None
    assert used.microjoules == 1000 + 2000 + 1


@pytest.mark.parametrize(("window_ms", "told"), [(49, False), (50, True), (1000, True)])
def test_a_window_of_less_than_50_updates_tells_nothing(window_ms: int, told: bool) -> None:
    meter = Meter("RAPL", 1 * MS, (None,), lambda: (0,))
    assert (meter.used((0,), (9,), window_ms * MS, calls=1) is not None) == told


def test_a_machine_without_counters_says_so(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(energy, "_POWERCAP", tmp_path / "none")
    with pytest.raises(DeviceError) as raised:
        find_meter(gpu=False)
    assert str(raised.value) == (
        "the machine has no energy counters (RAPL in /sys/class/powercap). "
        "Virtual machines and most boards have none: measure on the processor itself"
    )


def test_counters_for_root_alone_are_told_with_the_command(
    powercap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter, read = powercap / "intel-rapl:1" / "energy_uj", Path.read_text

    def refused(path: Path, *arguments: Any, **options: Any) -> str:
        if path == counter:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(DeviceError) as raised:
        find_meter(gpu=False)
    assert str(raised.value) == (
        f"{counter}: the energy counters may be read by root alone. "
        f"As root: chmod a+r {powercap}/intel-rapl:*/energy_uj"
    )


def test_counters_that_are_no_numbers_are_told(powercap: Path) -> None:
    (powercap / "intel-rapl:0" / "energy_uj").write_text("nonsense")
    with pytest.raises(DeviceError, match="the energy counters cannot be read"):
        find_meter(gpu=False)


def test_a_gpu_counts_in_millijoules_and_is_found_by_its_place(gpu: Any) -> None:
    management = gpu(TotalEnergyConsumption=1000)
    meter = find_meter(gpu=True)
    before = meter.read_uj()
    management.numbers["TotalEnergyConsumption"] = 1234
    used = meter.used(before, meter.read_uj(), 5000 * MS, calls=3)
    assert used == Energy("NVML, the whole GPU", 234_000, 5000 * MS, 3)
    assert meter.used(before, meter.read_uj(), 4999 * MS, calls=3) is None
    assert management.asked == b"0000:3B:00.0"


def test_a_gpu_that_does_not_count_says_so(gpu: Any) -> None:
    gpu()
    with pytest.raises(DeviceError) as raised:
        find_meter(gpu=True)
    assert str(raised.value) == "this GPU has no TotalEnergyConsumption"
