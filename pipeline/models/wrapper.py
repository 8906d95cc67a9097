"""A user's module as the device sees it: device inputs in, named tensors out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, TypeGuard

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgestill.artifact import TensorSpec
from edgestill.errors import EdgestillError, ModelError
from edgestill.models.config import ModelConfig, NormalizeConfig
from edgestill.models.interface import (
    normalized_input,
    prediction_name,
    require_positions,
    scale_and_shift,
)
from edgestill.reference import describe, place

# Two samples, because the exporter takes a batch of one for a constant.
PROBE_SAMPLES = 2


class DeviceModel(nn.Module):
    """Casts and normalises the device's inputs, calls `module`, flattens what it returns.

    `uint8` and floats become `float32`; other integers stay (they are indices, such as token ids)
    unless they are normalised. The constructor asks the module about zeros, or about `example`,
    in eval mode, to learn its outputs.

    Attributes:
        module: the user's module, under the user's own layer names.
        inputs: the device inputs, in the order of `forward`'s arguments.
        output_names: the outputs, in the order in which `forward` returns them.
        prediction_index: the position of the output that metrics read.
        prediction_shape: what it predicts for one sample, without the batch.
        classes_last: whether the module's prediction has its classes on the last axis; they become
            the first one after the batch.
    """

    output_names: tuple[str, ...]
    prediction_index: int
    prediction_shape: tuple[int, ...]

    def __init__(
        self,
        module: nn.Module,
        normalize: NormalizeConfig | None,
        inputs: Sequence[TensorSpec],
        *,
        task: str = "classification",
        output: str | None = None,
        classes_last: bool = False,
        example: Sequence[Tensor] | None = None,
    ) -> None:
        """Raises:
        ModelError: inputs that forward does not take, a forward that raises, outputs that are
            no tensors, a normalisation or an `output` that does not fit.
        """
        super().__init__()
        if type(module).forward is nn.Module.forward:
            raise ModelError(
                f"{type(module).__name__} has no forward",
                fix="Write one, or put the layers into an nn.Sequential",
            )
        self.module = module
        self.inputs = tuple(inputs)
        self.names = tuple(spec.name for spec in inputs)
        self.by_name = _binds_by_name(module, self.names)
        self.classes_last = classes_last
        self.single_output = single_output(task)
        self.normalized = normalized_input(normalize, self.inputs)
        if normalize is not None:
            spec = self.inputs[self.names.index(self.normalized or "")]
            scale, shift = scale_and_shift(normalize, spec)
            # Not persistent: the recipe says them, a checkpoint holds what was learnt.
            self.register_buffer("scale", torch.from_numpy(scale), persistent=False)
            self.register_buffer("shift", torch.from_numpy(shift), persistent=False)
        self._learn_outputs(example, output)

    @classmethod
    def around(
        cls,
        module: nn.Module,
        config: ModelConfig,
        inputs: Sequence[TensorSpec],
        task: str,
        arrays: Mapping[str, NDArray[Any]] | None = None,
    ) -> DeviceModel:
        """The wrapper that a recipe's model asks for; its outputs are learnt on real samples."""
        example = None if arrays is None else probe_samples(inputs, arrays)
        return cls(
            module,
            config.normalize,
            inputs,
            task=task,
            output=config.output,
            classes_last=config.classes == "last",
            example=example,
        )

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Each input `[b, ...]` as the device has it; each output `[b, ...]`, in fixed order."""
        named = self._flat(self._call(inputs))
        if tuple(named) != self.output_names:
            # In train mode a module may return more, such as auxiliary heads, and a tuple of them
            # in place of a tensor, which is the first.
            first = named.get("output_0")
            if self.output_names == (self.single_output,) and self._predicts(first):
                named = {self.single_output: first, **named}
            missing = [name for name in self.output_names if name not in named]
            if missing:
                raise ModelError(
                    f"the model no longer returns {', '.join(missing)}; it returns "
                    f"{', '.join(named)}",
                    fix="Return the same names in train mode as in eval mode",
                )
        outputs = [named[name] for name in self.output_names]
        outputs[self.prediction_index] = self._classes_first(outputs[self.prediction_index])
        return tuple(outputs)

    def prediction(self, *inputs: Tensor) -> Tensor:
        """The output that metrics read, `[b, ...]`."""
        return self(*inputs)[self.prediction_index]  # type: ignore[no-any-return]

    def _classes_first(self, prediction: Tensor) -> Tensor:
        return prediction.movedim(-1, 1) if self.classes_last else prediction

    def _predicts(self, output: Tensor | None) -> TypeGuard[Tensor]:
        """Whether an output has the axes of the prediction, and as many classes."""
        if output is None:
            return False
        axes = self._classes_first(output).shape[1:]
        return len(axes) == len(self.prediction_shape) and axes[:1] == self.prediction_shape[:1]

    def _call(self, inputs: Sequence[Tensor]) -> Any:
        tensors = [
            self._device_input(name, tensor)
            for name, tensor in zip(self.names, inputs, strict=True)
        ]
        try:
            if self.by_name:
                return self.module(**dict(zip(self.names, tensors, strict=True)))
            return self.module(*tensors)
        except EdgestillError:
            raise
        except Exception as raised:
            if torch.compiler.is_exporting():  # the exporter reads its own errors
                raise
            given = [
                TensorSpec(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
                for name, tensor in zip(self.names, inputs, strict=True)
            ]
            raise ModelError(
                f"forward raised {describe(raised)} in {'train' if self.training else 'eval'} "
                f"mode, given {', '.join(map(str, given))}",
                where=place(raised, Path.cwd()),
                fix=self._advice(raised, given),
            ) from raised

    def _device_input(self, name: str, tensor: Tensor) -> Tensor:
        if name == self.normalized:
            return tensor.to(torch.float32) * self.scale + self.shift  # type: ignore[operator]
        floats = tensor.dtype == torch.uint8 or tensor.is_floating_point()
        if floats and tensor.dtype != torch.float32:
            return tensor.to(torch.float32)
        # A forward may write into its input, which is the other models' too; the exporter sees to
        # that itself.
        return tensor if torch.compiler.is_exporting() else tensor.clone()

    def _flat(self, returned: Any) -> dict[str, Tensor]:
        named: dict[str, Tensor] = {}
        for name, value in _leaves(returned, "", self.single_output):
            if not isinstance(value, Tensor):
                raise ModelError(
                    f"output {name} is a {type(value).__name__}, not a tensor",
                    fix="Return tensors only, or nothing (None) in its place",
                )
            if name in named or name in self.names:
                other = "an input" if name in self.names else "another output"
                raise ModelError(
                    f"output {name} has the name of {other}", fix="Rename what forward returns"
                )
            named[name] = value
        return named

    def _learn_outputs(self, example: Sequence[Tensor] | None, output: str | None) -> None:
        if example is None:
            example = [_zeros(spec) for spec in self.inputs]
        parameter = next(self.module.parameters(), None)
        device = parameter.device if parameter is not None else torch.device("cpu")
        self.to(device)
        modes = {part: part.training for part in self.modules()}
        self.eval()
        try:
            with torch.no_grad():
                named = self._flat(self._call([tensor.to(device) for tensor in example]))
        finally:
            for part, training in modes.items():
                part.training = training
        if not named:
            raise ModelError("forward returns no tensor", fix="Return at least one")
        for name, value in named.items():
            require_rows(name, value, len(example[0]))
        self.output_names = tuple(named)
        self.prediction_index = self.output_names.index(prediction_name(self.output_names, output))
        prediction = list(named.values())[self.prediction_index]
        if self.classes_last:
            require_positions(prediction.shape[1:])
        self.prediction_shape = tuple(self._classes_first(prediction).shape[1:])

    def _advice(self, raised: Exception, given: Sequence[TensorSpec]) -> str:
        advice = device_advice(raised)
        if advice is not None:
            return advice
        if "view size is not compatible" in str(raised):
            return "Use reshape there in place of view; or leave out channels_last, if it is set"
        unfit = [spec for spec in given if spec.dtype not in ("int32", "int64", "bool")]
        if unfit and re.search(r"\bind(ex|ices)\b", str(raised)):
            dtype = unfit[0].dtype if _whole(unfit[0]) else "float32, as bytes and floats do"
            return f"{unfit[0].name} arrives as {dtype}: give indices as int32 or int64 in the data"
        whole = [spec.name for spec in given if spec.name != self.normalized and _whole(spec)]
        if whole and "type" in str(raised):
            return (
                f"{whole[0]} arrives as whole numbers, as indices do: give uint8 or floats in the "
                "data, or say normalize, which makes floats of it"
            )
        others = {p.dtype for p in self.module.parameters() if p.is_floating_point()}
        others -= {torch.float32}
        if others:
            return (
                f"Floats arrive as float32, and it has weights of {others.pop()}: "
                "return module.float()"
            )
        return "Compare the inputs with what the model was made for: size, channels, layout"


def single_output(task: str) -> str:
    """The name of an output that is given without one."""
    return "logits" if task in ("classification", "multilabel") else "output"


def probe_samples(inputs: Sequence[TensorSpec], arrays: Mapping[str, NDArray[Any]]) -> list[Tensor]:
    """The few samples on which a model is tried, one tensor for each input."""
    rows = [arrays[spec.name] for spec in inputs]
    take = [array.take(range(PROBE_SAMPLES), axis=0, mode="wrap") for array in rows]
    return [torch.from_numpy(numpy.ascontiguousarray(array)) for array in take]


def device_advice(raised: BaseException) -> str | None:
    """What to do about an error of the device, which any line may meet; None for other errors."""
    if isinstance(raised, torch.OutOfMemoryError) or "can't allocate memory" in str(raised):
        return "It is memory that is short: lower batch_size, or raise accumulate"
    if "device-side assert" in str(raised):
        # The GPU tells later than it happens, and of a line that may have no part in it.
        return (
            "Most often an index is beyond its table, such as a token beyond the vocabulary: with "
            "ACCELERATE_USE_CPU=true in the environment it is said where"
        )
    return None


def require_rows(name: str, output: Tensor, count: int) -> None:
    """Refuse an output that is not one row per sample.

    Raises:
        ModelError: its first axis is not the batch.
    """
    if output.ndim == 0 or output.shape[0] != count:
        fix = "Return one row per sample, and None in place of what belongs to no sample"
        if count == 1:
            fix = "Give squeeze() in forward a dim: without one it drops a batch of one"
        raise ModelError(
            f"output {name} is {list(output.shape)} for {count} sample{'s' * (count > 1)}: "
            "its first axis is not the batch",
            fix=fix,
        )


_COLUMNS = "; each column of a .parquet is an input, those of a .csv are one, features"


def _binds_by_name(module: nn.Module, names: Sequence[str]) -> bool:
    """Whether inputs are passed by name; else they are passed in order."""
    parameters = list(signature(module.forward).parameters.values())
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    required = {p.name for p in named if p.default is Parameter.empty}
    # A module around another takes (*args, **kwargs), and the inner name is not to be seen.
    hidden = len(names) == 1 and any(p.kind is p.VAR_POSITIONAL for p in parameters)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters) and not hidden
    known = {p.name for p in named}
    if required <= set(names) and (takes_any or set(names) <= known):
        return True
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    fewest = sum(p.default is Parameter.empty for p in positional)
    if any(p.kind is p.VAR_POSITIONAL for p in parameters) and fewest <= len(names):
        return False
    needs_more = any(p.kind is p.KEYWORD_ONLY and p.name in required for p in named)
    fits = (
        fewest <= 1 <= len(positional)
        if len(names) == 1
        else len(names)
        in (
            fewest,
            len(positional),
        )
    )
    if fits and not needs_more:
        return False
    raise ModelError(
        f"the data has the inputs {', '.join(names)}; forward takes "
        f"({', '.join(str(p) for p in parameters)})",
        fix="Name the inputs as forward does, or choose some with data.inputs"
        + (_COLUMNS if len(names) > 1 else ""),
    )


def _leaves(value: Any, name: str, single: str) -> list[tuple[str, Any]]:
    """What forward returned, flattened: names are joined by `_`, None is left out."""
    if value is None:
        return []
    prefix = f"{name}_" if name else ""
    if isinstance(value, Mapping):
        items = [(f"{prefix}{key}", item) for key, item in value.items()]
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        items = [(f"{prefix}{key}", item) for key, item in zip(value._fields, value, strict=True)]
    elif isinstance(value, (tuple, list)):
        start = prefix or "output_"
        items = [(f"{start}{index}", item) for index, item in enumerate(value)]
    elif is_dataclass(value) and not isinstance(value, type):
        items = [(f"{prefix}{field.name}", getattr(value, field.name)) for field in fields(value)]
    else:
        return [(name or single, value)]
    return [leaf for key, item in items for leaf in _leaves(item, key, single)]


def _whole(spec: TensorSpec) -> bool:
    """Whether an input reaches the model as integers: bytes are images, and become floats."""
    return spec.dtype in ("int8", "int16", "int32", "int64")


def _zeros(spec: TensorSpec) -> Tensor:
    shape = [PROBE_SAMPLES, *[1 if size is None else size for size in spec.shape[1:]]]
    return torch.zeros(shape, dtype=getattr(torch, spec.dtype))
