"""From ONNX to what one target's runtime loads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgestill.artifact import Engine, OnnxModel
from edgestill.compile.config import CompileStep
from edgestill.step import StepContext
from edgestill.targets import get_target


@dataclass(frozen=True)
class CompileInputs:
    """The model: float for fp32 and fp16, quantized in the target's scheme for int8."""

    model: OnnxModel


def compile(config: CompileStep, inputs: CompileInputs, out: Path, context: StepContext) -> Engine:
    """The model compiled for a target.

    Raises:
        ExportError: the target cannot take the model.
        DeviceError: the target's software failed.
    """
    del context
    target = get_target(config.target)
    return target.compile(inputs.model, config.precision, config.options, out)
