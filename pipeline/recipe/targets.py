"""The targets: runtime, precisions, where it is verified, and the target's own options."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Literal

from edgestill.recipe.draft import Draft
from edgestill.recipe.problems import Path, show_value
from edgestill.recipe.reader import BROKEN, Reader
from edgestill.recipe.schema import TargetConfig
from edgestill.spelling import did_you_mean
from edgestill.targets import TARGETS

# The keys of an entry that are not the target's own options.
KEYS = ("target", "precision", "verify")

_KNOWN = tuple(TARGETS)
_Verify = Literal["here", "elsewhere"]


def read_targets(
    reader: Reader, value: Any, path: Path, *, quantize: bool
) -> list[tuple[Path, TargetConfig]]:
    """Each target with its place; a bare name stands for its defaults.

    Args:
        quantize: whether `precision: auto` includes int8.
    """
    if not isinstance(value, list):
        what = f"found {show_value(value)} where a list is expected"
        reader.problems.add(path, what, "Write [{target: openvino}, {target: onnxruntime}].")
        return []
    targets = []
    for index, entry in enumerate(value):
        place: Path = (*path, index)
        named = {"target": entry} if isinstance(entry, str) else entry
        target = _read_target(reader, named, place, quantize)
        if target is not None:
            targets.append((place, target))
    return targets


def _read_target(reader: Reader, entry: Any, path: Path, quantize: bool) -> TargetConfig | None:
    if not reader.mapping(entry, path, KEYS):
        return None
    name = entry.get("target")
    if name is None:
        reader.problems.add((*path, "target"), "missing", f"Known targets: {', '.join(_KNOWN)}.")
        return None
    if name not in _KNOWN:
        what = f"{show_value(name)} is not a known target"
        reader.problems.add((*path, "target"), what, did_you_mean(name, _KNOWN, "Known targets"))
        return None
    options = _read_options(reader, name, entry, path)
    verify: Any = entry.get("verify")
    verify = "here" if verify is None else reader.value(_Verify, verify, (*path, "verify"))
    precision = entry.get("precision")
    auto = precision is None or precision == "auto"
    if auto:
        precisions = tuple(p for p in TARGETS[name].precisions if p != "int8" or quantize)
    else:
        precisions = _read_precisions(reader, name, precision, (*path, "precision"))
    if options is None or verify is BROKEN or reader.problems.within((*path, "precision")):
        return None
    return TargetConfig(name, precisions, auto, verify, options)


def _read_options(reader: Reader, name: str, entry: dict[str, Any], path: Path) -> Any:
    """The target's own options: the keys that are not ours."""
    mine = _option_names(name)
    allowed = (*KEYS, *mine)
    for key in entry:
        having = [other for other in _KNOWN if key in _option_names(other)]
        if key not in allowed and having:
            what = f"{name} has no such option, {' and '.join(having)} {_have(having)}"
            reader.problems.add((*path, key), what, f"Allowed keys: {', '.join(allowed)}.")
    reader.unknown_keys(entry, path, allowed)
    kind: type[Any] = TARGETS[name].options
    return reader.config(kind, {key: entry[key] for key in entry if key in mine}, path)


def _option_names(name: str) -> tuple[str, ...]:
    return tuple(field.name for field in fields(TARGETS[name].options))


def _have(names: list[str]) -> str:
    return "has" if len(names) == 1 else "have"


def _read_precisions(reader: Reader, name: str, value: Any, path: Path) -> tuple[str, ...]:
    """The listed precisions, or the single one."""
    supported = TARGETS[name].precisions
    entries = value if isinstance(value, list) else [value]
    fix = f"Supported: {', '.join(supported)}."
    if not entries:
        reader.problems.add(path, "an empty list", fix)
    for entry in entries:
        if entry == "auto":
            reader.problems.add(path, "auto stands alone", "Write precision: auto.")
        elif entry not in supported:
            what = f"{show_value(entry)} is not supported by {name}"
            reader.problems.add(path, what, fix)
        elif entries.count(entry) > 1:
            reader.problems.add(path, f"{entry} is written twice", "Keep one of them.")
    return tuple(entries)


def check_targets(draft: Draft) -> None:
    """A target twice, and int8 that nothing would make."""
    if draft.recipe.quantize is not None and not draft.given("targets"):
        fix = "Add targets: [onnxruntime], or leave quantize: out."
        draft.problems.add(("quantize",), "int8 belongs to a target, and there is none", fix)
    first: dict[str, int] = {}
    for path, target in draft.targets:
        index = path[1]
        assert isinstance(index, int)
        if target.target in first:
            what = f"{target.target} stands in targets[{first[target.target]}] already"
            fix = "Keep one entry, with all its precisions, or write a second recipe."
            draft.problems.add((*path, "target"), what, fix)
        first.setdefault(target.target, index)
        if "int8" in target.precisions and not draft.given("quantize"):
            what = "int8 needs a quantized model, and the recipe has no quantize:"
            fix = "Add quantize: {}, or leave int8 out."
            draft.problems.add((*path, "precision"), what, fix)
