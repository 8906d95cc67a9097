"""Trying a model on a few samples while it is changed: what it gives and costs, where it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from edgestill.errors import ModelError
from edgestill.models.resolve import number_of_parameters
from edgestill.models.wrapper import DeviceModel
from edgestill.reference import describe

# Called with a module, its arguments by position and by name, and its output.
Watcher = Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], Any]

OWN = "or give the student a model: of its own"


@dataclass(frozen=True)
class Size:
    """What a model costs: parameters, and multiply-adds for one sample."""

    parameters: int
    multiply_adds: int


class Probe:
    """A model, and the samples that it is tried on."""

    def __init__(self, model: DeviceModel, example: Sequence[Tensor]) -> None:
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self.model = model
        self.module = model.module
        self.example = [tensor.to(device) for tensor in example]

    def run(self) -> tuple[Tensor, ...]:
        """Its outputs on the samples."""
        outputs: tuple[Tensor, ...] = self.model(*self.example)
        return outputs

    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of each output."""
        return [tuple(output.shape) for output in self.run()]

    def size(self) -> Size:
        """Parameters and multiply-adds; of other operations than convolutions and matrix products
        none are counted."""
        with FlopCounterMode(display=False) as counter:
            self.run()
        operations = counter.get_total_flops()
        return Size(number_of_parameters(self.module), operations // 2 // len(self.example[0]))

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Eval mode and no gradients; the modes come back. Layers that torch would fuse in eval
        mode, and so hide, are called one by one."""
        modes = {part: part.training for part in self.model.modules()}
        fused = torch.backends.mha.get_fastpath_enabled()
        self.model.eval()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with torch.no_grad():
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
            for part, training in modes.items():
                part.training = training

    @contextmanager
    def watched(self, modules: Sequence[nn.Module], watch: Watcher) -> Iterator[None]:
        """Within it, `watch` sees every call of these modules, and may replace the output."""
        with ExitStack() as hooks:
            for module in modules:
                hooks.enter_context(module.register_forward_hook(watch, with_kwargs=True))
            yield

    def require(self, shapes: Sequence[tuple[int, ...]], key: str, share: float) -> None:
        """Run what was changed.

        Raises:
            ModelError: it fails, or its outputs have other shapes than these.
        """
        entered: list[str] = []
        names = {module: name for name, module in self.module.named_modules()}
        with ExitStack() as hooks:
            for module, name in names.items():
                enter = module.register_forward_pre_hook(lambda *_, n=name: entered.append(n))
                leave = module.register_forward_hook(lambda *_: _ignore(entered.pop()))
                hooks.enter_context(enter)
                hooks.enter_context(leave)
            try:
                found = self.shapes()
            except ModelError as error:
                layer = next((name for name in reversed(entered) if name), "the model")
                raise ModelError(
                    f"with {key}: {share:g}, {layer} does not fit its input any more "
                    f"({describe(error.__cause__ or error)})",
                    where=error.where,
                    fix=f"Look for sizes that forward has as numbers. Try another {key}, {OWN}",
                ) from error
        if found != list(shapes):
            told = ", ".join(str(list(shape)) for shape in found)
            raise ModelError(
                f"with {key}: {share:g}, the outputs become {told} where the teacher gives "
                f"{', '.join(str(list(shape)) for shape in shapes)}",
                fix=f"Try another {key}, {OWN}",
            )


def _ignore(_: object) -> None:
    """A hook that returns nothing leaves the output as it is."""


def first_tensor(*values: Any) -> Tensor | None:
    """The first tensor among arguments, or in the tuples that they are."""
    for value in values:
        if isinstance(value, Tensor):
            return value
        if isinstance(value, (tuple, list)) and (found := first_tensor(*value)) is not None:
            return found
    return None
