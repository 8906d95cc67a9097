"""How a model becomes ONNX."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgestill.config import config


@config
class ExportConfig:
    """Attributes:
    batch: `dynamic`, or the one batch size that the model will take.
    opset: the ONNX operator set.
    tolerance: the largest difference between ONNX and torch on real samples, relative to the
        largest output.
    """

    batch: Literal["dynamic"] | Annotated[int, Field(gt=0)] = "dynamic"
    opset: Annotated[int, Field(ge=18, le=23)] = 20
    tolerance: Annotated[float, Field(gt=0)] = 1e-3
