"""Why the exporter refused a model, found in the pages that it writes."""

from __future__ import annotations

import re
from pathlib import Path

from torch import jit, nn

from edgestill.errors import ExportError
from edgestill.installed import is_installed
from edgestill.reference import describe, place

_NO_OPERATOR = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.]+)'")
_LINE = re.compile(r'File "([^"]+)", line (\d+)')


def refused(error: Exception, model: nn.Module) -> ExportError:
    """The innermost cause in one line, with the operation or the user's line."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and cause not in causes:
        causes.append(cause)
    if any(isinstance(part, jit.ScriptModule) for part in model.modules()):
        return ExportError(
            "a TorchScript module cannot be exported",
            fix="Give the Python module that it was made from",
        )
    texts = [str(cause) for cause in causes]
    missing = next((found.group(1) for text in texts if (found := _NO_OPERATOR.search(text))), None)
    if missing is not None:
        return ExportError(
            f"the model cannot be exported: ONNX has no counterpart of {missing}",
            fix="Write it in forward with operations that ONNX has",
        )
    users, library = _users_line(causes), _library_line(causes)
    fix = f"Write {'that line' if users else 'forward'} in another way"
    if users is None and library is not None:
        fix = (
            "It is a library's line: look for a setting that takes another way, such as "
            "attn_implementation=eager of a transformers model"
        )
    if "data-dependent" in texts[-1]:
        fix = "Replace a Python if or loop on a tensor's values, for instance by torch.where"
    return ExportError(
        f"the model cannot be exported: {describe(causes[-1])}", where=users or library, fix=fix
    )


def _users_line(causes: list[BaseException]) -> str | None:
    """`file:line` of the user's code, as the exporter notes it or the traceback shows it."""
    for cause in reversed(causes):
        noted = [f"{file.name}:{line}" for file, line in _noted(cause) if _is_users(file)]
        if noted:
            return noted[-1]
        if cause.__traceback__ is not None:
            found = place(cause, Path.cwd())
            if _is_users(Path(found)):
                return Path(found).name
    return None


def _library_line(causes: list[BaseException]) -> str | None:
    """The innermost `folder/file:line` outside torch that the exporter notes."""
    noted = [
        f"{file.parent.name}/{file.name}:{line}"
        for cause in causes
        for file, line in _noted(cause)
        if "torch" not in file.parts and not _is_own(file)
    ]
    return noted[-1] if noted else None


def _noted(cause: BaseException) -> list[tuple[Path, str]]:
    return [(Path(file), line) for file, line in _LINE.findall(str(cause))]


def _is_own(file: Path) -> bool:
    return file.is_relative_to(Path(__file__).parents[1])


def _is_users(file: Path) -> bool:
    return not (_is_own(file) or is_installed(file) or "<" in str(file))
