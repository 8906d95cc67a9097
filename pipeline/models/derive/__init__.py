"""A student from its teacher: the same code with fewer blocks and narrower layers, which start
from the teacher's weights."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from edgestill.models.derive.depth import shorten
from edgestill.models.derive.probe import Probe
from edgestill.models.derive.width import narrow
from edgestill.models.wrapper import DeviceModel


def derive(model: DeviceModel, example: Sequence[Tensor], depth: float, width: float) -> str:
    """Make the teacher's module into the student's, in place, and say what was done.

    Args:
        example: device inputs of a few samples.
        depth: the share of the blocks of each stage that stays.
        width: the share of the channels of each layer that stays; inputs and outputs keep theirs.

    Raises:
        ModelError: there is nothing that could be left out, or the forward of the module does
            not work with what is left.
    """
    probe = Probe(model, example)
    told = []
    with probe.quiet():
        before, outputs = probe.size(), probe.shapes()
        if depth < 1:
            stages = shorten(probe, depth)
            probe.require(outputs, "depth", depth)
            told += [f"blocks: {stage}" for stage in stages]
        if width < 1:
            channels = narrow(probe, width)
            probe.require(outputs, "width", width)
            changes = [f"{old} -> {new}" for old, new in sorted(channels.items())]
            told.append(f"channels {', '.join(changes)}")
        after = probe.size()
    told.append(f"{_short(before.parameters)} -> {_short(after.parameters)} parameters")
    told.append(
        f"{_short(before.multiply_adds)} -> {_short(after.multiply_adds)} multiply-adds a sample"
    )
    return "; ".join(told)


def _short(count: int) -> str:
    """`698 k` for 698,154."""
    for factor, prefix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= factor:
            return f"{count / factor:.3g}{prefix}"
    return str(count)
