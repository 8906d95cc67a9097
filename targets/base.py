"""What a target is: it says whether it is usable here, compiles a model, and runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgestill.artifact import Engine, OnnxModel, Signature, TensorSpec
from edgestill.errors import DataError, ExportError

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Availability:
    """What a target can do on this machine.

    Attributes:
        available: whether its runtime can be loaded.
        reason: why something of it cannot be used; empty when all can.
        fix: what to do about that.
        version: of the runtime; None when it cannot be loaded.
    """

    available: bool
    reason: str = ""
    fix: str = ""
    version: str | None = None
    can_compile: bool = False
    can_run: bool = False


class Session(Protocol):
    """A loaded engine."""

    @property
    def signature(self) -> Signature: ...

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Each output by name; the arrays belong to the caller and are never written again.

        Args:
            feeds: each input by name, C-contiguous, in the signature's dtype and shape.

        Raises:
            DataError: the feeds are not what the signature asks for.
            DeviceError: the runtime failed.
        """
        ...

    def close(self) -> None:
        """Give back what the runtime holds; the session cannot be used after."""
        ...


class Target(Protocol):
    """A runtime, and the hardware that it drives."""

    @property
    def name(self) -> str: ...

    def probe(self) -> Availability:
        """What can be done here. Never raises."""
        ...

    def compile(self, model: OnnxModel, precision: str, options: Any, out: Path) -> Engine:
        """Compile into the empty folder `out`.

        Args:
            precision: one of the target's; the model has to be quantized for int8, float otherwise.
            options: the target's own options type.

        Raises:
            ExportError: the runtime cannot take the model.
            MissingExtra: the runtime is not installed.
        """
        ...

    def load(self, engine: Engine, threads: int) -> Session:
        """Open an engine; `threads` is what a CPU runtime may use for one call.

        Raises:
            DeviceError: the engine cannot be run here.
        """
        ...


def require_precision(model: OnnxModel, precision: str, target: str, scheme: str) -> None:
    """Check that `model` is what a target compiles to `precision`.

    Raises:
        ExportError: a float model for int8, a quantized one for another precision, or one that
            is quantized in the scheme of other targets, which this one would misread.
    """
    found = model.description
    wanted = "int8" if precision == "int8" else "fp32"
    if found.precision != wanted:
        raise ExportError(
            f"{target} {precision} is made from an {wanted} model, this one is {found.precision}",
            where=str(model.path),
        )
    if wanted == "int8" and found.scheme not in (None, scheme):
        raise ExportError(
            f"the model is quantized in the scheme {found.scheme}, {target} needs {scheme}",
            where=str(model.path),
            fix=f"Quantize it with scheme {scheme}",
        )


def require_signature(
    expected: Signature,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    target: str,
) -> None:
    """Check that a compiled model still has the inputs and outputs that it was exported with.

    Names, order, dtypes and ranks have to be the same, and every size that both know. What was
    free at an input, and the batch of an output, has to stay free.

    Raises:
        ExportError: it has not.
    """
    problems = []
    for kind, wanted, found in (
        ("input", expected.inputs, inputs),
        ("output", expected.outputs, outputs),
    ):
        if [spec.name for spec in wanted] != [spec.name for spec in found]:
            problems.append(f"{kind}s are {_listed(found)}, expected {_listed(wanted)}")
            continue
        for old, new in zip(wanted, found, strict=True):
            kept = len(old.shape) if kind == "input" else 1
            if old.dtype != new.dtype or not _same_sizes(old.shape, new.shape, kept):
                problems.append(f"{kind} is {new}, expected {old}")
    if problems:
        raise ExportError(f"{target} changed the model: {'; '.join(problems)}", where=target)


def _same_sizes(expected: tuple[int | None, ...], found: tuple[int | None, ...], kept: int) -> bool:
    """Whether shapes fit, of which the first `kept` sizes may not become fixed."""
    if len(expected) != len(found):
        return False
    pairs = enumerate(zip(expected, found, strict=True))
    return all(
        new == old or new is None or (old is None and axis >= kept) for axis, (old, new) in pairs
    )


def feed_error(signature: Signature, feeds: Mapping[str, NDArray[Any]]) -> DataError | None:
    """What is wrong with feeds, said in the signature's terms; None when nothing is."""
    names = [spec.name for spec in signature.inputs]
    if set(names) != set(feeds):
        return DataError(f"the model's inputs are {', '.join(names)}, fed were {', '.join(feeds)}")
    for spec in signature.inputs:
        array: numpy.ndarray[Any, Any] = feeds[spec.name]
        shape = array.shape
        fits = len(shape) == len(spec.shape) and all(
            size in (None, given) for size, given in zip(spec.shape, shape, strict=True)
        )
        if not fits or array.dtype.name != spec.dtype:
            found = TensorSpec(spec.name, array.dtype.name, shape)
            return DataError(f"the model's input is {spec}, fed was {found}")
    return None


def _listed(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(str(spec) for spec in specs) or "none"
