"""The CUDA driver, for which a stand-in with the machine's own memory answers."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from edgestill.errors import DeviceError
from edgestill.targets import cuda


class Driver:
    """Does at once what the real one would enqueue. Functions give 0, or a CUDA error."""

    def __init__(self, gpus: int = 1, error: int = 0) -> None:
        self.gpus = gpus
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
        count._obj.value = self.gpus
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:  # noqa: N802
        name.value = b"NVIDIA L4"
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


def install(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)


def test_the_first_gpu_is_found_by_name_and_compute_capability(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = Driver()
    install(driver, monkeypatch)
    assert cuda.find_gpu() == cuda.Gpu("NVIDIA L4", "8.9")
    # A process that has a context cannot fork.
    assert not [name for name in driver.calls if "Ctx" in name]


@pytest.mark.parametrize(
    ("driver", "text"),
    [
        (Driver(gpus=0), "the CUDA driver sees no GPU"),
        (Driver(error=100), "cuInit failed with CUDA error 100 (out of order)"),
        (Driver(error=999), "cuInit failed with CUDA error 999 (unknown error)"),
    ],
)
def test_what_the_driver_lacks_is_said(
    driver: Driver, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(driver, monkeypatch)
    with pytest.raises(DeviceError) as raised:
        cuda.find_gpu()
    assert str(raised.value) == text


def test_without_a_driver_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(DeviceError) as raised:
        cuda.find_gpu()
    assert str(raised.value) == (
        "there is no CUDA driver (libcuda.so.1). "
        "Run it on a machine with an NVIDIA GPU and its driver"
    )


def test_memory_grows_with_what_is_copied_and_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = Driver()
    install(driver, monkeypatch)
    stream = cuda.Stream()
    addresses = []
    for size in (4, 2, 9, 9, 0):
        array = np.arange(size, dtype=np.int64)
        addresses.append(stream.memory("x", array.nbytes))
        stream.to_device("x", array)
        answer = np.full_like(array, -1)
        stream.to_host("x", answer)
        stream.wait()
        np.testing.assert_array_equal(answer, array)
        assert len(driver.held) == 1
    assert addresses[0] == addresses[1]
    assert addresses[2] == addresses[3] == addresses[4]
    other = stream.memory("y", 0)
    assert other not in (0, addresses[2])
    assert len(driver.held) == 2
    stream.close()
    assert driver.held == {}
    assert driver.calls[-2:] == ["cuStreamDestroy_v2", "cuDevicePrimaryCtxRelease_v2"]
