"""The targets: where each one's code lies, what it takes, and what it is installed with.

Loading this table loads no runtime and no numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from edgestill.errors import UsageError
from edgestill.installed import library_version
from edgestill.spelling import did_you_mean
from edgestill.targets.options import (
    OnnxRuntimeOptions,
    OpenVinoOptions,
    TensorRtOptions,
    TensorRtRtxOptions,
)

if TYPE_CHECKING:
    from edgestill.targets.base import Target


@dataclass(frozen=True)
class TargetSpec:
    """What is known about a target without loading it.

    Attributes:
        class_path: `module:Class` of its implementation, which is constructed with its name.
        options: the type of its options.
        precisions: what it compiles to.
        scheme: how an int8 model has to be quantized for it.
        module: the Python module of its runtime.
        distribution: the package on PyPI that has the runtime; its version is the runtime's.
        extra: what to install: `pip install edgestill[extra]`.
        gpu: whether it runs on the GPU, not on the CPU.
    """

    class_path: str
    options: type[Any]
    precisions: tuple[str, ...]
    scheme: str
    module: str
    distribution: str
    extra: str
    gpu: bool = False

    @property
    def implementation(self) -> str:
        """The module that compiles for it and runs it."""
        return self.class_path.partition(":")[0]

    def for_gpu_here(self, options: Any) -> bool:
        """Whether it compiles for the GPU of this machine, which the engine is then bound to."""
        return self.gpu and not options.compute_capability

    @property
    def version(self) -> str:
        """Of the runtime, read without loading it; empty where it is not installed."""
        return library_version(self.distribution) or ""


TARGETS: Mapping[str, TargetSpec] = MappingProxyType(
    {
        "onnxruntime": TargetSpec(
            class_path="edgestill.targets.onnxruntime:OnnxRuntime",
            options=OnnxRuntimeOptions,
            precisions=("fp32", "int8"),
            scheme="cpu",
            module="onnxruntime",
            distribution="onnxruntime",
            extra="onnxruntime",
        ),
        "openvino": TargetSpec(
            class_path="edgestill.targets.openvino:OpenVino",
            options=OpenVinoOptions,
            precisions=("fp32", "int8"),
            scheme="cpu",
            module="openvino",
            distribution="openvino",
            extra="openvino",
        ),
        "tensorrt-rtx": TargetSpec(
            class_path="edgestill.targets.tensorrt:TensorRt",
            options=TensorRtRtxOptions,
            precisions=("fp32", "fp16", "int8"),
            scheme="tensorrt",
            module="tensorrt_rtx",
            distribution="tensorrt-rtx",
            extra="tensorrt-rtx",
            gpu=True,
        ),
        "tensorrt": TargetSpec(
            class_path="edgestill.targets.tensorrt:TensorRt",
            options=TensorRtOptions,
            precisions=("fp32", "fp16", "int8"),
            scheme="tensorrt",
            module="tensorrt",
            distribution="tensorrt",
            extra="tensorrt",
            gpu=True,
        ),
    }
)


def get_target(name: str) -> Target:
    """The target called `name`.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in TARGETS:
        fix = did_you_mean(name, tuple(TARGETS), "Known targets")
        raise UsageError(f"'{name}' is not a known target", fix=fix)
    module, _, attribute = TARGETS[name].class_path.partition(":")
    target: Target = getattr(import_module(module), attribute)(name)
    return target
