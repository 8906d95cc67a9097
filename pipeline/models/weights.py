"""A file of trained weights: which of what it holds are the weights of a model."""

from __future__ import annotations

import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile, is_zipfile

from edgestill.errors import ModelError
from edgestill.extras import require
from edgestill.reference import describe
from edgestill.user_files import FETCH, POINTER, is_pointer, reading

if TYPE_CHECKING:
    from torch import Tensor

State = dict[str, "Tensor"]


def read_state(path: Path, expected: Set[str], parameters: Set[str]) -> State:
    """The state dict in a file of a model whose own has the keys `expected`.

    Trainers save it beside others and below a prefix (DataParallel, torch.compile, Lightning). Of
    those in the file it is the one that has most of the keys. What lies beside that prefix, such
    as the state of a loss or a metric, is of no part of the model and left out.

    Args:
        parameters: of the keys those of parameters. Several that have them all could be meant:
            averages of weights often come without the buffers.

    Raises:
        ModelError: the file cannot be read, is a pickle, or holds none or several.
    """
    if is_pointer(path):
        raise ModelError(POINTER, where=str(path), fix=FETCH)
    found = {
        (name, prefix): state
        for name, whole in _held(path).items()
        for prefix, state in _below_prefixes(whole, expected).items()
    }
    fits = {place: len(expected & state.keys()) for place, state in found.items()}
    most = max(fits.values())
    best = next(place for place, fit in fits.items() if fit == most)
    rivals = [
        place
        for place, state in found.items()
        if fits[place] == most or (parameters and parameters <= state.keys())
    ]
    others = (found[place] for place in rivals if place != best)
    if most and not all(_alike(found[best], other) for other in others):
        names = [f"{name or 'it'}{f' below {prefix}' if prefix else ''}" for name, prefix in rivals]
        raise ModelError(
            f"it holds several sets of weights for this model: {', '.join(names)}",
            where=str(path),
            fix="Save the one that is meant in a file of its own, with the keys of the model: "
            "safetensors.torch.save_file(weights, 'weights.safetensors')",
        )
    return found[best]


def _alike(one: State, other: State) -> bool:
    """Whether two state dicts are copies of each other."""
    torch = require("torch", extra="build")
    if one.keys() != other.keys():
        return False
    pairs = ((tensor, other[key]) for key, tensor in one.items())
    try:
        return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)
    except RuntimeError:  # of tensors without values, or without plain ones
        return False


def _below_prefixes(state: State, expected: Set[str]) -> dict[str, State]:
    """The part of a state dict below each prefix that has most of the keys; else all of it."""
    matches: Counter[str] = Counter()
    for key in state:
        parts = key.split(".")
        for start in range(len(parts)):
            if (rest := ".".join(parts[start:])) in expected:
                matches[key.removesuffix(rest)] += 1
    most = max(matches.values(), default=0)
    prefixes = [prefix for prefix, count in matches.items() if count == most]
    if "" in prefixes or not prefixes:
        prefixes = [""]
    return {
        prefix: {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        for prefix in prefixes
    }


def _held(path: Path) -> dict[str, State]:
    """Every state dict in a file, by the keys that lead to it."""
    if path.suffix == ".safetensors":
        safetensors = require("safetensors.torch", extra="build")
        try:
            return {"": dict(safetensors.load_file(path))}
        # Broken files make it raise nearly anything, its own type among it.
        except Exception as error:
            raise ModelError(
                f"not a readable safetensors file ({describe(error)})",
                where=str(path),
                fix="Fetch or save it again",
            ) from error
    held = _unpickled(path)
    states = dict(_state_dicts(held, ""))
    if states:
        return states
    keys = f"the keys {', '.join(map(str, list(held)[:8]))}" if isinstance(held, Mapping) else ""
    raise ModelError(
        f"it holds no state dict but {keys or f'a {type(held).__name__}'}",
        where=str(path),
        fix="Save model.state_dict()",
    )


def _state_dicts(held: Any, name: str) -> Iterator[tuple[str, State]]:
    torch = require("torch", extra="build")
    if not isinstance(held, Mapping):
        return
    tensors = [isinstance(key, str) and isinstance(v, torch.Tensor) for key, v in held.items()]
    if tensors and all(tensors):
        yield name, dict(held)
        return
    for key, value in held.items():
        yield from _state_dicts(value, f"{name}.{key}" if name else str(key))


def _unpickled(path: Path) -> Any:
    """What torch.load gives of a file without running code of it."""
    torch = require("torch", extra="build")
    _require_torch_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about how old files were written
            return torch.load(path, map_location="cpu", weights_only=True)
    # Of a pickle or a broken file it raises nearly anything.
    except Exception as error:
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise ModelError(
                "it holds pickled Python objects, which can run any code: not loaded",
                where=str(path),
                fix="Where you trust it, save what is needed: "
                "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')",
            ) from error
        raise _unreadable(path, error) from error


def _require_torch_file(path: Path) -> None:
    if not is_zipfile(path):
        # What torch.save wrote before it wrote archives begins as a pickle does.
        with reading(path), path.open("rb") as file:
            begins_as_pickle = file.read(1) == b"\x80"
        if begins_as_pickle:
            return
        raise ModelError(
            "not a file of weights: neither what torch.save writes nor safetensors by its ending",
            where=str(path),
            fix="Name a .safetensors file, or one that torch.save wrote",
        )
    try:
        with ZipFile(path) as archive:
            names = archive.namelist()
            damaged = archive.testzip()  # torch itself reads past wrong checksums
    # Archives that torch does not write are packed, or encrypted (a RuntimeError).
    except (BadZipFile, zlib.error, RuntimeError) as error:
        raise _unreadable(path, error) from error
    if damaged is not None:
        raise ModelError(
            f"it is damaged: {damaged} in it does not match its checksum",
            where=str(path),
            fix="Fetch or save it again",
        )
    if any(name.endswith("/constants.pkl") for name in names):
        raise ModelError(
            "it is a TorchScript archive, which holds code beside the weights: not loaded",
            where=str(path),
            fix="Where you trust it, save its weights: "
            f"torch.save(torch.jit.load('{path.name}').state_dict(), 'weights.pt')",
        )


def _unreadable(path: Path, error: Exception) -> ModelError:
    what = f"not a readable torch file ({describe(error)})"
    return ModelError(what, where=str(path), fix="Fetch or save it again")
