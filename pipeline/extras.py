"""The only gate to optional libraries: `require("openvino", extra="openvino")`."""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from types import ModuleType

from edgestill.errors import MissingExtra

# Switches that a library reads at its first import. Most tell it not to report use to its maker.
_SWITCHES = {
    "nncf": {"NNCF_CI": "1"},
    # Importing openvino sends an event unless it believes to be in a CI job: its only switch.
    "openvino": {"TF_BUILD": "1"},
    "datasets": {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"},
    "transformers": {"HF_HUB_DISABLE_TELEMETRY": "1"},
    "accelerate": {"HF_HUB_DISABLE_TELEMETRY": "1"},
    # Idle threads of OpenMP spin for long by default: beside another process a training becomes
    # many times slower, because a thread that waits keeps the core of the one that it waits for.
    # cuBLAS repeats itself only with a workspace of a fixed size.
    "torch": {
        "TORCHINDUCTOR_DISABLE_TELEMETRY": "1",
        "GOMP_SPINCOUNT": "1000",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    },
}

# Modules that a user's code may import, and that the extra `build` brings.
_BUILD = frozenset(
    [
        "torch",
        "onnx",
        "onnxscript",
        "nncf",
        "torchao",
        "safetensors",
        "accelerate",
        "datasets",
        "pyarrow",
        "scipy",
        "sklearn",
        "PIL",
    ]
)


def installed(module: str) -> bool:
    """Whether `module` can be found, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def set_switches(module: str) -> None:
    """Set what `module` reads from the environment when it is first imported."""
    for variable, value in _SWITCHES.get(module.partition(".")[0], {}).items():
        os.environ.setdefault(variable, value)


def lacking(error: BaseException, where: str) -> MissingExtra | None:
    """What the import error of a user's code means where it lacks a library that we bring."""
    name = error.name if isinstance(error, ModuleNotFoundError) and error.name else ""
    missing = name.partition(".")[0]
    if missing not in _BUILD or installed(missing):
        return None
    return MissingExtra(
        f"it imports {missing}, which is not installed",
        where=where,
        fix="Install it: pip install 'edgestill[build]'",
    )


def require(module: str, *, extra: str) -> ModuleType:
    """Import and return `module`, which `pip install edgestill[extra]` brings.

    Raises:
        MissingExtra: it is not installed, or it is and cannot be imported.
    """
    set_switches(module)
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).split(".")[0]
        if module.startswith("edgestill.") and missing != "edgestill":
            raise _missing(f"{missing} is not installed", extra) from error
        if module.split(".")[0] != missing:
            raise _missing(f"{module} is installed but lacks {error.name}", extra) from error
        raise _missing(f"{module} is not installed", extra) from error
    except (ImportError, OSError) as error:
        raise MissingExtra(
            f"{module} is installed but cannot be imported ({error})",
            fix=f"Reinstall it: pip install --force-reinstall 'edgestill[{extra}]'",
        ) from error
    if getattr(found, "__file__", None) is None:
        # An uninstall left its folder behind, or a folder beside the recipe has its name.
        folders = ", ".join(getattr(found, "__path__", ()))
        raise MissingExtra(
            f"{module} is a folder without code ({folders})",
            fix=f"Remove that folder and install it: pip install 'edgestill[{extra}]'",
        )
    return found


def folder_of(module: str, *, extra: str) -> Path:
    """The folder of an installed package, without importing it.

    Raises:
        MissingExtra: it is not installed.
    """
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise _missing(f"{module} is not installed", extra)
    return Path(found.origin).parent


def _missing(what: str, extra: str) -> MissingExtra:
    return MissingExtra(what, fix=f"Install it: pip install 'edgestill[{extra}]'")
