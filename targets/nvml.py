"""NVIDIA's management library: what a GPU says of its state. It comes with the driver."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from edgestill.errors import DeviceError
from edgestill.targets.cuda import pci_bus_id

_NOT_SUPPORTED = 3  # NVML_ERROR_NOT_SUPPORTED
_DIE = 0  # NVML_TEMPERATURE_GPU
_SM = 1  # NVML_CLOCK_SM
# nvmlClocksEventReasons: power cap, hardware slowdown, both thermal slowdowns, power brake.
_SLOWED = 0x04 | 0x08 | 0x20 | 0x40 | 0x80

Value = TypeVar("Value")


@dataclass(frozen=True)
class GpuState:
    """What can make one measurement differ from the next on the same GPU; None where it is silent.

    Attributes:
        slowed: whether its clock is held down, for its temperature or its power.
    """

    clock_mhz: float | None
    temperature_c: float | None
    slowed: bool | None


@lru_cache(maxsize=1)
def engines_gpu() -> ManagedGpu:
    """The GPU that engines run on.

    Raises:
        DeviceError: there is none, or no NVML that knows it.
    """
    return ManagedGpu(pci_bus_id())


class ManagedGpu:
    """A GPU, found by its place on the bus: NVML knows nothing of `CUDA_VISIBLE_DEVICES`.

    Raises:
        DeviceError: there is no such library, or it knows no such GPU.
    """

    def __init__(self, pci_bus_id: str) -> None:
        try:
            self._library = ctypes.CDLL("libnvidia-ml.so.1")
        except OSError as error:
            raise DeviceError("there is no NVML (libnvidia-ml.so.1)") from error
        self._handle = ctypes.c_void_p()
        self._call("nvmlInit_v2")
        place = ctypes.c_char_p(pci_bus_id.encode())
        self._call("nvmlDeviceGetHandleByPciBusId_v2", place, ctypes.byref(self._handle))

    def energy_uj(self) -> int:
        """What it used since its driver was loaded.

        Raises:
            DeviceError: it does not count it; GPUs do from Volta on.
        """
        return self._number("TotalEnergyConsumption") * 1000  # from millijoules

    def state(self) -> GpuState:
        reasons = _unless_silent(lambda: self._number("CurrentClocksThrottleReasons"))
        return GpuState(
            clock_mhz=_unless_silent(lambda: self._number("ClockInfo", _SM)),
            temperature_c=_unless_silent(lambda: self._number("Temperature", _DIE)),
            slowed=None if reasons is None else bool(reasons & _SLOWED),
        )

    def _number(self, what: str, *which: int) -> int:
        # Of 32 bits or of 64: the machine is little-endian wherever there is such a GPU.
        number = ctypes.c_ulonglong()
        arguments = [ctypes.c_int(kind) for kind in which]
        self._call(f"nvmlDeviceGet{what}", self._handle, *arguments, ctypes.byref(number))
        return number.value

    def _call(self, function: str, *arguments: Any) -> None:
        asked = getattr(self._library, function, None)
        if asked is None:
            raise DeviceError(f"the NVML of this driver has no {function}")
        status = asked(*arguments)
        if status == _NOT_SUPPORTED:
            raise DeviceError(f"this GPU has no {function.removeprefix('nvmlDeviceGet')}")
        if status:
            raise DeviceError(f"{function} failed with NVML error {status}")


def _unless_silent(ask: Callable[[], Value]) -> Value | None:
    with suppress(DeviceError):
        return ask()
    return None
