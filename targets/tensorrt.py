"""TensorRT 10 and 11 and TensorRT for RTX: one Python API under two module names.

The network is strongly typed: what each layer computes in is written in the ONNX file, by casts
and by Q/DQ pairs, and nothing is left to the builder.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from edgestill.artifact import Engine, EngineDescription, OnnxModel, TensorSpec
from edgestill.digest import canonical
from edgestill.errors import DeviceError, ExportError
from edgestill.extras import require
from edgestill.targets import TARGETS
from edgestill.targets.base import (
    Availability,
    Session,
    require_precision,
    require_signature,
    unavailable,
)
from edgestill.targets.cuda import Gpu, find_gpu
from edgestill.targets.options import TensorRtOptions, TensorRtRtxOptions
from edgestill.targets.tensorrt_session import TensorRtSession, make_logger

MODEL_FILE = "model.plan"
RTX = "tensorrt-rtx"

Options = TensorRtOptions | TensorRtRtxOptions


class TensorRt:
    """The targets `tensorrt` and `tensorrt-rtx`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def probe(self) -> Availability:
        try:
            version = self._require().__version__
        except Exception as error:  # noqa: BLE001 - a probe tells, it does not raise
            return unavailable(self.name, error)
        # Only the RTX builder can work for a GPU that is not there.
        builds_anywhere = self.name == RTX
        try:
            self._gpu()
        except DeviceError as error:
            return Availability(error.what, error.fix or "", version, builds_anywhere)
        return Availability(version=version, can_compile=True, can_run=True)

    def compile(self, model: OnnxModel, precision: str, options: Options, out: Path) -> Engine:
        trt = self._require()
        require_precision(model, precision, self.name)
        built_on = self._built_on(trt, options)
        file = out / MODEL_FILE
        if precision == "fp16":
            to_fp16(model, out / "fp16.onnx")
            file.write_bytes(self._build(trt, model, out / "fp16.onnx", options))
            (out / "fp16.onnx").unlink()
        else:
            file.write_bytes(self._build(trt, model, model.model_path, options))
        description = EngineDescription(
            target=self.name,
            precision=precision,
            scheme=model.description.scheme,
            signature=model.description.signature,
            file=MODEL_FILE,
            options=canonical(options),
            built_on=built_on,
        )
        return Engine.seal(out, description)

    def load(self, engine: Engine, threads: int, streams: int = 1) -> Session:
        del threads, streams  # a GPU's work is not split over the threads of the host
        trt = self._require()
        built = engine.description.built_on["version"]
        if built != trt.__version__:
            raise DeviceError(
                f"the engine was built by {self.name} {built}, here is {trt.__version__}",
                where=str(engine.path),
                fix="Compile it with the version that runs it",
            )
        gpu = self._gpu()
        wanted = engine.description.built_on["compute_capability"].split(", ")
        if gpu.compute_capability not in wanted:
            raise DeviceError(
                f"the engine was built for compute capability {' and '.join(wanted)}, "
                f"{gpu.name} has {gpu.compute_capability}",
                where=str(engine.path),
                fix=f"Compile it for {gpu.compute_capability}",
            )
        return TensorRtSession(trt, engine)

    def _require(self) -> Any:
        spec = TARGETS[self.name]
        return require(spec.module, extra=spec.extra)

    def _gpu(self) -> Gpu:
        """The GPU that engines run on.

        Raises:
            DeviceError: there is none, or none of those that TensorRT for RTX runs on.
        """
        gpu = find_gpu()
        if self.name == RTX:
            known = _compute_capabilities(self._require())
            own = float(gpu.compute_capability)
            # For later ones it builds when it loads an engine.
            if own not in known and own < max(known):
                raise DeviceError(
                    f"{gpu.name} has compute capability {own}, and {RTX} runs on "
                    f"{', '.join(map(str, known))} and later ones",
                    fix="Use the target tensorrt there",
                )
        return gpu

    def _built_on(self, trt: Any, options: Options) -> dict[str, str]:
        """What the engine is bound to."""
        if options.compute_capability:
            capabilities = ", ".join(f"{number:.1f}" for number in options.compute_capability)
        else:
            try:
                capabilities = self._gpu().compute_capability
            except DeviceError as error:
                fix = "Compile it on the device"
                if self.name == RTX:
                    fix = "Say what it is for, such as compute_capability: [8.6, 8.9]"
                raise ExportError(
                    f"{self.name} has no GPU here to build for ({error.what})", fix=fix
                ) from error
        return {
            "version": trt.__version__,
            "compute_capability": capabilities,
            "os": platform.system().lower(),
            "machine": platform.machine(),
        }

    def _build(self, trt: Any, model: OnnxModel, file: Path, options: Options) -> bytes:
        logger = make_logger(trt)
        builder = trt.Builder(logger)
        # TensorRT 11 knows no other networks, and may forget the flag.
        flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        network = builder.create_network(0 if flag is None else 1 << int(flag))
        parser = trt.OnnxParser(network, logger)
        parsed = parser.parse_from_file(str(file))
        where = str(model.model_path)
        if not parsed:
            errors = (parser.get_error(index) for index in range(parser.num_errors))
            reasons = "; ".join(_parser_error(error) for error in errors)
            raise ExportError(f"{self.name} cannot read the model: {reasons}", where=where)
        retyped = [line for line in logger.lines if "Defaulting to" in line]
        if retyped:
            raise ExportError(
                f"{self.name} would compute in another type: {retyped[0]}",
                where=where,
                fix="Quantize the model with scheme tensorrt",
            )
        self._require_signature(trt, model, network)
        config = builder.create_builder_config()
        # fp32 means 32 bits: TensorRT would cut them to TF32's 19 where the GPU can.
        config.clear_flag(trt.BuilderFlag.TF32)
        _set_compute_capabilities(trt, config, options.compute_capability)
        _set_batch_range(builder, config, network, options.max_batch)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            reason = logger.lines[-1] if logger.lines else "no reason given"
            raise ExportError(f"{self.name} cannot build the model: {reason}", where=where)
        return bytes(plan)

    def _require_signature(self, trt: Any, model: OnnxModel, network: Any) -> None:
        inputs = [network.get_input(index) for index in range(network.num_inputs)]
        outputs = [network.get_output(index) for index in range(network.num_outputs)]
        require_signature(model, _specs(trt, inputs), _specs(trt, outputs), self.name)
        for spec in model.description.signature.inputs:
            if None in spec.shape[1:]:
                raise ExportError(
                    f"the input {spec} is free in more than its batch",
                    where=str(model.model_path),
                    fix="Export it with fixed sizes, such as inputs padded to one length",
                )


def to_fp16(model: OnnxModel, file: Path) -> None:
    """Write the model with float16 inside; its inputs and outputs keep their types.

    Raises:
        ExportError: the conversion fails.
    """
    onnx = require("onnx", extra="build")
    float16 = require("onnxruntime.transformers.float16", extra="build")
    try:
        converted = float16.convert_float_to_float16(
            onnx.load(str(model.model_path)), keep_io_types=True
        )
        onnx.save(converted, str(file))
    except Exception as error:
        raise ExportError(
            f"the model cannot be converted to fp16 ({type(error).__name__}: {error})",
            where=str(model.model_path),
        ) from error


def _set_compute_capabilities(trt: Any, config: Any, numbers: tuple[float, ...]) -> None:
    if not numbers:
        return
    known = _compute_capabilities(trt)
    config.num_compute_capabilities = len(numbers)
    for index, number in enumerate(numbers):
        if number not in known or not config.set_compute_capability(known[number], index):
            raise ExportError(
                f"{RTX} does not build for compute capability {number}",
                where="compute_capability",
                fix=f"Supported: {', '.join(map(str, known))}",
            )


def _compute_capabilities(trt: Any) -> dict[float, Any]:
    """Those that TensorRT for RTX knows, such as 8.6, each with its name for it."""
    members = trt.ComputeCapability.__members__.items()
    return {int(name[2:]) / 10: value for name, value in members if name.startswith("SM")}


def _set_batch_range(builder: Any, config: Any, network: Any, max_batch: int) -> None:
    """Let a free batch be 1 to `max_batch`, tuned for 1: that is what an edge device serves."""
    profile = builder.create_optimization_profile()
    free = False
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        sizes = tuple(tensor.shape)[1:]
        if -1 in tensor.shape:
            free = True
            profile.set_shape(tensor.name, (1, *sizes), (1, *sizes), (max_batch, *sizes))
    if free:
        config.add_optimization_profile(profile)


def _specs(trt: Any, tensors: list[Any]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            tensor.name,
            _dtype(trt, tensor.dtype),
            tuple(None if size == -1 else size for size in tensor.shape),
        )
        for tensor in tensors
    )


def _dtype(trt: Any, dtype: Any) -> str:
    """numpy's name; types that numpy lacks, such as bfloat16, keep TensorRT's."""
    try:
        name: str = trt.nptype(dtype).__name__
    except TypeError:
        return str(dtype.name).lower()
    return name.rstrip("_")


def _parser_error(error: Any) -> str:
    """`Resize 'up_3': what is wrong`."""
    place = f"{error.node_operator()} '{error.node_name()}'" if error.node_operator() else "model"
    return f"{place}: {error.desc()}"
