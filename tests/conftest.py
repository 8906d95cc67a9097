"""What tests of several folders share: torch's switches, a stand-in for the CUDA driver."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from edgestill.extras import set_switches

set_switches("torch")  # before any test imports torch


class Driver:
    """Does at once what the real one would enqueue. Functions give 0, or a CUDA error.

    Args:
        gpus: their names.
        cuda: the driver's version, as it gives it.
        error: what `cuInit` gives.
    """

    def __init__(
        self, gpus: Sequence[str] = ("NVIDIA L4",), *, cuda: int = 13000, error: int = 0
    ) -> None:
        self.gpus = gpus
        self.cuda = cuda
        self.error = error
        self.held: dict[int, Any] = {}
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return lambda *arguments: 0

    def cuInit(self, flags: int) -> int:  # noqa: N802 - its name
        return self.error

    def cuGetErrorString(self, error: int, text: Any) -> int:  # noqa: N802
        text._obj.value = b"out of order" if error == 100 else None
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = len(self.gpus)
        return 0

    def cuDriverGetVersion(self, number: Any) -> int:  # noqa: N802
        number._obj.value = self.cuda
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:  # noqa: N802
        device._obj.value = index
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:  # noqa: N802
        name.value = self.gpus[device.value].encode()
        return 0

    def cuDeviceGetPCIBusId(self, text: Any, size: int, device: Any) -> int:  # noqa: N802
        text.value = f"0000:3B:0{device.value}.0".encode()
        return 0

    def cuDeviceGetAttribute(self, number: Any, attribute: int, device: Any) -> int:  # noqa: N802
        number._obj.value = {75: 8, 76: 9}[attribute]
        return 0

    def cuMemAlloc_v2(self, pointer: Any, size: Any) -> int:  # noqa: N802
        buffer = ctypes.create_string_buffer(size.value)
        pointer._obj.value = ctypes.addressof(buffer)
        self.held[pointer._obj.value] = buffer
        return 0

    def cuMemFree_v2(self, pointer: Any) -> int:  # noqa: N802
        del self.held[pointer.value]
        return 0

    def cuMemcpyHtoDAsync_v2(self, to: Any, source: Any, size: Any, stream: Any) -> int:  # noqa: N802
        ctypes.memmove(to.value, source.value, size.value)
        return 0

    cuMemcpyDtoHAsync_v2 = cuMemcpyHtoDAsync_v2  # noqa: N815


@pytest.fixture(autouse=True)
def outside_of_github(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests start writes no summary or annotation into a workflow that runs them."""
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)


@pytest.fixture
def cuda_driver(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Driver]:
    """Puts a stand-in in the place of the driver's library, and gives it."""

    def install(*arguments: Any, **options: Any) -> Driver:
        driver = Driver(*arguments, **options)
        monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
        return driver

    return install
