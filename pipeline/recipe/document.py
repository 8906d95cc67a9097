"""YAML with positions: plain values, the line of every key, and `--set` on top.

YAML 1.2's core rules decide what a plain scalar is, so that `1e-3` is a number, `no` and `on` are
words and `1:30` is text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml

from edgestill.errors import RecipeError, UsageError
from edgestill.recipe.problems import Origin, Path, Problems, show_path, show_value

# A part of what PyYAML says, and what it means.
_FREQUENT = {
    "'\\t'": "a tab. Indent with spaces.",
    "mapping values are not allowed": "a second ': ' in one value. Put the value in quotes, or "
    "check the indentation.",
    "expected <block end>": "the indentation fits nothing above it.",
    "could not find expected ':'": "a key without ': ' after it.",
    "expected ',' or ']'": "a '[' that is not closed, or a missing comma.",
    "expected ',' or '}'": "a '{' that is not closed, or a missing comma.",
    "found '<stream end>'": "a '[' or '{' that is not closed.",
    "special characters are not allowed": "a control character.",
    "found unexpected end of stream": "a quote that is not closed.",
    "found undefined alias": "an alias (*) without its anchor (&). Put the text in quotes.",
    "while scanning an alias": "a text that begins with *. Put it in quotes.",
    "expected a single document": "a second document ('---'). A recipe is one document.",
}

# More than any recipe has; aliases of aliases could otherwise grow without end.
MOST_VALUES = 20_000

_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class _Composer(yaml.SafeLoader):
    """PyYAML's parser without its YAML 1.1 rules for plain scalars."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  PyYAML's own declaration


for _kind, _pattern, _first in (
    ("null", re.compile(r"~|null|Null|NULL|"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")),
    ("int", _INTEGER, list("-+0123456789")),
    ("float", re.compile(f"{_FLOAT.pattern}|{_NOT_FINITE.pattern}"), list("-+0123456789.")),
):
    _Composer.add_implicit_resolver(_TAG + _kind, re.compile(f"(?:{_pattern.pattern})$"), _first)


@dataclass
class Document:
    """A recipe as written.

    Attributes:
        tree: mappings, lists, texts, numbers, truth values and nulls.
        problems: what is wrong with it so far; knows the line of every key.
    """

    tree: dict[str, Any]
    problems: Problems


def read_document(text: str, name: str, overrides: Sequence[str] = ()) -> Document:
    """The values of a YAML text, changed by `key.path=value` overrides.

    Args:
        name: what the file is called in messages.

    Raises:
        RecipeError: the text is not YAML, or not a mapping.
        UsageError: an override is not `key.path=value`.
    """
    problems = Problems({}, Origin(name, 0))
    reader = _Reader(problems, lambda line: Origin(f"{name}:{line}", line))
    tree = reader.read(text)
    if not isinstance(tree, dict):
        problems.add((), "a recipe is a mapping of keys to values", "Start with name: and data:")
        problems.raise_any()
    document = Document(tree, problems)
    for index, override in enumerate(overrides):
        shown = override if len(override) <= 60 else f"{override[:57]}..."
        _apply(document, override, Origin(f"--set {shown}", 10**9 + index))
    return document


class _Reader:
    """One YAML text, turned into values; notes each key's line."""

    def __init__(self, problems: Problems, origin: Callable[[int], Origin]) -> None:
        self.problems = problems
        self.origin = origin
        self.count = 0

    def read(self, text: str, path: Path = ()) -> Any:
        try:
            loader = _Composer(text)
            node = loader.get_single_node()
            return None if node is None else self.value(node, path, ())
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            words = " ".join(part for part in (error.context, error.problem) if part)
            self.refuse(f"not YAML: {_plain(words)}", mark.line + 1 if mark else 1)
        except yaml.YAMLError as error:
            self.refuse(f"not YAML: {_plain(str(error))}", _line_of(text, error))
        except RecursionError:
            self.refuse("nested too deeply", 1)

    def refuse(self, what: str, line: int) -> NoReturn:
        raise RecipeError([UsageError(what, where=self.origin(line).text)])

    def value(self, node: yaml.Node, path: Path, within: tuple[yaml.Node, ...]) -> Any:
        line = node.start_mark.line + 1
        self.problems.origins.setdefault(path, self.origin(line))
        self.count += 1
        if self.count > MOST_VALUES:
            self.refuse(f"more than {MOST_VALUES} values", line)
        if any(node is outer for outer in within):
            self.problems.add(path, "an alias that contains itself")
            return None
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self.mapping(node, path, (*within, node))
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [
                self.value(item, (*path, index), (*within, node))
                for index, item in enumerate(node.value)
            ]
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path)
        self.problems.add(path, f"the YAML tag {_short(node.tag)} is not known", "Leave it out.")
        return None

    def mapping(
        self, node: yaml.MappingNode, path: Path, within: tuple[yaml.Node, ...]
    ) -> dict[str, Any]:
        values: dict[str, Any] = {}
        first_lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.add(path, "a key has to be a word", origin=self.origin(line))
                continue
            key = key_node.value
            if key in values:
                self.problems.add(
                    (*path, key),
                    f"written twice, first on line {first_lines[key]}",
                    "Keep one of them.",
                    origin=self.origin(line),
                )
                continue
            first_lines[key] = line
            self.problems.origins[(*path, key)] = self.origin(line)
            values[key] = self.value(value_node, (*path, key), within)
            if _is_blank(value_node):
                self.problems.add(
                    (*path, key),
                    "has no value",
                    "Write {} for a section with its defaults, null to leave it out.",
                )
        return values

    def scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        text, tag = node.value, node.tag
        if tag == _TAG + "str":
            return text
        if tag == _TAG + "null":
            return None
        if tag == _TAG + "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if tag == _TAG + "int" and _INTEGER.fullmatch(text) and len(text) < 100:
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if tag == _TAG + "float" and _FLOAT.fullmatch(text) and math.isfinite(float(text)):
            return float(text)
        if tag in (_TAG + "int", _TAG + "float"):
            shown = text if len(text) <= 40 else f"{text[:37]}..."
            self.problems.add(path, f"{shown} is not a finite number")
        else:
            self.problems.add(path, f"the YAML tag {_short(tag)} is not known", "Leave it out.")
        return None


def _apply(document: Document, override: str, origin: Origin) -> None:
    """Put the value of `key.path=value` into the tree; null takes the key out.

    Raises:
        UsageError: the override is not `key.path=value`.
    """
    dotted, equals, text = override.partition("=")
    parts = dotted.strip().split(".")
    if not (equals and all(parts) and text.strip()):
        raise UsageError(
            "not a key with a value",
            where=origin.text,
            fix="Write it as --set key.path=value, such as --set distill.epochs=5, or "
            "--set quantize=null to take a key out.",
        )
    problems = document.problems
    parent: Any = document.tree
    path: Path = ()
    for part in parts[:-1]:
        step = _step(parent, part, path, origin, problems)
        if step is None:
            return
        path = (*path, step)
        if isinstance(parent, dict) and parent.get(part) is None:
            problems.forget(path)
            problems.origins[path] = origin
            parent[part] = {}
        parent = parent[step]
    step = _step(parent, parts[-1], path, origin, problems)
    if step is None:
        return
    path = (*path, step)
    problems.forget(path)
    problems.origins[path] = origin
    value = _Reader(problems, lambda _line: origin).read(text, path)
    parent[step] = value


def _step(
    parent: Any, part: str, path: Path, origin: Origin, problems: Problems
) -> str | int | None:
    """The key or index that `part` means in `parent`; None, with a problem, where it has none."""
    if isinstance(parent, dict):
        return part
    if not isinstance(parent, list):
        what = f"{show_path(path)} has no keys of its own: it is {show_value(parent)}"
        problems.add((), what, origin=origin)
        return None
    if part.isascii() and part.isdecimal() and len(part) < 6 and int(part) < len(parent):
        return int(part)
    what = f"{show_path(path)} has no entry {part}: it has {len(parent)}, counted from 0"
    problems.add((), what, origin=origin)
    return None


def _is_blank(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.value == "" and node.tag == _TAG + "null"


def _short(tag: str) -> str:
    return "!!" + tag.removeprefix(_TAG) if tag.startswith(_TAG) else tag


def _plain(words: str) -> str:
    """What is wrong, in our words where the mistake is a frequent one, and on one line."""
    for theirs, ours in _FREQUENT.items():
        if theirs in words:
            return ours
    return " ".join(words.split())


def _line_of(text: str, error: yaml.YAMLError) -> int:
    position = getattr(error, "position", None)
    return text.count("\n", 0, position) + 1 if isinstance(position, int) else 1
