"""From a recipe's model to a PyTorch module with weights. Importing this loads no torch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgestill.errors import ModelError
from edgestill.extras import require
from edgestill.models import hugging_face
from edgestill.models.config import ModelConfig
from edgestill.models.weights import read_state
from edgestill.reference import call, load
from edgestill.spelling import nearest

if TYPE_CHECKING:
    from torch import Tensor, nn

_SHOWN = 5


def load_callable(reference: str, base: Path) -> Callable[..., Any]:
    """The user's function that `file.py:callable` or `package.module:callable` names.

    Raises:
        ModelError: it cannot be found or imported, or is no callable.
    """
    function = load(reference, base, ModelError)
    if not callable(function):
        raise ModelError(f"it is a {type(function).__name__}, not a callable", where=reference)
    return function  # type: ignore[no-any-return]


def build(config: ModelConfig, base: Path, *, final: bool = False) -> nn.Module:
    """The module that the recipe's callable returns for its arguments, or that a folder holds.

    Args:
        final: whether its weights are what ships, so that none may be drawn at random.

    Raises:
        ModelError: the reference is wrong, the callable raises, or it returns no module.
    """
    torch = require("torch", extra="build")
    if config.model is None:
        raise ModelError(
            f"{config.onnx or 'the model'} is not a PyTorch model",
            fix="Give model: file.py:callable to train or distil it",
        )
    folder = hugging_face.folder_of(config.model)
    if folder is not None:
        return hugging_face.build(base / folder, config.arguments, complete=final)
    found = load(config.model, base, ModelError)
    if isinstance(found, torch.nn.Module):
        if config.arguments:
            raise ModelError(
                f"it is a finished {type(found).__name__}: there is nothing to pass arguments to",
                where=config.model,
                fix="Leave out arguments, or name a function or a class",
            )
        # The module's file is imported once: each build starts from the same weights.
        return copy.deepcopy(found)  # type: ignore[no-any-return]
    module = call(config.model, base, config.arguments, ModelError)
    if not isinstance(module, torch.nn.Module):
        raise ModelError(
            f"it returned {_a(module)}, not a torch.nn.Module",
            where=config.model,
            fix="Return the module itself; weights are loaded from weights:",
        )
    # torch.compile's wrapper hides the names of inputs and layers, and cannot be exported.
    return getattr(module, "_orig_mod", module)  # type: ignore[no-any-return]


def _a(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def load_weights(module: nn.Module, config: ModelConfig, base: Path) -> None:
    """Put the recipe's weights into `module`, every one of them.

    Raises:
        ModelError: the file is missing, unreadable or a pickle, or does not fit the module.
    """
    assert config.weights is not None
    path = base / config.weights
    if path.is_dir():
        files = sorted(file.name for file in path.iterdir())
        raise ModelError(
            f"{path} is a folder",
            where="weights",
            fix="Name a file of weights in it: " + (", ".join(files[:_SHOWN]) or "it is empty"),
        )
    if not path.is_file():
        files = sorted(file.name for file in path.parent.glob("*")) if path.parent.is_dir() else []
        raise ModelError(
            f"there is no file {path}",
            where="weights",
            fix=nearest(path.name, files, f"Files in {path.parent}"),
        )
    expected = module.state_dict()
    parameters = {name for name, _ in module.named_parameters()}
    state = read_state(path, expected.keys(), parameters)
    _require_fit(expected, state, str(path))
    module.load_state_dict(state, strict=False)


def _require_fit(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], where: str) -> None:
    given = {expected[key].data_ptr() for key in state if key in expected}
    # A file has tied weights once; files of old have no batch counters.
    missing = [
        f"{key} {list(value.shape)}"
        for key, value in expected.items()
        if key not in state
        and not key.endswith("num_batches_tracked")
        and not (value.numel() and value.data_ptr() in given)
    ]
    unexpected = [f"{k} {list(v.shape)}" for k, v in state.items() if k not in expected]
    misshapen = [
        f"{key} {list(value.shape)} where the model has {list(expected[key].shape)}"
        for key, value in state.items()
        if key in expected and value.shape != expected[key].shape
    ]
    problems = {
        "missing": missing,
        "unexpected": unexpected,
        "of another shape": misshapen,
        "of another type": [
            f"{key} is {other} where the model has floats"
            for key, value in state.items()
            if key in expected and expected[key].is_floating_point() and (other := _other(value))
        ],
    }
    found = [_listed(kind, keys) for kind, keys in problems.items() if keys]
    if found:
        raise ModelError(
            f"the weights do not fit the model: {'; '.join(found)}",
            where=where,
            fix="Check that model and arguments are those the weights were trained with",
        )
    broken = [k for k, v in state.items() if not _other(v) and not v.isfinite().all()]
    if broken:
        raise ModelError(_listed("weights with NaN or Inf", broken), where=where)


def _other(value: Tensor) -> str | None:
    """What a tensor holds that is no plain floats: quantized ones mean nothing by themselves."""
    if value.is_meta:
        return "without values"
    if str(value.layout) != "torch.strided":
        return "sparse"
    plain = value.is_floating_point() and value.dtype.itemsize > 1
    return None if plain else str(value.dtype).removeprefix("torch.")


def _listed(kind: str, keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"{len(keys)} {kind}: {', '.join(keys[:_SHOWN])}{more}"


def number_of_parameters(module: nn.Module) -> int:
    """How many numbers were or can be learnt; shared ones count once."""
    return sum(parameter.numel() for parameter in module.parameters())
