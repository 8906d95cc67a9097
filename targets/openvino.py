"""OpenVINO on CPU: its intermediate representation, an XML file with the weights beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from edgestill.artifact import Engine, EngineDescription, OnnxModel, Signature, TensorSpec
from edgestill.digest import canonical
from edgestill.errors import DeviceError, ExportError
from edgestill.extras import require
from edgestill.targets.base import (
    Availability,
    Session,
    require_feeds,
    require_precision,
    require_signature,
    unavailable,
)
from edgestill.targets.options import OpenVinoOptions

MODEL_FILE = "model.xml"


def _require() -> Any:
    return require("openvino", extra="openvino")


class OpenVino:
    """The target `openvino`."""

    def __init__(self, name: str = "openvino") -> None:
        self.name = name

    def probe(self) -> Availability:
        try:
            ov = _require()
            version = _version(ov)
        except Exception as error:  # noqa: BLE001 - a probe tells, it does not raise
            return unavailable(self.name, error)
        try:
            devices = ov.Core().available_devices
        except Exception as error:  # noqa: BLE001 - a probe tells, it does not raise
            return Availability(f"OpenVINO cannot start ({_reason(error)})", version=version)
        if "CPU" not in devices:
            reason = "OpenVINO has no plugin for this CPU"
            return Availability(reason, version=version, can_compile=True)
        return Availability(version=version, can_compile=True, can_run=True)

    def compile(
        self, model: OnnxModel, precision: str, options: OpenVinoOptions, out: Path
    ) -> Engine:
        ov = _require()
        require_precision(model, precision, self.name)
        try:
            # `read_model` is the runtime's own reader: `convert_model` would also report use.
            representation = ov.Core().read_model(model.model_path)
            _name_by_position(representation)
            ov.save_model(representation, out / MODEL_FILE, compress_to_fp16=False)
        except Exception as error:
            raise ExportError(
                f"OpenVINO {_version(ov)} cannot compile the model ({_reason(error)})",
                where=str(model.model_path),
                fix=f"Leave {self.name} out of targets:, or write what it names with operations "
                "that it has",
            ) from error
        signature = model.description.signature
        inputs = _specs(representation.inputs, [spec.name for spec in signature.inputs])
        outputs = _specs(representation.outputs, [spec.name for spec in signature.outputs])
        require_signature(model, inputs, outputs, self.name)
        description = EngineDescription(
            target=self.name,
            precision=precision,
            scheme=model.description.scheme,
            signature=signature,
            file=MODEL_FILE,
            options=canonical(options),
            built_on={"openvino": _version(ov)},
        )
        return Engine.seal(out, description)

    def load(self, engine: Engine, threads: int, streams: int = 1) -> Session:
        ov = _require()
        settings = {
            "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
            "NUM_STREAMS": str(streams),
            "INFERENCE_NUM_THREADS": str(threads),
            "INFERENCE_PRECISION_HINT": engine.description.options["inference_precision"],
        }
        file = engine.path / engine.description.file
        try:
            core = ov.Core()
            compiled = core.compile_model(core.read_model(file), "CPU", settings)
            return OpenVinoSession(compiled, engine.description.signature)
        except Exception as error:
            raise DeviceError(
                f"OpenVINO {_version(ov)} cannot load the model ({_reason(error)})",
                where=str(file),
                fix="Compile it with the version of OpenVINO that runs it",
            ) from error


class OpenVinoSession:
    """A request to a model that OpenVINO's CPU plugin has compiled."""

    def __init__(self, compiled: Any, signature: Signature) -> None:
        self.signature = signature
        self._tensor = _require().Tensor
        self._compiled = compiled
        self._request = compiled.create_infer_request()

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        require_feeds(self.signature, feeds)
        request = self._request
        try:
            for index, spec in enumerate(self.signature.inputs):
                array = feeds[spec.name]
                # OpenVINO can only work in memory that is contiguous and writable; else it copies.
                tensor = self._tensor(array, shared_memory=array.flags.carray)
                request.set_input_tensor(index, tensor)
            request.infer()
            # The request writes into the same memory each time: what is handed out is a copy.
            return {
                spec.name: numpy.array(request.get_output_tensor(index).data)
                for index, spec in enumerate(self.signature.outputs)
            }
        except Exception as error:
            raise DeviceError(f"OpenVINO failed ({_reason(error)})") from error

    def another(self) -> Session:
        return OpenVinoSession(self._compiled, self.signature)

    def close(self) -> None:
        self._request = self._compiled = None


def _name_by_position(representation: Any) -> None:
    """Name what OpenVINO added itself, so that the same model gives the same bytes.

    Its own names come from a counter that runs for the whole process.
    """
    for position, operation in enumerate(representation.get_ordered_ops()):
        if operation.get_friendly_name() == operation.get_name():
            operation.set_friendly_name(f"{operation.get_type_name()}/{position}")


def _specs(ports: Any, names: list[str]) -> tuple[TensorSpec, ...]:
    """The ports; one that has several names goes by that which is expected at its place."""
    specs = []
    for index, port in enumerate(ports):
        expected = names[index] if index < len(names) else ""
        own = port.names
        name = expected if expected in own else min(own, default="")
        dtype = numpy.dtype(port.element_type.to_dtype()).name
        shape = tuple(None if size.is_dynamic else size.get_length() for size in port.partial_shape)
        specs.append(TensorSpec(name, dtype, shape))
    return tuple(specs)


def _version(ov: Any) -> str:
    version: str = ov.__version__.split("-")[0]
    return version


def _reason(error: Exception) -> str:
    """The last lines of OpenVINO's several, which say why; the first ones say where in its code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[-2:]) or type(error).__name__
