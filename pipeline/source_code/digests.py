"""The digests of a stage's code and of a user's callable."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from edgestill.errors import ModelError, UsageError
from edgestill.installed import distributions_of, is_installed
from edgestill.reference import Reference, parse
from edgestill.source_code.imports import bound_names, parse_source
from edgestill.source_code.walk import OWN, Module, Walk
from edgestill.spelling import nearest

_MAIN = ("__main__", "__mp_main__")
_STANDARD = Path(os.__file__).resolve().parent  # where the standard library lies


@dataclass(frozen=True)
class CodeDigest:
    """What the source of a callable consists of.

    Attributes:
        files: the sha256 of each local file by its module's path, such as `nets/blocks.py`, which
            stays the same when the project moves.
        libraries: the version of each imported distribution.
        places: where each local file lies, by the same names.
    """

    files: Mapping[str, str]
    libraries: Mapping[str, str]
    places: Mapping[str, Path] = field(compare=False, repr=False, default_factory=dict)

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
    walk = Walk(None)
    for name in modules:
        if walk.add(name) is None:
            raise ModuleNotFoundError(f"edgestill has no module {name}", name=name)
    digests = walk.follow()
    return {label.removeprefix(f"{OWN}/"): digest for label, digest in digests.items()}


def code_digest(reference: str, base: Path, error: type[UsageError] = ModelError) -> CodeDigest:
    """What `file.py:callable` (relative to `base`) or `package.module:callable` consists of.

    Raises:
        error: no such file or module, a syntax error in it, or it does not define the callable.
    """
    parsed = parse(reference, error)
    walk, entry = _start(parsed, base, error)
    if entry is not None and entry.file is not None and entry.file.suffix == ".py":
        require_defined(parsed, entry.file, error)
    digests = walk.follow()
    versions = {n: v for top in walk.libraries for n, v in distributions_of(top)}
    return CodeDigest(dict(sorted(digests.items())), dict(sorted(versions.items())), walk.places)


def undeclared(*digests: CodeDigest, before: Collection[str] = ()) -> list[Path]:
    """The user's files that were really imported though no import statement names them.

    To be asked after the code ran. A result depends on these files too: the user has to declare
    them under `files:`.

    Args:
        digests: of all references that this process has loaded.
        before: the names in `sys.modules` before the code was loaded: these are not its doing.
    """
    known = {path.resolve() for digest in digests for path in digest.places.values()}
    found = set()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name in before or name in _MAIN or name.partition(".")[0] == OWN:
            continue
        # Libraries are thousands: only what is left is worth a look at the disk.
        if not isinstance(file, str) or is_installed(Path(file)):
            continue
        path = Path(file).resolve()
        # Some modules, such as torch.ops, are made of no file and name one nevertheless.
        users = path.is_file() and not is_installed(path) and not path.is_relative_to(_STANDARD)
        if users and path not in known:
            found.add(path)
    return sorted(found)


def _start(reference: Reference, base: Path, error: type[UsageError]) -> tuple[Walk, Module | None]:
    """A walk that starts at a reference, and its module where that is local."""
    walk = Walk(_folders(reference, base))
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


def require_defined(reference: Reference, file: Path, error: type[UsageError]) -> None:
    """Check that the source of a reference binds its name, without running it.

    Raises:
        error: it does not, or it cannot be read.
    """
    try:
        tree = parse_source(file.read_bytes())
    except SyntaxError as wrong:
        what = f"{reference.module} is not Python: line {wrong.lineno}, {wrong.msg}"
        raise error(what, where=str(reference)) from wrong
    except (OSError, ValueError, RecursionError) as wrong:
        what = f"{reference.module} cannot be read ({wrong})"
        raise error(what, where=str(reference)) from wrong
    bound = dict(bound_names(tree.body))
    # A star import or a module's own __getattr__ may bring any name.
    if reference.name in bound or "*" in bound or "__getattr__" in bound:
        return
    own = [name for name, imported in bound.items() if not (imported or name.startswith("_"))]
    raise error(
        f"there is no {reference.name!r} in {reference.module}",
        where=str(reference),
        fix=nearest(reference.name, own, "It has"),
    )
