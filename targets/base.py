"""What a target is: it says whether it is usable here, compiles a model, and runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgestill.artifact import Engine, OnnxModel, Signature, TensorSpec
from edgestill.errors import DataError, EdgestillError, ExportError
from edgestill.targets import TARGETS

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Availability:
    """What a target can do on this machine.

    Attributes:
        reason: why something of it cannot be used; empty when all can.
        fix: what to do about that.
        version: of the runtime; None when it cannot be loaded.
    """

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
            feeds: each input by name, in the signature's dtype and shape. What is C-contiguous
                and writable is read in place, anything else may be copied first.

        Raises:
            DataError: the feeds are not what the signature asks for.
            DeviceError: the runtime failed.
        """
        ...

    def another(self) -> Session:
        """One more, which may run at the same time as this one: it shares what was loaded.

        With the streams that the engine was loaded with, there may be so many in all.

        Raises:
            DeviceError: the target serves one call at a time.
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
            ExportError: the target has no such precision, or its runtime cannot take the model.
            MissingExtra: the runtime is not installed.
        """
        ...

    def load(self, engine: Engine, threads: int, streams: int = 1) -> Session:
        """Open an engine.

        Args:
            threads: what a CPU runtime may use, for all calls that it serves at once.
            streams: how many those are, `threads` at most; a GPU serves one at a time.

        Raises:
            DeviceError: the engine cannot be run here.
        """
        ...


def unavailable(target: str, error: Exception) -> Availability:
    """Of a target whose runtime cannot be imported, whatever its import raised."""
    if isinstance(error, EdgestillError):
        return Availability(error.what, error.fix or "")
    reason = f"the runtime cannot be imported ({type(error).__name__}: {error})"
    extra = TARGETS[target].extra
    return Availability(reason, f"Reinstall it: pip install --force-reinstall 'edgestill[{extra}]'")


def require_precision(model: OnnxModel, precision: str, target: str) -> None:
    """Check that `model` is what a target compiles to `precision`.

    Raises:
        ExportError: the target has no such precision; a float model for int8, a quantized one for
            another precision, or one that is quantized in the scheme of other targets, which this
            one would misread.
    """
    spec, found, where = TARGETS[target], model.description, str(model.path)
    if precision not in spec.precisions:
        raise ExportError(
            f"'{precision}' is not supported by {target}",
            where=where,
            fix=f"Supported: {', '.join(spec.precisions)}",
        )
    wanted = "int8" if precision == "int8" else "fp32"
    if found.precision != wanted:
        raise ExportError(
            f"{target} {precision} is made from an {wanted} model, this one is {found.precision}",
            where=where,
        )
    if wanted == "int8" and found.scheme not in (None, spec.scheme):
        raise ExportError(
            f"the model is quantized in the scheme {found.scheme}, {target} needs {spec.scheme}",
            where=where,
            fix=f"Quantize it with scheme {spec.scheme}",
        )


def require_signature(
    model: OnnxModel,
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
    problems, expected = [], model.description.signature
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
        what = f"{target} changed the model: {'; '.join(problems)}"
        raise ExportError(what, where=str(model.model_path))


def _same_sizes(expected: tuple[int | None, ...], found: tuple[int | None, ...], kept: int) -> bool:
    """Whether shapes fit, of which the first `kept` sizes may not become fixed."""
    if len(expected) != len(found):
        return False
    pairs = enumerate(zip(expected, found, strict=True))
    return all(
        new == old or new is None or (old is None and axis >= kept) for axis, (old, new) in pairs
    )


def require_feeds(signature: Signature, feeds: Mapping[str, NDArray[Any]]) -> None:
    """Check feeds before each run, in about a microsecond.

    Runtimes do not see everything: bytes in another order are taken for the machine's own, and
    where two inputs differ in their batch OpenVINO answers with what its memory held before.

    Raises:
        DataError: they are not what the signature asks for.
    """
    batches: dict[str, int] = {}
    for spec in signature.inputs:
        array = feeds.get(spec.name)
        if array is None or len(feeds) != len(signature.inputs):
            names = ", ".join(spec.name for spec in signature.inputs)
            fed = ", ".join(feeds) or "none"
            raise DataError(f"the model's inputs are {names}, fed were {fed}")
        # A type in another byte order is not equal to numpy's name for the machine's own.
        if array.dtype != spec.dtype or not shape_fits(spec.shape, array.shape):
            found = TensorSpec(spec.name, _dtype_name(array), array.shape)
            raise DataError(f"the model's input is {spec}, fed was {found}")
        if spec.shape[:1] == (None,):
            batches[spec.name] = array.shape[0]
    if len(set(batches.values())) > 1:
        sizes = ", ".join(f"{name} {size}" for name, size in batches.items())
        raise DataError(f"the inputs differ in their batch: {sizes}")


def shape_fits(expected: tuple[int | None, ...], found: tuple[int, ...]) -> bool:
    """Whether an array's shape is one that a spec's shape allows."""
    if len(expected) != len(found):
        return False
    # A loop takes half the time of `all`, and this is in every timed call.
    for size, given in zip(expected, found, strict=True):
        if size is not None and size != given:
            return False
    return True


def _dtype_name(array: NDArray[Any]) -> str:
    return array.dtype.name if array.dtype.isnative else array.dtype.str


def _listed(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(str(spec) for spec in specs) or "none"
