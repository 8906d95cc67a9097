"""The CUDA driver, for which a stand-in with the machine's own memory answers."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgestill.errors import DeviceError
from edgestill.targets import cuda

MakeDriver = Callable[..., Any]


def test_a_gpu_is_found_with_what_engines_for_it_are_bound_to(cuda_driver: MakeDriver) -> None:
    driver = cuda_driver(("NVIDIA L4", "NVIDIA T4"), cuda=12040)
    assert cuda.find_gpu() == cuda.Gpu("NVIDIA L4", "8.9", "12.4")
    assert cuda.find_gpu(1).name == "NVIDIA T4"
    # A context would take memory on the device.
    assert not [name for name in driver.calls if "Ctx" in name]


@pytest.mark.parametrize(
    ("lacking", "index", "text"),
    [
        ({"gpus": ()}, 0, "the CUDA driver sees no GPU"),
        ({}, 1, "the CUDA driver sees no GPU 1"),
        ({"error": 100}, 0, "cuInit failed with CUDA error 100 (out of order)"),
        ({"error": 999}, 0, "cuInit failed with CUDA error 999 (unknown error)"),
    ],
)
def test_what_the_driver_lacks_is_said(
    lacking: dict[str, Any], index: int, text: str, cuda_driver: MakeDriver
) -> None:
    cuda_driver(**lacking)
    with pytest.raises(DeviceError) as raised:
        cuda.find_gpu(index)
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


def test_memory_grows_with_what_is_copied_and_is_given_back(cuda_driver: MakeDriver) -> None:
    driver = cuda_driver()
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
