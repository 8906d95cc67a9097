"""Static problems of a recipe, collected and told in the order of their lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from edgestill.errors import RecipeError, UsageError
from edgestill.spelling import best_match

# A key's place in a recipe: ("targets", 0, "precision") is shown as targets[0].precision.
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Origin:
    """Where a value was written: `recipe.yaml:14` or `--set key=value`; `order` sorts origins."""

    text: str
    order: int


def show_path(path: Path) -> str:
    """`targets[0].precision` for ("targets", 0, "precision")."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            word = part if part.isprintable() and part.strip() else ascii(part)
            text += f".{word}" if text else word
    return text


def show_value(value: object) -> str:
    """A value as a message quotes it: short, and on one line."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}...{text[-1]}"


def misspelt(name: str, keys: Iterable[str], known: Iterable[str]) -> bool:
    """Whether one of `keys` that is not known was probably meant to be `name`."""
    names = list(known)
    return any(key not in names and best_match(key, names) == name for key in keys)


@dataclass
class Problems:
    """The problems found so far.

    Attributes:
        origins: where each key was written.
        document: where the recipe as a whole was written, for what is missing.
    """

    origins: dict[Path, Origin]
    document: Origin
    _found: list[tuple[Origin, Path, UsageError]] = field(default_factory=list)

    def add(
        self,
        path: Path,
        what: str,
        fix: str | None = None,
        *,
        origin: Origin | None = None,
        hides: bool = True,
    ) -> None:
        """Note a problem with the key at `path`, unless one is known there or around it.

        Args:
            origin: where it is, when that is not where the key's value was written.
            hides: whether it makes what is wrong inside the key idle; what the key lacks does not.
        """
        if origin is None and self.at(path):
            return
        origin = origin or self.origin(path)
        where = f"{origin.text}: {show_path(path)}" if path else origin.text
        if fix and fix[-1] not in ".?!":
            fix += "."
        known = path if hides else ()
        self._found.append((origin, known, UsageError(what, where=where, fix=fix)))

    def at(self, path: Path) -> bool:
        """Whether a problem is known at `path` or at a key that contains it."""
        return any(path[: len(known)] == known for _, known, _ in self._found if known)

    def within(self, path: Path) -> bool:
        """Whether a problem is known at `path`, around it or inside it."""
        return self.at(path) or any(known[: len(path)] == path for _, known, _ in self._found)

    def forget(self, path: Path) -> None:
        """Drop what is known at `path` and inside it: its value is being replaced."""
        self._found = [entry for entry in self._found if entry[1][: len(path)] != path]
        for known in [known for known in self.origins if known[: len(path)] == path]:
            del self.origins[known]

    def origin(self, path: Path) -> Origin:
        """Where the key at `path`, or what contains it, was written."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
        return self.document

    def raise_any(self) -> None:
        """Raise what was found.

        Raises:
            RecipeError: at least one problem was noted.
        """
        if self._found:
            in_order = sorted(self._found, key=lambda entry: entry[0].order)
            raise RecipeError([error for _, _, error in in_order])
