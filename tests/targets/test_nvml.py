"""What a GPU says of its state, and what it leaves out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgestill.errors import DeviceError
from edgestill.targets.fingerprint import DeviceState
from edgestill.targets.nvml import GpuState, engines_gpu

Install = Callable[..., Any]


def test_the_gpu_is_found_by_its_place_on_the_bus(gpu: Install) -> None:
    management = gpu(ClockInfo=1980, Temperature=61, CurrentClocksThrottleReasons=0)
    assert DeviceState.read(gpu=True).gpu == GpuState(1980, 61, slowed=False)
    assert management.asked == b"0000:3B:00.0"
    assert DeviceState.read().gpu is None


@pytest.mark.parametrize(
    ("reasons", "slowed"),
    [
        pytest.param(0x01, False, id="idle"),
        pytest.param(0x02, False, id="clocks set by the user"),
        pytest.param(0x04, True, id="power cap"),
        pytest.param(0x08, True, id="hardware slowdown"),
        pytest.param(0x20 | 0x01, True, id="software thermal"),
        pytest.param(0x40, True, id="hardware thermal"),
        pytest.param(0x80, True, id="power brake"),
        pytest.param(1 << 40, False, id="one that is not known yet"),
    ],
)
def test_a_clock_that_is_held_down_for_heat_or_power_is_slowed(
    reasons: int, slowed: bool, gpu: Install
) -> None:
    gpu(CurrentClocksThrottleReasons=reasons)
    assert engines_gpu().state() == GpuState(None, None, slowed)


def test_what_a_gpu_does_not_say_is_none(gpu: Install) -> None:
    gpu()
    assert DeviceState.read(gpu=True).gpu == GpuState(None, None, None)


def test_an_old_library_lacks_what_it_lacks_and_no_more(gpu: Install) -> None:
    lacking = "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetCurrentClocksThrottleReasons"
    gpu(lacking=lacking, Temperature=61)
    assert engines_gpu().state() == GpuState(None, 61, None)
    with pytest.raises(DeviceError, match=f"^the NVML of this driver has no {lacking[0]}$"):
        engines_gpu().energy_uj()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"nvml": False}, "there is no NVML (libnvidia-ml.so.1)"),
        ({"error": 9}, "nvmlInit_v2 failed with NVML error 9"),
    ],
)
def test_a_gpu_without_nvml_has_no_state(options: dict[str, Any], text: str, gpu: Install) -> None:
    gpu(**options)
    with pytest.raises(DeviceError) as raised:
        engines_gpu()
    assert str(raised.value) == text
    assert DeviceState.read(gpu=True).gpu is None
