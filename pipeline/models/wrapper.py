"""A user's module as the device sees it: device inputs in, named tensors out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgestill.artifact import TensorSpec
from edgestill.errors import EdgestillError, ModelError
from edgestill.models.config import ModelConfig, NormalizeConfig
from edgestill.reference import describe, nearest, place

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
        example: Sequence[Tensor] | None = None,
    ) -> None:
        """Raises:
        ModelError: inputs that forward does not take, a forward that raises, outputs that are
            no tensors, a normalisation or an `output` that does not fit.
        """
        super().__init__()
        self.module = module
        self.inputs = tuple(inputs)
        self.names = tuple(spec.name for spec in inputs)
        self.by_name = _binds_by_name(module, self.names)
        self.single_output = "logits" if task in ("classification", "multilabel") else "output"
        self.normalized = _normalized_input(normalize, self.inputs)
        if normalize is not None:
            spec = self.inputs[self.names.index(self.normalized or "")]
            scale, shift = _scale_and_shift(normalize, spec)
            # Not persistent: the recipe says them, a checkpoint holds what was learnt.
            self.register_buffer("scale", scale, persistent=False)
            self.register_buffer("shift", shift, persistent=False)
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
        example = None
        if arrays is not None:
            rows = [arrays[spec.name] for spec in inputs]
            take = [array.take(range(PROBE_SAMPLES), axis=0, mode="wrap") for array in rows]
            example = [torch.from_numpy(numpy.ascontiguousarray(array)) for array in take]
        return cls(
            module, config.normalize, inputs, task=task, output=config.output, example=example
        )

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Each input `[b, ...]` as the device has it; each output `[b, ...]`, in fixed order."""
        named = self._flat(self._call(inputs))
        if tuple(named) != self.output_names:
            # In train mode a module may return more, such as auxiliary heads.
            missing = [name for name in self.output_names if name not in named]
            if missing:
                raise ModelError(
                    f"the model no longer returns {', '.join(missing)}; it returns "
                    f"{', '.join(named)}",
                    fix="Return the same names in train mode as in eval mode",
                )
        return tuple(named[name] for name in self.output_names)

    def prediction(self, *inputs: Tensor) -> Tensor:
        """The output that metrics read, `[b, ...]`."""
        return self(*inputs)[self.prediction_index]  # type: ignore[no-any-return]

    def _call(self, inputs: Sequence[Tensor]) -> Any:
        tensors = [
            self._device_input(name, tensor)
            for name, tensor in zip(self.names, inputs, strict=True)
        ]
        if self.by_name:
            return self.module(**dict(zip(self.names, tensors, strict=True)))
        return self.module(*tensors)

    def _device_input(self, name: str, tensor: Tensor) -> Tensor:
        if name == self.normalized:
            return tensor.to(torch.float32) * self.scale + self.shift  # type: ignore[operator]
        if tensor.dtype == torch.uint8 or tensor.is_floating_point():
            return tensor.to(torch.float32)
        return tensor

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
        except EdgestillError:
            raise
        except Exception as raised:
            shapes = ", ".join(str(spec) for spec in self.inputs)
            raise ModelError(
                f"forward raised {describe(raised)}, given {shapes}",
                where=place(raised, Path.cwd()),
                fix="Compare the inputs with what the model was made for: size, channels, layout",
            ) from raised
        finally:
            for part, training in modes.items():
                part.training = training
        if not named:
            raise ModelError("forward returns no tensor", fix="Return at least one")
        self.output_names = tuple(named)
        self.prediction_index = self.output_names.index(_prediction(self.output_names, output))
        self.prediction_shape = tuple(list(named.values())[self.prediction_index].shape[1:])


def _binds_by_name(module: nn.Module, names: Sequence[str]) -> bool:
    """Whether inputs are passed by name; else they are passed in order."""
    parameters = list(signature(module.forward).parameters.values())
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    required = {p.name for p in named if p.default is Parameter.empty}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
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
        fix="Name the inputs as forward does, or choose some with data.inputs",
    )


def _normalized_input(
    normalize: NormalizeConfig | None, inputs: Sequence[TensorSpec]
) -> str | None:
    if normalize is None:
        return None
    names = [spec.name for spec in inputs]
    if normalize.input is None:
        if len(names) == 1:
            return names[0]
        raise ModelError(
            f"normalize does not say which of the inputs it is for: {', '.join(names)}",
            fix=f"Add normalize.input: {names[0]}",
        )
    if normalize.input not in names:
        raise ModelError(
            f"normalize.input is {normalize.input!r}, which is no input",
            fix=nearest(normalize.input, names, "Inputs"),
        )
    return normalize.input


def _scale_and_shift(normalize: NormalizeConfig, spec: TensorSpec) -> tuple[Tensor, Tensor]:
    """`(x / range - mean) / std` as `x * scale + shift`: two operations on the device, not three.

    Both are `[k, 1, ...]` or `[k]`, k being the channels, or scalars.
    """
    mean = torch.tensor(normalize.mean, dtype=torch.float64)
    std = torch.tensor(normalize.std, dtype=torch.float64)
    channels = max(len(mean), len(std))
    if not {len(mean), len(std)} <= {1, channels}:
        raise ModelError(
            f"normalize.mean has {len(mean)} values, normalize.std {len(std)}",
            fix="Give one value, or one per channel, for both",
        )
    scale = (1 / (normalize.range * std)).expand(channels).to(torch.float32)
    shift = (-mean / std).expand(channels).to(torch.float32)
    if channels == 1:
        return scale[0].clone(), shift[0].clone()
    sample = spec.shape[1:]
    if sample and sample[0] == channels:
        view = (channels, *[1] * (len(sample) - 1))
    elif sample and sample[-1] == channels:
        view = (channels,)
    else:
        raise ModelError(
            f"normalize has {channels} channels, the input is {spec}",
            fix="Give one value, or as many as the input has channels (first or last axis)",
        )
    return scale.reshape(view).clone(), shift.reshape(view).clone()


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


def _prediction(names: Sequence[str], output: str | None) -> str:
    if output is not None:
        if output not in names:
            raise ModelError(
                f"output: {output!r} is not among the model's outputs",
                fix=nearest(output, list(names), "Outputs"),
            )
        return output
    if len(names) == 1:
        return names[0]
    for usual in ("logits", "output"):
        if usual in names:
            return usual
    raise ModelError(
        f"the model has several outputs: {', '.join(names)}",
        fix=f"Say which one metrics read, such as output: {names[0]}",
    )


def _zeros(spec: TensorSpec) -> Tensor:
    shape = [PROBE_SAMPLES, *[1 if size is None else size for size in spec.shape[1:]]]
    return torch.zeros(shape, dtype=getattr(torch, spec.dtype))
