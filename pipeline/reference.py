"""References to a user's Python code: `file.py:callable` and `package.module:callable`.

A file is imported under a name made from its absolute path, so that two files of one name do not
clash; its folder is importable while it is imported and while its callable runs. What came from a
user's folder is imported anew once a file of it has changed, so that a long-lived process never
works with old code.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from edgestill.digest import digest_bytes, digest_file
from edgestill.errors import EdgestillError, UsageError
from edgestill.extras import lacking
from edgestill.installed import is_installed
from edgestill.spelling import nearest

Result = TypeVar("Result")

# Modules that came from users' folders: module name -> its file, and the file's digest then.
_imported: dict[str, tuple[Path, str]] = {}


@dataclass(frozen=True)
class Reference:
    """`module:name`; the module is a `.py` file or a dotted name."""

    module: str
    name: str

    @property
    def is_file(self) -> bool:
        return self.module.endswith(".py")

    def file(self, base: Path) -> Path:
        """The absolute path of a reference to a file."""
        return (base / self.module).resolve()

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"


def parse(text: str, error: type[UsageError] = UsageError) -> Reference:
    """The parts of a reference.

    Raises:
        error: not of the form `file.py:callable` or `package.module:callable`.
    """
    module, _, name = text.rpartition(":")
    dotted = all(part.isidentifier() for part in module.split("."))
    if not name.isidentifier() or not (module.endswith(".py") or dotted):
        raise error(
            f"{text!r} is not a reference to a callable",
            fix="Write file.py:callable or package.module:callable",
        )
    return Reference(module, name)


def load(text: str, base: Path, error: type[UsageError]) -> Any:
    """The object that a reference names.

    Raises:
        error: no such file, module or name, or the import fails.
    """
    reference = parse(text, error)
    with _importable(_folders(reference, base)):
        module = (_import_file if reference.is_file else _import_module)(reference, base, error)
    if not hasattr(module, reference.name):
        names = [name for name, value in vars(module).items() if callable(value)]
        public = [name for name in names if not name.startswith("_")]
        raise error(
            f"there is no {reference.name!r} in {reference.module}",
            where=text,
            fix=nearest(reference.name, public, "It has"),
        )
    return getattr(module, reference.name)


def call(text: str, base: Path, arguments: Mapping[str, Any], error: type[UsageError]) -> Any:
    """What the referenced callable returns for keyword arguments.

    Raises:
        error: it cannot be loaded, does not take the arguments, or raises.
    """
    function = load(text, base, error)
    if not callable(function):
        raise error(f"it is a {type(function).__name__}, not a callable", where=text)
    _require_arguments(function, text, arguments, error)
    return run(text, base, lambda: function(**arguments), error)


def run(text: str, base: Path, work: Callable[[], Result], error: type[UsageError]) -> Result:
    """What `work`, a call of the referenced callable, returns; modules beside it are importable.

    Raises:
        error: it raises, with the place in the user's code.
    """
    with _importable(_folders(parse(text), base)):
        try:
            return work()
        except EdgestillError:
            raise
        except (Exception, SystemExit) as raised:
            last = traceback.extract_tb(raised.__traceback__)[-1]
            # Where the call itself fails, as for the number of arguments, no code of theirs ran.
            where = text if _is_own(last.filename) else f"{text} ({place(raised, base)})"
            raise lacking(raised, where) or error(
                f"{parse(text).name}() raised {describe(raised)}",
                where=where,
                fix="--debug shows the traceback",
            ) from raised


def describe(error: BaseException) -> str:
    """An exception's type and message on one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def place(error: BaseException, base: Path) -> str:
    """`file:line` of the user's code that an exception passed last, below `base` where possible."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_relative(error.filename, base)}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if _is_users(frame.filename)]
    frame = (users or list(frames))[-1]
    return f"{_relative(frame.filename, base)}:{frame.lineno}"


def _is_own(file: str) -> bool:
    return Path(file).resolve().is_relative_to(Path(__file__).resolve().parent)


def _is_users(file: str) -> bool:
    path = Path(file)
    standard = path.is_relative_to(Path(os.__file__).parent)
    frozen = file.startswith("<")
    return not (is_installed(path) or standard or frozen or _is_own(file))


def _relative(file: str, base: Path) -> str:
    path = Path(file).resolve()
    return str(path.relative_to(base.resolve())) if path.is_relative_to(base.resolve()) else file


def _require_arguments(
    function: Any, text: str, arguments: Mapping[str, Any], error: type[UsageError]
) -> None:
    try:
        parameters = signature(function)
    except (TypeError, ValueError):  # some built-in callables have no signature
        return
    try:
        parameters.bind(**arguments)
    except TypeError as mismatch:
        unknown = [name for name in arguments if name not in parameters.parameters]
        known = list(parameters.parameters)
        fix = nearest(unknown[0], known, "It takes") if unknown else f"It takes: {parameters}"
        raise error(f"{parse(text).name}(): {mismatch}", where=text, fix=fix) from mismatch


def _folders(reference: Reference, base: Path) -> tuple[Path, ...]:
    if reference.is_file:
        return (reference.file(base).parent,)
    return tuple(dict.fromkeys((base.resolve(), Path.cwd())))


@contextmanager
def _importable(folders: tuple[Path, ...]) -> Iterator[None]:
    _drop_outdated(folders)
    before = set(sys.modules)
    wrote_bytecode = sys.dont_write_bytecode
    # A .pyc is valid by the second and the size of its source, which is not enough for us.
    sys.dont_write_bytecode = True
    for folder in reversed(folders):
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.dont_write_bytecode = wrote_bytecode
        for folder in folders:
            if str(folder) in sys.path:
                sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            _note(name, folders)


def _note(name: str, folders: tuple[Path, ...]) -> None:
    file = getattr(sys.modules[name], "__file__", None)
    if not file or name.partition(".")[0] == "edgestill" or not _is_users(file):
        return
    path = Path(file)
    if path.is_file() and any(path.is_relative_to(folder) for folder in folders):
        _imported[name] = path, digest_file(path)


def _drop_outdated(folders: tuple[Path, ...]) -> None:
    """Forget every module of users once one has changed on disk or hides another folder's."""
    for name, (path, digest) in _imported.items():
        top = name.partition(".")[0]
        here = [folder / item for folder in folders for item in (f"{top}.py", top)]
        hides = any(item.exists() for item in here) and not any(
            path.is_relative_to(folder) for folder in folders
        )
        if hides or not path.is_file() or digest_file(path) != digest:
            for module in _imported:
                sys.modules.pop(module, None)
            _imported.clear()
            return


def _import_file(reference: Reference, base: Path, error: type[UsageError]) -> ModuleType:
    path = reference.file(base)
    if not path.is_file():
        folder = path.parent
        files = sorted(file.name for file in folder.glob("*.py")) if folder.is_dir() else []
        raise error(
            f"there is no file {path}",
            where=str(reference),
            fix=nearest(path.name, files, f"Python files in {folder}"),
        )
    name = f"edgestill_user_{digest_bytes(str(path).encode())[:12]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as raised:
        del sys.modules[name]
        if isinstance(raised, EdgestillError) or not isinstance(raised, (Exception, SystemExit)):
            raise
        raise _import_failed(reference, raised, base, error) from raised
    return module


def _import_module(reference: Reference, base: Path, error: type[UsageError]) -> ModuleType:
    try:
        return importlib.import_module(reference.module)
    except EdgestillError:
        raise
    except (Exception, SystemExit) as raised:
        missing = raised.name if isinstance(raised, ModuleNotFoundError) else None
        if (
            lacking(raised, "") is None
            and missing
            and f"{reference.module}.".startswith(f"{missing}.")
        ):
            raise error(
                f"there is no module {missing}",
                where=str(reference),
                fix=f"Install it, or run from the folder that holds it (looked in {base} too)",
            ) from raised
        raise _import_failed(reference, raised, base, error) from raised


def _import_failed(
    reference: Reference, raised: BaseException, base: Path, error: type[UsageError]
) -> EdgestillError:
    where = f"{reference} ({place(raised, base)})"
    return lacking(raised, where) or error(
        f"{reference.module} cannot be imported: {describe(raised)}",
        where=where,
        fix="--debug shows the traceback",
    )
