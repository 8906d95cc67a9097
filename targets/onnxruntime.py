"""ONNX Runtime on CPU: an optimised ONNX file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgestill.artifact import (
    Engine,
    EngineDescription,
    OnnxModel,
    Signature,
    TensorSpec,
)
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
from edgestill.targets.options import OnnxRuntimeOptions

MODEL_FILE = "model.onnx"
WEIGHTS_FILE = "model.onnx.data"

_PROVIDERS = ["CPUExecutionProvider"]
_ERRORS_ONLY = 3

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
}


def _require() -> Any:
    return require("onnxruntime", extra="onnxruntime")


class OnnxRuntime:
    """The target `onnxruntime`."""

    def __init__(self, name: str = "onnxruntime") -> None:
        self.name = name

    def probe(self) -> Availability:
        try:
            version = _require().__version__
        except Exception as error:  # noqa: BLE001 - a probe tells, it does not raise
            return unavailable(self.name, error)
        return Availability(version=version, can_compile=True, can_run=True)

    def compile(
        self, model: OnnxModel, precision: str, options: OnnxRuntimeOptions, out: Path
    ) -> Engine:
        ort = _require()
        require_precision(model, precision, self.name)
        settings = _settings(ort, threads=1)
        # The level above rearranges weights for this CPU's vector width. It is left to the load.
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        settings.optimized_model_filepath = str(out / MODEL_FILE)
        if model.model_path.with_name(WEIGHTS_FILE).exists():
            key = "session.optimized_model_external_initializers_file_name"
            settings.add_session_config_entry(key, WEIGHTS_FILE)
        try:
            session = ort.InferenceSession(str(model.model_path), settings, providers=_PROVIDERS)
        except Exception as error:
            raise ExportError(
                f"ONNX Runtime {ort.__version__} cannot compile the model ({_reason(error)})",
                where=str(model.model_path),
            ) from error
        inputs, outputs = _specs(session.get_inputs()), _specs(session.get_outputs())
        require_signature(model, inputs, outputs, self.name)
        description = EngineDescription(
            target=self.name,
            precision=precision,
            scheme=model.description.scheme,
            signature=model.description.signature,
            file=MODEL_FILE,
            options=canonical(options),
            built_on={"onnxruntime": ort.__version__},
        )
        return Engine.seal(out, description)

    def load(self, engine: Engine, threads: int, streams: int = 1) -> Session:
        found = engine.description
        return OnnxRuntimeSession(engine.path / found.file, found.signature, threads, streams)


class OnnxRuntimeSession:
    """An ONNX file, optimised or not, in ONNX Runtime."""

    def __init__(self, file: Path, signature: Signature, threads: int, streams: int = 1) -> None:
        ort = _require()
        self.signature = signature
        self._outputs = [spec.name for spec in signature.outputs]
        try:
            # Every caller computes too, beside the pool: with the streams it is `threads` in all.
            settings = _settings(ort, threads - streams + 1)
            self._session = ort.InferenceSession(str(file), settings, providers=_PROVIDERS)
        except Exception as error:
            raise DeviceError(
                f"ONNX Runtime {ort.__version__} cannot load the model ({_reason(error)})",
                where=str(file),
                fix="Compile it with the version of ONNX Runtime that runs it",
            ) from error

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        require_feeds(self.signature, feeds)
        try:
            # Each run allocates its outputs: they are the caller's without a copy.
            arrays = self._session.run(self._outputs, feeds)
        except Exception as error:
            raise DeviceError(f"ONNX Runtime failed ({_reason(error)})") from error
        return dict(zip(self._outputs, arrays, strict=True))

    def another(self) -> Session:
        return self  # a call leaves nothing behind in it that another call could meet

    def close(self) -> None:
        self._session = None


def _settings(ort: Any, threads: int) -> Any:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = _ERRORS_ONLY
    return settings


def _specs(nodes: Any) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            node.name,
            _DTYPES.get(node.type, node.type.removeprefix("tensor(").removesuffix(")")),
            tuple(size if isinstance(size, int) else None for size in node.shape),
        )
        for node in nodes
    )


def _reason(error: Exception) -> str:
    """The `why` of `[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from ... failed:why`."""
    text = " ".join(str(error).split(" : ", 3)[-1].split())
    return re.sub(r"^Load model from .*? failed: ?", "", text).removesuffix(".")
