"""NVIDIA's management library, as far as the energy of a GPU needs it: it comes with the driver."""

from __future__ import annotations

import ctypes
from typing import Any

from edgestill.errors import DeviceError

_NOT_SUPPORTED = 3  # NVML_ERROR_NOT_SUPPORTED


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
        millijoules = ctypes.c_ulonglong()
        self._call("nvmlDeviceGetTotalEnergyConsumption", self._handle, ctypes.byref(millijoules))
        return millijoules.value * 1000

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._library, function)(*arguments)
        if status == _NOT_SUPPORTED:
            raise DeviceError("this GPU does not count its energy")
        if status:
            raise DeviceError(f"{function} failed with NVML error {status}")
