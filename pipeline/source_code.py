"""The digest of the code that a result depends on, found by reading source, never by importing it.

Of local code (edgestill's own, and the user's files beside the one that is named) every file counts
that an import statement can reach, at whatever depth of the program it stands. Of an installed
library its version counts, of the standard library nothing.
"""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from edgestill.digest import digest_bytes
from edgestill.errors import ModelError, UsageError
from edgestill.reference import Reference, nearest, parse

_OWN = "edgestill"
_INSTALLED = {"site-packages", "dist-packages"}

_COMPOUND = (
    *(
        ast.FunctionDef,
        ast.AsyncFunctionDef,
        ast.ClassDef,
        ast.If,
        ast.For,
        ast.AsyncFor,
        ast.While,
    ),
    *(ast.With, ast.AsyncWith, ast.Try, ast.ExceptHandler, ast.Match, ast.match_case),
    *((ast.TryStar,) if sys.version_info >= (3, 11) else ()),
)

# An import statement: the number of leading dots, the module, the names taken from it.
Import = tuple[int, str, tuple[str, ...]]


@dataclass(frozen=True)
class CodeDigest:
    """What the source of a callable consists of.

    Attributes:
        files: the sha256 of each local file by its module's path, such as `nets/blocks.py`, which
            stays the same when the project moves.
        libraries: the version of each imported distribution.
        paths: where the local files are.
    """

    files: Mapping[str, str]
    libraries: Mapping[str, str]
    paths: tuple[Path, ...] = field(compare=False, repr=False, default=())

    @property
    def parts(self) -> dict[str, dict[str, str]]:
        """What belongs into a key."""
        return {"files": dict(self.files), "libraries": dict(self.libraries)}


def stage_digest(*modules: str) -> dict[str, str]:
    """The sha256 of each of edgestill's own files that `modules` import, directly or not.

    A module that is named only in a table of strings has to be given too.
    """
    return dict(_stage_digest(modules))


@cache
def _stage_digest(modules: tuple[str, ...]) -> Mapping[str, str]:
    walk = _Walk(None)
    for name in modules:
        walk.add(name)
    digests = walk.follow()
    return {label.removeprefix(f"{_OWN}/"): digest for label, digest in digests.items()}


def code_digest(reference: str, base: Path, error: type[UsageError] = ModelError) -> CodeDigest:
    """What `file.py:callable` (relative to `base`) or `package.module:callable` consists of.

    Raises:
        error: no such file or module, a syntax error in it, or it does not define the callable.
    """
    parsed = parse(reference, error)
    walk, entry = _walk(parsed, base, error)
    if entry is not None and entry.file is not None and entry.file.suffix == ".py":
        _require_defined(parsed, entry.file, error)
    digests = walk.follow()
    versions = {n: v for top in walk.libraries for n, v in _versions(top)}
    return CodeDigest(
        dict(sorted(digests.items())), dict(sorted(versions.items())), tuple(walk.paths)
    )


def undeclared(
    reference: str, base: Path, *digests: CodeDigest, before: Collection[str] = ()
) -> list[Path]:
    """The user's files that were really imported though no import statement names them.

    To be asked after the code ran. A result depends on these files too: the user has to declare
    them under `files:`.

    Args:
        digests: of this reference and of all others that this process has loaded.
        before: the names in `sys.modules` before the code was loaded: these are not its doing.
    """
    parsed = parse(reference)
    known = {path.resolve() for digest in digests for path in digest.paths}
    found = set()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or name in before or name == "__main__":
            continue
        path = Path(file).resolve()
        inside = any(path.is_relative_to(folder) for folder in _folders(parsed, base))
        own = name.partition(".")[0] == _OWN
        if inside and not own and not _INSTALLED & set(path.parts) and path not in known:
            found.add(path)
    return sorted(found)


@dataclass(frozen=True)
class _Module:
    """A local module.

    Attributes:
        package: what its relative imports start from.
        label: its path below the folder that it is importable from.
        file: None for a folder without `__init__.py`.
        folders: where its submodules are; empty if it is no package.
    """

    package: str
    label: str
    file: Path | None
    folders: tuple[Path, ...] = ()


class _Walk:
    """Follows imports from module to module.

    Args:
        folders: where top-level modules are looked for before `sys.path`; None to follow nothing
            but edgestill's own modules.
    """

    def __init__(self, folders: tuple[Path, ...] | None) -> None:
        self._folders = folders
        self._found: dict[str, _Module | None] = {}
        self._waiting: list[_Module] = []
        self.libraries: set[str] = set()
        self.paths: list[Path] = []

    def add(self, name: str) -> _Module | None:
        """Follow a module and the packages that it lies in; None if it is not local."""
        if name in self._found:
            return self._found[name]
        parent, _, child = name.rpartition(".")
        package = self.add(parent) if parent else None
        if not parent:
            module = self._top(name)
        elif package is not None and package.folders:
            module = _locate(name, child, package.folders)
            if module is None and parent == _OWN:
                # An editable install keeps edgestill.targets in a folder of its own.
                module = _by_finders(name)
        else:
            module = None
        self._found[name] = module
        # Our own root holds the version and lazy names: no result depends on them.
        if module is not None and name != _OWN:
            self._waiting.append(module)
        return module

    def add_file(self, file: Path) -> _Module:
        """Follow a file that is imported on its own, under no package."""
        module = _Module("", file.name, file)
        self._waiting.append(module)
        return module

    def follow(self) -> dict[str, str]:
        """The digest of each file that can be reached, by its label."""
        digests: dict[str, str] = {}
        while self._waiting:
            module = self._waiting.pop()
            if module.file is None or module.label in digests:
                continue
            data = module.file.read_bytes()
            digests[module.label] = digest_bytes(data)
            self.paths.append(module.file)
            if module.file.suffix == ".py":
                for statement in _imports(digests[module.label], data):
                    self._add_import(statement, module.package)
        return digests

    def _add_import(self, statement: Import, package: str) -> None:
        dots, name, taken = statement
        if dots:
            above = package.split(".")[: -(dots - 1) or None] if package else []
            name = ".".join([*above, name] if name else above)
        if name:
            module = self.add(name)
            if module is None or not module.folders:
                return
        for item in taken:  # each may be a submodule
            self.add(f"{name}.{item}" if name else item)

    def _top(self, name: str) -> _Module | None:
        if self._folders is None:
            return _by_finders(name) if name == _OWN else None
        beside = _locate(name, name, self._folders)
        # A folder without code of its own must not hide an installed library of its name.
        if beside is not None and beside.file is not None:
            return beside
        if name in sys.stdlib_module_names:
            return None
        module = _by_finders(name) or beside
        if module is None or name == _OWN:
            return module
        places = [module.file] if module.file else list(module.folders)
        if any(_INSTALLED & set(place.parts) for place in places) and _versions(name):
            self.libraries.add(name)
            return None
        return module


def _walk(
    reference: Reference, base: Path, error: type[UsageError]
) -> tuple[_Walk, _Module | None]:
    """A walk that starts at a reference, and its module where that is local."""
    walk = _Walk(_folders(reference, base))
    if reference.is_file:
        file = reference.file(base)
        if not file.is_file():
            files = sorted(item.name for item in file.parent.glob("*.py"))
            fix = nearest(file.name, files, f"Python files in {file.parent}")
            raise error(f"there is no file {file}", where=str(reference), fix=fix)
        return walk, walk.add_file(file)
    module = walk.add(reference.module)
    if module is not None or reference.module.partition(".")[0] in walk.libraries:
        return walk, module
    if reference.module.partition(".")[0] in sys.stdlib_module_names:
        return walk, None
    raise error(
        f"there is no module {reference.module}",
        where=str(reference),
        fix=f"Install it, or run from the folder that holds it (looked in {base} too)",
    )


def _folders(reference: Reference, base: Path) -> tuple[Path, ...]:
    """Where the code's own imports are looked for first: as when it is loaded."""
    if reference.is_file:
        return (reference.file(base).parent,)
    return tuple(dict.fromkeys((base.resolve(), Path.cwd())))


def _locate(name: str, child: str, folders: Iterable[Path]) -> _Module | None:
    """The module `name`, called `child` in one of `folders`; Python searches in this order too."""
    label = name.replace(".", "/")
    bare = []
    for folder in folders:
        package = folder / child
        if (package / "__init__.py").is_file():
            return _Module(name, f"{label}/__init__.py", package / "__init__.py", (package,))
        for suffix in (*EXTENSION_SUFFIXES, ".py"):
            file = folder / f"{child}{suffix}"
            if file.is_file():
                return _Module(name.rpartition(".")[0], f"{label}{suffix}", file)
        if package.is_dir():
            bare.append(package)
    return _Module(name, label, None, tuple(bare)) if bare else None


def _by_finders(name: str) -> _Module | None:
    """A module that `sys.path` or an editable install offers; nothing is imported for it."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec = find(name, None) if find else None
        if spec is None:
            continue
        label = name.replace(".", "/")
        folders = tuple(Path(folder) for folder in spec.submodule_search_locations or ())
        if not spec.has_location or spec.origin is None:
            return _Module(name, label, None, folders) if folders else None
        file = Path(spec.origin)
        if folders:
            return _Module(name, f"{label}/{file.name}", file, folders)
        return _Module(name.rpartition(".")[0], f"{label}{file.suffix}", file)
    return None


@cache
def _versions(top: str) -> tuple[tuple[str, str], ...]:
    """Name and version of each installed distribution that brings the top-level module `top`."""
    from importlib.metadata import PackageNotFoundError, distribution, distributions

    found = {}
    for candidate in distributions():
        # Read raw: the parsed form of all records takes ten times as long.
        record = "\n" + (candidate.read_text("RECORD") or "")
        if f"\n{top}/" in record or f"\n{top}." in record:
            found[candidate.metadata["Name"]] = candidate.version
    if not found:
        try:
            found[top] = distribution(top).version
        except PackageNotFoundError:
            return ()
    return tuple(sorted(found.items()))


_parsed: dict[str, tuple[Import, ...]] = {}


def _imports(digest: str, data: bytes) -> tuple[Import, ...]:
    """The imports in a source with this digest; none where it is no valid Python."""
    if digest not in _parsed:
        try:
            tree = _tree(data)
        except (SyntaxError, ValueError, RecursionError):
            _parsed[digest] = ()  # its import will say so
        else:
            found = list(_statements(tree.body))
            if b"import_module" in data or b"__import__" in data:
                found += _calls(tree)
            _parsed[digest] = tuple(dict.fromkeys(found))
    return _parsed[digest]


def _tree(data: bytes) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(data)


def _statements(body: Sequence[ast.AST]) -> Iterator[Import]:
    """The import statements in a block and in the blocks within it."""
    for node in body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", tuple(alias.name for alias in node.names)
        # Expressions hold no statements: not to visit them makes this ten times as fast.
        elif isinstance(node, _COMPOUND):
            if not (isinstance(node, ast.If) and _is_type_checking(node.test)):
                yield from _statements(getattr(node, "body", ()))
            for name in ("orelse", "finalbody", "handlers", "cases"):
                yield from _statements(getattr(node, name, ()))


def _is_type_checking(test: ast.expr) -> bool:
    """Whether a block under the condition `test` is for type checkers and never runs."""
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def _calls(tree: ast.Module) -> Iterator[Import]:
    """`import_module("package.module")` with the name written out."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        called = ast.unparse(node.func).rpartition(".")[2]
        name = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
        if called in ("import_module", "__import__") and isinstance(name, str):
            plain = name.lstrip(".")
            yield len(name) - len(plain), plain, ()


def _require_defined(reference: Reference, file: Path, error: type[UsageError]) -> None:
    try:
        tree = _tree(file.read_bytes())
    except SyntaxError as wrong:
        what = f"{reference.module} is not Python: {wrong.msg}"
        raise error(what, where=f"{file}:{wrong.lineno}") from wrong
    except (ValueError, RecursionError) as wrong:
        raise error(f"{reference.module} is not Python: {wrong}", where=str(file)) from wrong
    names = list(dict.fromkeys(defined_names(tree.body)))
    # A star import or a module's own __getattr__ may bring any name.
    if not {reference.name, "*", "__getattr__"} & set(names):
        public = [name for name in names if not name.startswith("_")]
        raise error(
            f"there is no {reference.name!r} in {reference.module}",
            where=str(reference),
            fix=nearest(reference.name, public, "It has"),
        )


def defined_names(body: Iterable[ast.AST]) -> Iterator[str]:
    """The names that the statements at the top level of a module bind; `*` for a star import."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0]
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif not isinstance(node, ast.Lambda):
            yield from defined_names(ast.iter_child_nodes(node))
