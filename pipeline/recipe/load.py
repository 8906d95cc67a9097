"""From a path or the name of a preset to a recipe without static problems."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from edgestill.arguments import PathLike, as_path
from edgestill.errors import RecipeError, UsageError
from edgestill.recipe.document import read_document
from edgestill.recipe.files import check_files
from edgestill.recipe.gates import check_gates
from edgestill.recipe.learning import check_learning
from edgestill.recipe.losses import check_losses
from edgestill.recipe.models import check_models, with_derived_models
from edgestill.recipe.schema import Recipe
from edgestill.recipe.schemes import check_schemes
from edgestill.recipe.sections import Sections
from edgestill.recipe.targets import check_targets
from edgestill.recipe.teachers import check_teachers
from edgestill.spelling import best_match

_CHECKS = (
    check_models,
    check_teachers,
    check_schemes,
    check_learning,
    check_losses,
    check_targets,
    check_gates,
    check_files,
)


def load_recipe(path_or_preset: PathLike, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a file, or a preset by its name.

    Relative paths start from the file's folder; those of a preset from the working directory.

    Args:
        overrides: `key.path=value` each, such as `targets.0.precision=fp32` with a value in YAML;
            `key.path=null` takes a key out.

    Raises:
        RecipeError: the recipe has static problems; every one of them is listed.
        UsageError: there is no such file or preset, it cannot be read, or an override is no
            `key.path=value`.
    """
    as_path(path_or_preset, "recipe")
    shown = os.fspath(path_or_preset)
    path, base = _find(shown)
    name = path.name if path.parent == presets_folder() else shown
    document = read_document(_read(path, name), name, overrides)
    draft = Sections(document).draft(path, base)
    for check in _CHECKS:
        check(draft)
    document.problems.raise_any()
    return with_derived_models(draft.recipe)


def recipe_text(path: Path, overrides: Sequence[str] = ()) -> str:
    """The recipe of a file as it is, or with the values that were given instead: it runs alike."""
    text = path.read_text(encoding="utf-8-sig")
    if not overrides:
        return text
    tree = read_document(text, path.name, overrides).tree
    changed = "".join(f"# --set {' '.join(override.split())}\n" for override in overrides)
    return changed + yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Quotes texts such as 1e3 and 0o17, which we read as numbers and YAML 1.1 does not."""


def _represent_text(dumper: _Dumper, text: str) -> yaml.Node:
    style = "'" if re.fullmatch(r"[-+.\d]\S*", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def presets() -> tuple[str, ...]:
    """The names of the recipes that come with edgestill."""
    return tuple(sorted(file.stem for file in presets_folder().glob("*.yaml")))


def presets_folder() -> Path:
    """Where the presets lie."""
    return Path(__file__).parents[1] / "presets"


def _find(path_or_preset: str) -> tuple[Path, Path]:
    """The file, and the folder that its relative paths start from."""
    path, shown = Path(path_or_preset), path_or_preset or "''"
    try:
        if path.is_file():
            return path, path.parent.absolute()
        if path.is_dir():
            fix = f"Name a file in it, such as {path / 'recipe.yaml'}."
            raise UsageError("a folder, not a recipe", where=shown, fix=fix)
        names = [item.name for item in path.parent.iterdir() if item.suffix in (".yaml", ".yml")]
    except (OSError, ValueError):  # no such folder, or not a path at all
        names = []
    if path_or_preset in presets():
        return presets_folder() / f"{path_or_preset}.yaml", Path.cwd()
    match = best_match(path.name, [*presets(), *sorted(names)])
    question = f"Did you mean {path.parent / match if match in names else match}? " if match else ""
    raise UsageError(
        "no such file and no such preset",
        where=shown,
        fix=f"{question}Presets: {', '.join(presets())}. edgestill init writes a recipe.",
    )


def _read(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        what = f"not UTF-8: byte {error.object[error.start]:#04x}"
        raise RecipeError([UsageError(what, where=f"{name}:{line}")]) from error
    except OSError as error:
        raise UsageError(f"cannot be read ({error.strerror})", where=name) from error
