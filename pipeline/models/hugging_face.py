"""Models in folders as `save_pretrained` writes them: `hf:FOLDER` in a recipe.

The class is the one that the folder's `config.json` names. Nothing is downloaded, and no code that
lies in a folder is run: a result has to depend on files that are here, and on a library's version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgestill.errors import ModelError
from edgestill.extras import require
from edgestill.reference import describe
from edgestill.spelling import nearest

if TYPE_CHECKING:
    from torch import nn

PREFIX = "hf:"
# What a key holds for such a model beside its folder: the version of this library.
CODE = "transformers:PreTrainedModel"

_CONFIG = "config.json"
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin")
_SHOWN = 5


def folder_of(reference: str | None) -> str | None:
    """The folder that `hf:FOLDER` names; None for another reference."""
    if reference is None or not reference.startswith(PREFIX):
        return None
    return reference.removeprefix(PREFIX)


def has_weights(folder: Path) -> bool:
    """Whether there is more than a configuration."""
    return any(any(folder.glob(pattern)) for pattern in _WEIGHTS)


def require_folder(folder: Path) -> dict[str, Any]:
    """The configuration of a model's folder.

    Raises:
        ModelError: it is no such folder.
    """
    file = folder / _CONFIG
    if not file.is_file():
        found = (
            f"the folder {folder} has no {_CONFIG}"
            if folder.is_dir()
            else (f"there is no folder {folder}")
        )
        raise ModelError(
            found,
            fix="Name a folder that save_pretrained wrote; hf download ORGANISATION/NAME "
            "--local-dir FOLDER fetches one",
        )
    try:
        settings = json.loads(file.read_bytes())
    except ValueError as error:
        raise ModelError(f"{file} is not JSON ({error})", fix="Fetch the file again") from error
    if not isinstance(settings, dict) or not settings.get("architectures"):
        raise ModelError(
            f"{file} names no architectures",
            fix='Add "architectures": ["BertForSequenceClassification"], with the class of the '
            "transformers library that it is",
        )
    return settings


def build(folder: Path, arguments: Mapping[str, Any], *, complete: bool = False) -> nn.Module:
    """The model of a folder, with its weights where it has any.

    Args:
        arguments: what is to differ from `config.json`, such as `num_labels`.
        complete: whether every weight has to be in the folder; what is lacking, or has another
            shape, is drawn at random otherwise, if it differs by `arguments` or nothing is there.

    Raises:
        ModelError: the folder, the arguments or the weights are not those of a model that the
            installed transformers library has.
    """
    transformers = require("transformers", extra="transformers")
    require_folder(folder)
    where = str(folder)
    try:
        config, unknown = transformers.AutoConfig.from_pretrained(
            folder, return_unused_kwargs=True, trust_remote_code=False, **arguments
        )
    except Exception as error:
        raise ModelError(
            f"transformers {transformers.__version__} cannot read {_CONFIG} ({describe(error)})",
            where=where,
            fix="Give a model with code of its own as file.py:callable",
        ) from error
    if unknown:
        name = min(unknown)
        fix = nearest(name, sorted({*config.to_dict(), "num_labels"}), f"{_CONFIG} has")
        raise ModelError(f"{name} is no setting of the model", where=where, fix=fix)
    name = config.architectures[0]
    kind = getattr(transformers, name, None)
    if kind is None:
        raise ModelError(
            f"transformers {transformers.__version__} has no {name}",
            where=where,
            fix="Give a model with code of its own as file.py:callable",
        )
    if hasattr(config, "use_cache"):
        config.use_cache = False  # what a decoder would return beside its answers
    if not has_weights(folder):
        if complete:
            raise ModelError(
                "the folder has no weights", where=where, fix="Add model.safetensors, or train: {}"
            )
        return kind(config)  # type: ignore[no-any-return]
    module = _loaded(kind, config, folder, may_lack=bool(arguments) and not complete)
    return module.float()


def _loaded(kind: Any, config: Any, folder: Path, *, may_lack: bool) -> nn.Module:
    try:
        module, found = kind.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except Exception as error:
        raise ModelError(
            f"the weights cannot be loaded into {kind.__name__} ({describe(error)})",
            where=str(folder),
            fix="Fetch the folder again, or compare config.json with the weights",
        ) from error
    lacking = [*found["missing_keys"], *found["mismatched_keys"]]
    if lacking and not may_lack:
        more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
        raise ModelError(
            f"the folder lacks weights of {kind.__name__}: "
            f"{', '.join(sorted(lacking)[:_SHOWN])}{more}",
            where=str(folder),
            fix="To train them, say in arguments what differs from the folder, such as "
            "architectures or num_labels, with train: {} or distill: in place of pretrained",
        )
    return module  # type: ignore[no-any-return]
