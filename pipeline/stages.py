"""The table of stages: what each is called, what it takes and gives, what its result depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgestill.artifact import (
    Artifact,
    Checkpoint,
    Dataset,
    Engine,
    OnnxModel,
    Predictions,
    Recording,
)
from edgestill.extras import require, set_switches
from edgestill.machine import Hardware
from edgestill.step import StepContext


@dataclass(frozen=True)
class Stage:
    """A function `(config, inputs, out, context) -> artifact`, named so that nothing is imported.

    Attributes:
        function: `module:function`.
        inputs: the frozen dataclass of its inputs, in the same module.
        result: the view of its result, or of each part of it.
        libraries: distributions whose version changes the result.
        hardware: what of the machine changes the result's bits.
        trains: whether all processes of a run take part in it.
    """

    function: str
    inputs: str | None
    result: type[Artifact] | None  # type: ignore[type-arg]
    libraries: tuple[str, ...] = ()
    hardware: Hardware = Hardware.ANY
    trains: bool = False

    @property
    def module(self) -> str:
        return self.function.partition(":")[0]

    def run(self, config: Any, inputs: Mapping[str, Any], out: Path, context: StepContext) -> None:
        """Call the function with inputs by field, which writes its result into the folder `out`."""
        for library in self.libraries:
            set_switches(library)
        module = require(self.module, extra="build")
        function: Callable[..., Any] = getattr(module, self.function.partition(":")[2])
        if self.inputs is None:
            function(config, out, context)
        else:
            function(config, getattr(module, self.inputs)(**inputs), out, context)


_TORCH = ("torch", "numpy")
_VIEWS = (*_TORCH, "scipy")  # it draws how much of a mixed sample is its own
_ONNX = ("onnx", "onnxscript", "onnx-ir", "onnxruntime")  # exported or read, then tried

STAGES: Mapping[str, Stage] = {
    "split": Stage("edgestill.data.stage:split", None, Dataset, ("numpy",)),
    "check": Stage("edgestill.check:check", "CheckInputs", None, ("torch", *_ONNX)),
    "load": Stage("edgestill.train.stage:load", "LoadInputs", Checkpoint, ("torch",)),
    "train": Stage(
        "edgestill.train.stage:train",
        "TrainInputs",
        Checkpoint,
        _VIEWS,
        Hardware.TORCH,
        trains=True,
    ),
    "distill": Stage(
        "edgestill.distill.stage:distill",
        "DistillInputs",
        Checkpoint,
        _VIEWS,
        Hardware.TORCH,
        trains=True,
    ),
    "record": Stage(
        "edgestill.distill.record:record", "RecordInputs", Recording, _VIEWS, Hardware.TORCH
    ),
    # Asked on the CPU wherever it was trained.
    "ask": Stage("edgestill.train.stage:ask", "AskInputs", Predictions, _TORCH, Hardware.CPU),
    "export": Stage("edgestill.export.stage:export", "ExportInputs", OnnxModel, ("torch", *_ONNX)),
    "adopt": Stage("edgestill.export.adopt:adopt", "AdoptInputs", OnnxModel, _ONNX),
    "quantize": Stage(
        "edgestill.quantize.stage:quantize",
        "QuantizeInputs",
        OnnxModel,
        ("nncf", "onnx", "onnxruntime"),
        Hardware.CPU,
    ),
    # Of these two a plan says for each target whether it is the GPU.
    "compile": Stage("edgestill.compile.stage:compile", "CompileInputs", Engine),
    "evaluate": Stage(
        "edgestill.verify.stage:evaluate", "EvaluateInputs", Predictions, hardware=Hardware.CPU
    ),
}
