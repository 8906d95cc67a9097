"""What of this machine a result depends on: the part of a key that is no file's content.

Neither torch nor a runtime is imported: a plan and a cached rerun ask too, and they load neither.
"""

from __future__ import annotations

import os
from enum import Enum
from functools import cached_property
from typing import Any

from edgestill.digest import canonical
from edgestill.errors import DeviceError
from edgestill.installed import installed_version
from edgestill.targets.cuda import find_gpu
from edgestill.targets.fingerprint import Fingerprint

_TRUE = ("y", "yes", "t", "true", "on", "1")  # as Accelerate reads its switches


class Hardware(Enum):
    """What a result's bits depend on, beside everything that is the same on all machines.

    Attributes:
        ANY: on nothing; every machine gives the same.
        CPU: on the processor's instruction set.
        TORCH: on the processor, and on the GPU where torch trains on one.
        GPU: on the GPU, since it is made on it or for it.
    """

    ANY = "any"
    CPU = "cpu"
    TORCH = "torch"
    GPU = "gpu"


class Machine:
    """This machine; each part is read when it is first asked for, and once."""

    def key_parts(self, hardware: Hardware) -> dict[str, Any]:
        """What belongs into the key of a result that depends on `hardware` of this machine."""
        parts: dict[str, Any] = {}
        if hardware in (Hardware.CPU, Hardware.TORCH):
            parts["isa"] = canonical(self.fingerprint.isa)
        if hardware is Hardware.GPU:
            parts["gpu"] = self._engines_on
        elif hardware is Hardware.TORCH and self._trained_on is not None:
            parts["gpu"] = self._trained_on
        return parts

    @cached_property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint.read()

    @cached_property
    def _engines_on(self) -> Any:
        return _gpu(0)

    @cached_property
    def _trained_on(self) -> Any:
        index = _cuda_device()
        return None if index is None else _gpu(index)


def _gpu(index: int) -> Any:
    """A GPU as it stands in a key; None where there is none."""
    try:
        return canonical(find_gpu(index))
    except DeviceError:
        return None


def _cuda_device() -> int | None:
    """The index of the GPU that Accelerate would choose; None where torch trains on the CPU.

    Where torch was built for CUDA and cannot use this driver, a training on the CPU is keyed by
    the GPU all the same: it is repeated once too often then, and never served wrongly.
    """
    torch = installed_version("torch")
    if torch is None or torch.endswith("+cpu"):
        return None
    named = os.environ.get("ACCELERATE_TORCH_DEVICE")
    if named is not None:
        kind, _, index = named.partition(":")
        if kind != "cuda":
            return None
        return int(index) if index.isdecimal() else 0
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in _TRUE
    return None if on_cpu else 0
