"""What a user can set for each target; everything else follows from the model and the recipe."""

from __future__ import annotations

from typing import ClassVar, Literal

from edgestill.config import config


@config
class OnnxRuntimeOptions:
    """ONNX Runtime on CPU has nothing to set."""


@config
class OpenVinoOptions:
    """OpenVINO on CPU.

    Attributes:
        inference_precision: what float layers compute in. A CPU with bfloat16 instructions would
            use them unasked, so that the same model answered otherwise there: it has to be chosen.
    """

    inference_precision: Literal["f32", "bf16"] = "f32"


@config
class TensorRtOptions:
    """TensorRT 10 and 11, for the GPU that it is compiled on.

    Attributes:
        max_batch: the largest batch that a model with a free batch size accepts; memory on the
            device is set aside for it.
    """

    compute_capability: ClassVar[tuple[float, ...]] = ()  # it knows no GPU but the one that is here
    max_batch: int = 16

    def __post_init__(self) -> None:
        _require_batch(self.max_batch)


@config
class TensorRtRtxOptions:
    """TensorRT for RTX.

    Attributes:
        compute_capability: of the GPUs that the engine is for, such as 8.6 and 8.9; empty for the
            GPU of this machine.
        max_batch: the largest batch that a model with a free batch size accepts; memory on the
            device is set aside for it.
    """

    compute_capability: tuple[float, ...] = ()
    max_batch: int = 16

    def __post_init__(self) -> None:
        _require_batch(self.max_batch)


def _require_batch(max_batch: int) -> None:
    if max_batch < 1:
        raise ValueError(f"max_batch is {max_batch}, it has to be 1 or more")
