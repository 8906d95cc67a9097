"""Runs a TensorRT engine on the GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy
from numpy.typing import NDArray

from edgestill.artifact import Engine
from edgestill.errors import DataError, DeviceError
from edgestill.targets.base import Session, require_feeds
from edgestill.targets.cuda import Stream


def make_logger(trt: Any) -> Any:
    """A logger that keeps warnings and errors in `.lines` and prints nothing."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if int(severity) <= int(trt.ILogger.WARNING):
                self.lines.append(message.strip())

    return Logger()


def deserialize(trt: Any, engine: Engine) -> tuple[Any, Any]:
    """The runtime and its engine.

    Raises:
        DeviceError: the runtime does not take the engine.
    """
    logger = make_logger(trt)
    runtime = trt.Runtime(logger)
    loaded = runtime.deserialize_cuda_engine((engine.path / engine.description.file).read_bytes())
    if loaded is None:
        reason = logger.lines[-1] if logger.lines else "no reason given"
        raise DeviceError(f"TensorRT cannot load the engine: {reason}", where=str(engine.path))
    return runtime, loaded


class TensorRtSession:
    """An engine, its context, and memory on the device that grows with the largest batch seen."""

    def __init__(self, trt: Any, engine: Engine) -> None:
        self.signature = engine.description.signature
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._stream = Stream()
        try:
            self._runtime, self._engine = deserialize(trt, engine)
            self._context = self._engine.create_execution_context()
            if self._context is None:
                raise DeviceError("TensorRT has no memory for the engine", where=str(engine.path))
        except BaseException:
            self._stream.close()
            raise

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        require_feeds(self.signature, feeds)
        # The copies are enqueued: what they read and write has to live until `wait`.
        arrays = {name: numpy.ascontiguousarray(array) for name, array in feeds.items()}
        for name, array in arrays.items():
            self._set_shape(name, array)
            self._stream.to_device(name, array)
        outputs = {}
        for spec in self.signature.outputs:
            output = numpy.empty(tuple(self._context.get_tensor_shape(spec.name)), spec.dtype)
            address = self._stream.memory(spec.name, output.nbytes)
            self._context.set_tensor_address(spec.name, address)
            outputs[spec.name] = output
        if not self._context.execute_async_v3(self._stream.handle):
            raise DeviceError("TensorRT failed to run the engine")
        for name, output in outputs.items():
            self._stream.to_host(name, output)
        self._stream.wait()
        return outputs

    def another(self) -> Session:
        raise DeviceError(
            "TensorRT serves one call at a time",
            fix="Measure it with one stream and larger batches",
        )

    def close(self) -> None:
        # In this order: a context lives in its engine, an engine in its runtime.
        self._context = self._engine = self._runtime = None
        self._stream.close()

    def _set_shape(self, name: str, array: NDArray[Any]) -> None:
        if self._shapes.get(name) == array.shape:
            return
        if not self._context.set_input_shape(name, array.shape):
            raise DataError(
                f"the engine does not take {name} {list(array.shape)}",
                fix="Compile it with a larger max_batch",
            )
        self._context.set_tensor_address(name, self._stream.memory(name, array.nbytes))
        self._shapes[name] = array.shape
