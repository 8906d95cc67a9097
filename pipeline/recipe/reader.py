"""From plain values to config types: unknown keys, missing keys and wrong values, all of them."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import annotated_types
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from edgestill.recipe.problems import Path, Problems, misspelt, show_value
from edgestill.spelling import best_match, did_you_mean

Config = TypeVar("Config")
FieldReader = Callable[[Any, Path], Any]


class _Broken:
    """What `Reader.value` gives for a value with a problem."""


BROKEN = _Broken()


class Reader:
    """Reads values into config types and notes what is wrong; what is right goes on."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems

    def config(
        self,
        kind: type[Config],
        value: Any,
        path: Path,
        *,
        own: Mapping[str, FieldReader] | None = None,
        refused: Sequence[str] = (),
    ) -> Config | None:
        """A `kind` from a mapping; wrong values take their defaults and leave a problem.

        Args:
            own: how to read the fields that are not written in YAML as their type is.
            refused: keys of the type that a later check refuses here, with its reason: no message
                names them as allowed.

        Returns:
            None when the value is no mapping, or a field without a default is missing or wrong.
        """
        fields = {key_of(field): field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
        allowed = [name for name in fields if name not in refused]
        if not self.mapping(value, path, allowed):
            return None
        self.unknown_keys(value, path, allowed, refused)
        given: dict[str, Any] = {}
        annotations = _annotations(kind)
        for name, field in fields.items():
            annotation = annotations[field.name]
            if name not in value or (value[name] is None and not self.problems.at((*path, name))):
                if _required(field):
                    self.missing(value, path, name, list(fields))
                continue
            read = (own or {}).get(name)
            place = (*path, name)
            result = (
                read(value[name], place) if read else self.value(annotation, value[name], place)
            )
            if result is not BROKEN:
                given[field.name] = result
        if any(_required(field) and field.name not in given for field in fields.values()):
            return None
        try:
            return kind(**given)
        except ValueError as error:  # the type's own check
            self.problems.add(path, str(error))
            return None

    def mapping(self, value: Any, path: Path, keys: Sequence[str]) -> bool:
        """Whether `value` is a mapping; notes it when not."""
        if isinstance(value, dict):
            return True
        self.problems.add(
            path,
            f"found {show_value(value)} where a mapping is expected",
            f"Allowed keys: {', '.join(keys)}." if keys else None,
        )
        return False

    def unknown_keys(
        self,
        value: Mapping[str, Any],
        path: Path,
        known: Sequence[str],
        refused: Sequence[str] = (),
    ) -> None:
        """Note every key of `value` that is neither in `known` nor refused elsewhere."""
        for key in value:
            if key not in known and key not in refused:
                fix = did_you_mean(key, known, "Allowed keys")
                self.problems.add((*path, key), "unknown key", fix)

    def missing(
        self,
        value: Mapping[str, Any],
        path: Path,
        name: str,
        known: Sequence[str],
        fix: str | None = None,
    ) -> None:
        """Note that `name` is missing in `value`, unless it is there, spelt wrongly."""
        if not misspelt(name, value, known):
            self.problems.add((*path, name), "missing", fix)

    def value(self, annotation: Any, value: Any, path: Path) -> Any:
        """The value as the annotated type, or BROKEN with a problem."""
        inner = _config_type(annotation)
        if inner is not None and (inner is _without_none(annotation) or isinstance(value, dict)):
            result = self.config(inner, value, path)
            return BROKEN if result is None else result
        if self.problems.within(path):
            return BROKEN
        try:
            # JSON, because only there does pydantic's strict mode take a list for a tuple.
            return _adapter(annotation).validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            self.wrong(annotation, value, path, error)
            return BROKEN

    def wrong(self, annotation: Any, value: Any, path: Path, error: ValidationError) -> None:
        """Note what pydantic refused, in words that the annotation gives."""
        details = error.errors()[0]
        if details["type"] == "value_error":
            what, _, fix = str(details["ctx"]["error"]).partition(". ")
            self.problems.add(path, what, f"{fix}." if fix else None)
            return
        expected = describe(annotation)
        choices = literals(annotation)
        match = best_match(value, choices) if isinstance(value, str) else None
        self.problems.add(
            path,
            f"found {show_value(value)}{_inner(value)}",
            f"Expected {expected}." + (f" Did you mean {match}?" if match else ""),
        )


def key_of(field: dataclasses.Field[Any]) -> str:
    """How YAML spells a field: `from_` is `from`, which Python keeps for itself."""
    return field.name.removesuffix("_")


def describe(annotation: Any) -> str:
    """What values an annotation allows, in plain words: `a whole number above 0`."""
    annotation, bounds = _split(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return _either([str(choice) for choice in arguments])
    if _is_union(annotation):
        options = [describe(option) for option in arguments if option is not type(None)]
        return _either(options)
    if annotation in (tuple, list) or origin in (tuple, list):
        return _describe_list(arguments)
    if origin is dict or annotation is dict:
        keys = literals(arguments[0]) if arguments else ()
        return f"a mapping with the keys {', '.join(keys)}" if keys else "a mapping"
    if dataclasses.is_dataclass(annotation):
        listed = ", ".join(key_of(field) for field in dataclasses.fields(annotation))
        return f"a mapping with the keys {listed}"
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(annotation, "another value") + _describe_bounds(bounds)


def _describe_list(arguments: tuple[Any, ...]) -> str:
    items = [argument for argument in arguments if argument is not Ellipsis]
    plain = {int: "whole numbers", float: "numbers", str: "texts"}
    if not items:
        return "a list"
    kind, bounds = _split(items[0])
    noun = plain.get(kind, "values") + _describe_bounds(bounds)
    return f"a list of {noun}" if Ellipsis in arguments else f"a list of {len(items)} {noun}"


def _describe_bounds(bounds: Sequence[Any]) -> str:
    words = []
    for bound in bounds:
        if isinstance(bound, annotated_types.Gt):
            words.append(f"above {bound.gt}")
        elif isinstance(bound, annotated_types.Ge):
            words.append(f"of at least {bound.ge}")
        elif isinstance(bound, annotated_types.Lt):
            words.append(f"below {bound.lt}")
        elif isinstance(bound, annotated_types.Le):
            words.append(f"of at most {bound.le}")
    return f" {' and '.join(words)}" if words else ""


def literals(annotation: Any) -> tuple[str, ...]:
    """The words that an annotation names, also inside a union."""
    annotation, _ = _split(annotation)
    if get_origin(annotation) is Literal:
        return tuple(str(choice) for choice in get_args(annotation))
    if _is_union(annotation):
        return tuple(word for option in get_args(annotation) for word in literals(option))
    return ()


def _split(annotation: Any) -> tuple[Any, list[Any]]:
    """The type inside `Annotated`, and the bounds on it."""
    if get_origin(annotation) is not Annotated:
        return annotation, []
    kind, *metadata = get_args(annotation)
    bounds: list[Any] = []
    for entry in metadata:
        bounds += entry.metadata if isinstance(entry, FieldInfo) else [entry]
    return kind, bounds


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _inner(value: Any) -> str:
    """The content of a short list, which a message would otherwise not show."""
    if isinstance(value, list) and len(json.dumps(value)) <= 40:
        return f" {json.dumps(value)}"
    return ""


def _without_none(annotation: Any) -> Any:
    options = [option for option in get_args(annotation) if option is not type(None)]
    return options[0] if _is_union(annotation) and len(options) == 1 else annotation


def _config_type(annotation: Any) -> type[Any] | None:
    """The config type that an annotation is, or that is one of its options."""
    annotation, _ = _split(annotation)
    options = get_args(annotation) if _is_union(annotation) else (annotation,)
    return next((o for o in options if isinstance(o, type) and dataclasses.is_dataclass(o)), None)


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _annotations(kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)
