"""Training a part of a model: the rest keeps its weights and its statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from edgestill.errors import ModelError
from edgestill.models.wrapper import DeviceModel
from edgestill.train.taps import find_layer


def freeze_all_but(model: DeviceModel, only: Sequence[str]) -> tuple[nn.Module, ...]:
    """Take the gradients of everything outside the modules at the paths `only`; what is outside.

    What is frozen inside them already stays so.

    Raises:
        ModelError: there is no such module, or nothing in it can learn.
    """
    learning = {module for path in only for module in _part(model.module, path).modules()}
    kept = {parameter for module in learning for parameter in module.parameters()}
    for parameter in model.parameters():
        if parameter not in kept:
            parameter.requires_grad_(False)
    return tuple(module for module in model.modules() if module not in learning)


def unreached(model: DeviceModel, only: Sequence[str]) -> Iterator[str]:
    """The paths of `only` at which no gradient has arrived."""
    for path in only:
        part = model.module.get_submodule(path)
        if all(parameter.grad is None for parameter in part.parameters()):
            yield path


def _part(module: nn.Module, path: str) -> nn.Module:
    try:
        part = find_layer(module, path)
        if not any(parameter.requires_grad for parameter in part.parameters()):
            raise ModelError(
                f"{type(part).__name__} has no trainable parameters",
                fix="Leave it out, or name a layer with weights",
            )
    except ModelError as error:
        error.where = f"only: {path}"
        raise
    return part
