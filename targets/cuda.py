"""The CUDA driver as far as running an engine needs it: it is there wherever a GPU works."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgestill.errors import DeviceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76  # CUdevice_attribute
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING


@dataclass(frozen=True)
class Gpu:
    """A GPU, and what engines for it are bound to.

    Attributes:
        cuda: the version of CUDA that its driver has.
    """

    name: str
    compute_capability: str
    cuda: str


def find_gpu(index: int = 0) -> Gpu:
    """One of the GPUs that `CUDA_VISIBLE_DEVICES` leaves, by default the one that engines run on.

    Makes no context, which would take memory on it. But a process that is forked after this
    cannot use CUDA: it has to be started anew.

    Raises:
        DeviceError: there is no such GPU or no driver for it.
    """
    driver = _driver()
    count, device, cuda = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    _call(driver, "cuDeviceGetCount", ctypes.byref(count))
    if count.value <= index:
        seen = f"no GPU {index}" if count.value else "no GPU"
        raise DeviceError(f"the CUDA driver sees {seen}")
    _call(driver, "cuDriverGetVersion", ctypes.byref(cuda))
    _call(driver, "cuDeviceGet", ctypes.byref(device), index)
    name = ctypes.create_string_buffer(128)
    _call(driver, "cuDeviceGetName", name, len(name), device)
    numbers = []
    for attribute in (_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR):
        number = ctypes.c_int()
        _call(driver, "cuDeviceGetAttribute", ctypes.byref(number), attribute, device)
        numbers.append(number.value)
    major, minor = cuda.value // 1000, cuda.value % 1000 // 10  # 12040 is 12.4
    return Gpu(name.value.decode(), f"{numbers[0]}.{numbers[1]}", f"{major}.{minor}")


def pci_bus_id(index: int = 0) -> str:
    """Where such a GPU is on the bus, such as `0000:3B:00.0`.

    Raises:
        DeviceError: there is no such GPU or no driver for it.
    """
    driver = _driver()
    device, text = ctypes.c_int(), ctypes.create_string_buffer(32)
    _call(driver, "cuDeviceGet", ctypes.byref(device), index)
    _call(driver, "cuDeviceGetPCIBusId", text, len(text), device)
    return text.value.decode()


class Stream:
    """A stream on the first GPU, and the memory that it copies to and from.

    It uses the device's primary context, the one that TensorRT works in.
    """

    def __init__(self) -> None:
        self._driver = _driver()
        self._device = ctypes.c_int()
        self._memory: dict[str, tuple[ctypes.c_uint64, int]] = {}
        context, stream = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuDeviceGet", ctypes.byref(self._device), 0)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._call("cuCtxSetCurrent", context)
        self._call("cuStreamCreate", ctypes.byref(stream), _NON_BLOCKING)
        self._stream = stream

    @property
    def handle(self) -> int:
        """What TensorRT takes as `stream_handle`."""
        return self._stream.value or 0

    def memory(self, name: str, size_bytes: int) -> int:
        """The device address of at least `size_bytes` that belong to `name`."""
        pointer, held = self._memory.get(name, (ctypes.c_uint64(), 0))
        if held < size_bytes or not held:
            if held:
                self._call("cuMemFree_v2", pointer)
                del self._memory[name]
            pointer, held = ctypes.c_uint64(), max(size_bytes, 1)
            self._call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(held))
            self._memory[name] = (pointer, held)
        return pointer.value

    def to_device(self, name: str, array: NDArray[Any]) -> None:
        """Enqueue a copy of a C-contiguous array into the memory of `name`."""
        pointer, size = self._memory[name][0], ctypes.c_size_t(array.nbytes)
        source = ctypes.c_void_p(array.ctypes.data)
        self._call("cuMemcpyHtoDAsync_v2", pointer, source, size, self._stream)

    def to_host(self, name: str, array: NDArray[Any]) -> None:
        """Enqueue a copy of the memory of `name` into a C-contiguous array."""
        pointer, size = self._memory[name][0], ctypes.c_size_t(array.nbytes)
        self._call(
            "cuMemcpyDtoHAsync_v2", ctypes.c_void_p(array.ctypes.data), pointer, size, self._stream
        )

    def wait(self) -> None:
        """Return when everything enqueued is done."""
        self._call("cuStreamSynchronize", self._stream)

    def close(self) -> None:
        for pointer, _ in self._memory.values():
            self._call("cuMemFree_v2", pointer)
        self._memory.clear()
        self._call("cuStreamDestroy_v2", self._stream)
        self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    def _call(self, function: str, *arguments: Any) -> None:
        _call(self._driver, function, *arguments)


def _driver() -> ctypes.CDLL:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise DeviceError(
            "there is no CUDA driver (libcuda.so.1)",
            fix="Run it on a machine with an NVIDIA GPU and its driver",
        ) from error
    _call(driver, "cuInit", 0)
    return driver


def _call(driver: ctypes.CDLL, function: str, *arguments: Any) -> None:
    status = getattr(driver, function)(*arguments)
    if status:
        text = ctypes.c_char_p()
        driver.cuGetErrorString(status, ctypes.byref(text))
        reason = text.value.decode() if text.value else "unknown error"
        raise DeviceError(f"{function} failed with CUDA error {status} ({reason})")
