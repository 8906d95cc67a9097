"""Fewer blocks: of each stage of equal blocks, some stay, evenly spread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from edgestill.errors import ModelError
from edgestill.models.derive.probe import OWN, Probe, first_tensor

# Where a model or its configuration says how many blocks it has.
_COUNTS = (
    *("num_hidden_layers", "num_layers", "num_blocks", "n_layers", "n_layer", "n_blocks", "depth"),
    *("encoder_layers", "decoder_layers"),
)


@dataclass(frozen=True)
class Stage:
    """Blocks of one kind in a row, each fed by the one before; all but the first keep the shape.

    Attributes:
        container: the path of what holds them.
        positions: where they stand in it.
        kept: those of `positions` that stay.
    """

    container: str
    positions: tuple[int, ...]
    kept: tuple[int, ...] = ()

    def __str__(self) -> str:
        kept = ", ".join(str(position) for position in self.kept)
        first, last = self.positions[0], self.positions[-1]
        return f"{self.container} keeps {kept} of {first} to {last}"


@dataclass
class _Call:
    """How a block was called, the last time."""

    given: Tensor
    keeps_shape: bool
    times: int


def shorten(probe: Probe, depth: float) -> list[Stage]:
    """Leave out blocks, in place; the others keep their weights and are numbered anew.

    Returns:
        Every stage with several blocks.

    Raises:
        ModelError: no stage has a block that could be left out.
    """
    stages = []
    for stage in _stages(probe):
        count = len(stage.positions)
        spread = evenly_spread(count, max(1, int(count * depth + 0.5)))
        kept = tuple(stage.positions[index] for index in spread)
        stages.append(Stage(stage.container, stage.positions, kept))
    if all(stage.kept == stage.positions for stage in stages):
        found = f"depth: {depth:g} rounds to all blocks of each stage"
        if not stages:
            found = "depth: no blocks of one class follow each other and keep their input's shape"
        raise ModelError(
            f"{found}, so that none can be left out", fix=f"Try another depth or width, {OWN}"
        )
    # All of them before the first change, which may number others anew.
    containers = {stage.container: _outer(probe.module, stage.container) for stage in stages}
    for path, outer in containers.items():
        here = [stage for stage in stages if stage.container == path]
        _leave_out(outer, {p for stage in here for p in stage.positions if p not in stage.kept})
    return stages


def evenly_spread(count: int, kept: int) -> list[int]:
    """`kept` of the positions 0 to `count` - 1, with the first and, of several, the last one."""
    if kept == 1:
        return [0]
    return [int(index * (count - 1) / (kept - 1) + 0.5) for index in range(kept)]


def _stages(probe: Probe) -> list[Stage]:
    containers = {
        path: module
        for path, module in probe.module.named_modules()
        if isinstance(module, (nn.Sequential, nn.ModuleList)) and len(module) > 1
    }
    calls = _calls(probe, {child for holder in containers.values() for child in holder})
    found = {path: list(_in_rows(path, holder, calls)) for path, holder in containers.items()}
    several = {path: stages for path, stages in found.items() if stages}
    inner = set(_inside_blocks(probe.module, several))
    return [stage for path, stages in several.items() if path not in inner for stage in stages]


def _calls(probe: Probe, blocks: set[nn.Module]) -> dict[nn.Module, _Call]:
    """How each block is called for the samples."""
    calls: dict[nn.Module, _Call] = {}

    def watch(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        given, gives = first_tensor(*args, *kwargs.values()), first_tensor(out)
        if given is not None and gives is not None:
            times = calls[block].times + 1 if block in calls else 1
            calls[block] = _Call(given, given.shape == gives.shape, times)

    with probe.watched(list(blocks), watch):
        probe.run()
    return calls


def _in_rows(
    path: str, container: nn.Sequential | nn.ModuleList, calls: dict[nn.Module, _Call]
) -> Iterator[Stage]:
    """The stages with several blocks among a container's children."""
    row: list[int] = []
    previous: nn.Module | None = None
    for position, child in enumerate(container):
        call = calls.get(child)
        usable = _is_block(child) and call is not None and call.times == 1
        goes_on = (
            usable
            and call is not None
            and call.keeps_shape
            and previous is not None
            and _kind(child) == _kind(previous)
            # Branches side by side get the same tensor.
            and call.given is not calls[previous].given
        )
        if not goes_on:
            if len(row) > 1:
                yield Stage(path, tuple(row))
            row = []
        if usable:
            row.append(position)
        previous = child if usable else None
    if len(row) > 1:
        yield Stage(path, tuple(row))


def _is_block(module: nn.Module) -> bool:
    return any(True for child in module.children() for _ in child.parameters())


def _kind(module: nn.Module) -> Any:
    """The class; of a plain container, the kinds of what is in it too."""
    if type(module) in (nn.Sequential, nn.ModuleList):
        return type(module), tuple(_kind(child) for child in module.children())
    return type(module)


def _inside_blocks(module: nn.Module, stages: dict[str, list[Stage]]) -> Iterator[str]:
    """The containers that are parts of a block of another stage, or of a block like those: the
    layers of a block are no stage."""
    held: set[nn.Module | None] = set()
    for path, found in stages.items():
        children = list(module.get_submodule(path)._modules.values())
        held |= {children[position] for stage in found for position in stage.positions}
    classes = {type(block) for block in held} - {nn.Sequential, nn.ModuleList}
    for path in stages:
        if any(part in held or type(part) in classes for part in _outer(module, path)):
            yield path


def _outer(module: nn.Module, path: str) -> list[nn.Module]:
    """The modules on the way to `path`, from the model itself to what is there."""
    parts = path.split(".") if path else []
    return [module.get_submodule(".".join(parts[:end])) for end in range(len(parts) + 1)]


def _leave_out(outer: Sequence[nn.Module], positions: set[int]) -> None:
    """Take the children at `positions` out of the last of these modules."""
    container = outer[-1]
    children = list(container._modules.items())
    kept = [item for position, item in enumerate(children) if position not in positions]
    if all(name.isdecimal() for name, _ in children):
        for index, (name, block) in enumerate(kept):
            _renumber(block, int(name), index)
        kept = [(str(index), block) for index, (_, block) in enumerate(kept)]
    container._modules = dict(kept)
    _follow(outer, len(children), len(kept))


def _renumber(block: nn.Module | None, old: int, new: int) -> None:
    """Attention of Hugging Face's decoders knows its place, in the cache of keys and values."""
    for part in block.modules() if block is not None else ():
        if getattr(part, "layer_idx", None) == old:
            part.layer_idx = new  # type: ignore[assignment]


def _follow(outer: Sequence[nn.Module], old: int, new: int) -> None:
    """Write the new number of blocks where a module around them, or its configuration, has it."""
    holders = [holder for part in outer for holder in (part, getattr(part, "config", None))]
    for holder in holders:
        for name in _COUNTS:
            if type(getattr(holder, name, None)) is int and getattr(holder, name) == old:
                setattr(holder, name, new)
