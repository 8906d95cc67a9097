"""Why the exporter refused a model, found in the pages that it writes."""

from __future__ import annotations

import re
from pathlib import Path

from torch import jit, nn

from edgestill.errors import ExportError
from edgestill.reference import describe, place

_NO_OPERATOR = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.]+)'")
_LINE = re.compile(r'File "([^"]+)", line (\d+)')
_NOT_USERS = ("site-packages", "dist-packages", "<")


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
    where = _users_line(causes)
    fix = f"Write {'that line' if where else 'forward'} in another way"
    if "data-dependent" in texts[-1]:
        fix = "Replace a Python if or loop on a tensor's values, for instance by torch.where"
    return ExportError(
        f"the model cannot be exported: {describe(causes[-1])}", where=where, fix=fix
    )


def _users_line(causes: list[BaseException]) -> str | None:
    """`file:line` of the user's code, as the exporter notes it or the traceback shows it."""
    for cause in reversed(causes):
        noted = [
            f"{Path(file).name}:{line}"
            for file, line in _LINE.findall(str(cause))
            if not any(folder in file for folder in _NOT_USERS)
        ]
        if noted:
            return noted[-1]
        if cause.__traceback__ is not None:
            found = place(cause, Path.cwd())
            if not any(folder in found for folder in _NOT_USERS):
                return Path(found).name
    return None
