"""What a recipe says about a model."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field

from edgestill.bounds import Portion
from edgestill.config import config


@config
class NormalizeConfig:
    """`(x / range - mean) / std`, computed inside the exported graph.

    Attributes:
        range: the largest value of the device input, such as 255 for bytes.
        mean: one value, or one per channel.
        std: one value, or one per channel.
        input: the input it applies to, where a model has several.
    """

    range: Annotated[float, Field(gt=0)] = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[Annotated[float, Field(gt=0)], ...] = (1.0,)
    input: str | None = None


@config
class ModelConfig:
    """A PyTorch model, an ONNX file from elsewhere, or a function that answers for a model.

    Attributes:
        model: `file.py:callable` or `package.module:callable`, which returns a `torch.nn.Module`;
            or `hf:FOLDER`, as the transformers library writes it.
        arguments: keyword arguments of the callable, or what differs from the folder's settings.
        onnx: an ONNX file, instead of `model`.
        function: of a teacher, instead of both: `file.py:callable` or `package.module:callable`,
            called with the device input of a batch, a dict of numpy arrays `[b, ...]` by name,
            which returns the prediction, `[b, ...]` floats.
        weights: a `.safetensors` file, or a torch file that holds a state dict.
        files: files and folders that the callable or function reads or modules it imports by a name
            made at run time; of an ONNX file, those with its weights that are not named after it.
            Hidden files of a folder do not count (`edgestill.user_files` has the rule).
        output: the output that metrics read, where a model has several.
        classes: which axis of that output, after the batch, holds the classes where each position
            is classified: `first`, or `last`, which becomes the first in the exported model.
        from_: whose model it is made from, in place of a `model` of its own: the recipe's reader
            then fills in the other's `model`, `arguments` and `files`.
        depth: the share of the other's blocks that it keeps.
        width: the share of the other's channels that it keeps.
    """

    model: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    onnx: str | None = None
    function: str | None = None
    weights: str | None = None
    files: tuple[str, ...] = ()
    normalize: NormalizeConfig | None = None
    output: str | None = None
    classes: Literal["first", "last"] | None = None
    from_: Literal["teacher"] | None = None
    depth: Portion = 1.0
    width: Portion = 1.0

    @property
    def black_box(self) -> str | None:
        """What it is where nothing of it is known but its answers; None for a PyTorch model."""
        if self.onnx is not None:
            return "an ONNX file"
        return "a function" if self.function is not None else None
