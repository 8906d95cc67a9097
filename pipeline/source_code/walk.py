"""From a module to every local module that it can import, and to the libraries."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from edgestill.digest import digest_bytes
from edgestill.installed import distributions_of, is_installed
from edgestill.source_code.imports import Import, imports_of

OWN = "edgestill"


@dataclass(frozen=True)
class Module:
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


class Walk:
    """Follows imports from module to module.

    Args:
        folders: where top-level modules are looked for before `sys.path`; None to follow nothing
            but edgestill's own modules.
    """

    def __init__(self, folders: tuple[Path, ...] | None) -> None:
        self._folders = folders
        self._found: dict[str, Module | None] = {}
        self._waiting: list[Module] = []
        self.libraries: set[str] = set()
        self.places: dict[str, Path] = {}

    def add(self, name: str) -> Module | None:
        """Follow a module and the packages that it lies in; None if it is not local."""
        if name in self._found:
            return self._found[name]
        parent, _, child = name.rpartition(".")
        package = self.add(parent) if parent else None
        if not parent:
            module = self._top(name)
        elif package is not None and package.folders:
            module = _locate(name, child, package.folders)
            if module is None and parent == OWN:
                # An editable install keeps edgestill.targets in a folder of its own.
                module = _by_finders(name, package.folders)
        else:
            module = None
        self._found[name] = module
        # Our own root holds the version and lazy names: no result depends on them.
        if module is not None and name != OWN:
            self._waiting.append(module)
        return module

    def add_file(self, file: Path) -> Module:
        """Follow a file that is imported on its own, under no package."""
        module = Module("", file.name, file)
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
            self.places[module.label] = module.file
            if module.file.suffix == ".py":
                for statement in imports_of(digests[module.label], data):
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

    def _top(self, name: str) -> Module | None:
        if name == OWN or self._folders is None:
            return _by_finders(name) if name == OWN else None
        beside = _locate(name, name, self._folders)
        # A folder without code of its own must not hide an installed library of its name.
        if beside is not None and beside.file is not None:
            return beside
        if name in sys.stdlib_module_names:
            return None
        module = _by_finders(name) or beside
        if module is None:
            return None
        places = [module.file] if module.file else list(module.folders)
        if any(is_installed(place) for place in places) and distributions_of(name):
            self.libraries.add(name)
            return None
        return module


def _locate(name: str, child: str, folders: Iterable[Path]) -> Module | None:
    """The module `name`, called `child` in one of `folders`; Python searches in this order too."""
    label = name.replace(".", "/")
    bare = []
    for folder in folders:
        package = folder / child
        if (package / "__init__.py").is_file():
            return Module(name, f"{label}/__init__.py", package / "__init__.py", (package,))
        for suffix in (*EXTENSION_SUFFIXES, ".py"):
            file = folder / f"{child}{suffix}"
            if file.is_file():
                return Module(name.rpartition(".")[0], f"{label}{suffix}", file)
        if package.is_dir():
            bare.append(package)
    return Module(name, label, None, tuple(bare)) if bare else None


def _by_finders(name: str, folders: Iterable[Path] | None = None) -> Module | None:
    """A module that `folders` (of its package, else `sys.path`) or an editable install offers."""
    search = None if folders is None else [str(folder) for folder in folders]
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec = find(name, search) if find else None
        if spec is None:
            continue
        label = name.replace(".", "/")
        inside = tuple(Path(folder) for folder in spec.submodule_search_locations or ())
        if not spec.has_location or spec.origin is None:
            return Module(name, label, None, inside) if inside else None
        file = Path(spec.origin)
        if inside:
            return Module(name, f"{label}/{file.name}", file, inside)
        return Module(name.rpartition(".")[0], f"{label}{file.suffix}", file)
    return None
