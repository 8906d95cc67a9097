"""What a Python source imports, and which names it binds."""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence

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

# What this process knows already: the imports of a file by the digest of its bytes.
parsed: dict[str, tuple[Import, ...]] = {}


def imports_of(digest: str, data: bytes) -> tuple[Import, ...]:
    """The imports in a source with this digest; none where it is no valid Python."""
    if digest not in parsed:
        try:
            tree = parse_source(data)
        except (SyntaxError, ValueError, RecursionError):
            parsed[digest] = ()  # its import will say so
        else:
            found = list(_statements(tree.body))
            if b"import_module" in data or b"__import__" in data:
                found += _calls(tree)
            parsed[digest] = tuple(dict.fromkeys(found))
    return parsed[digest]


def parse_source(data: bytes) -> ast.Module:
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


def bound_names(body: Iterable[ast.AST]) -> Iterator[tuple[str, bool]]:
    """The names that the statements at the top level of a module bind, and whether by an import.

    `*` stands for a star import.
    """
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, False
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0], True
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, False
        elif not isinstance(node, ast.Lambda):
            yield from bound_names(ast.iter_child_nodes(node))
