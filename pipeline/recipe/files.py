"""What a recipe names on disk: files that are missing, callables that a file does not define."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path as FilePath

from edgestill.data.config import DataConfig, origins, shares
from edgestill.data.origin import Kind, resolve
from edgestill.errors import ModelError, UsageError
from edgestill.metric_config import FunctionMetric
from edgestill.models.config import ModelConfig
from edgestill.models.hugging_face import folder_of, has_weights, require_folder
from edgestill.recipe.draft import Draft
from edgestill.recipe.models import models_of
from edgestill.recipe.problems import Path
from edgestill.reference import Reference, parse
from edgestill.source_code import require_defined
from edgestill.spelling import best_match, did_you_mean


def check_files(draft: Draft) -> None:
    """Every file, module and callable that the recipe names, and the shares of the data."""
    recipe = draft.recipe
    for path, model in models_of(draft):
        _check_model(draft, path, model)
    for place, scheme in draft.schemes:
        for index, peer in enumerate(scheme.peers):
            _check_model(draft, (*place, "peers", index), peer.as_model)
    if isinstance(recipe.metric, FunctionMetric) and recipe.metric.function:
        _check_callable(draft, ("metric", "function"), recipe.metric.function)
    if not draft.problems.within(("data", "source")):
        _check_data(draft, recipe.data)


def _check_model(draft: Draft, path: Path, model: ModelConfig) -> None:
    folder = folder_of(model.model)
    if folder is not None:
        _check_folder(draft, path, folder)
    for key, callable_ in (("model", model.model), ("function", model.function)):
        if callable_ is not None and not (key == "model" and folder is not None):
            _check_callable(draft, (*path, key), callable_)
    for key, file in (("onnx", model.onnx), ("weights", model.weights)):
        if file is not None:
            _check_file(draft, (*path, key), file)
    for index, file in enumerate(model.files):
        _check_exists(draft, (*path, "files", index), file)


def _check_folder(draft: Draft, path: Path, name: str) -> None:
    """A folder of the transformers library; a model whose weights are final has to have some."""
    place = (*path, "model")
    if draft.problems.at(place):
        return
    folder = draft.recipe.base / name
    try:
        require_folder(folder)
    except ModelError as error:
        draft.problems.add(place, error.what, error.fix)
        return
    if draft.given(*path, "pretrained") and not has_weights(folder):
        what = f"{name} has no weights, and pretrained says that they are final"
        draft.problems.add((*path, "pretrained"), what, "Add model.safetensors, or train: {}.")


def _check_data(draft: Draft, data: DataConfig) -> None:
    sources = data.source if isinstance(data.source, dict) else {"": data.source}
    for role, source in sources.items():
        path: Path = ("data", "source", role) if role else ("data", "source")
        if not source and draft.problems.within(("data",)):
            continue  # it stands for one that could not be read
        try:
            kind = resolve(source, draft.recipe.base).kind
        except UsageError as error:
            draft.problems.add(path, error.what, error.fix)
            continue
        if kind is Kind.CALLABLE:
            _check_callable(draft, path, source)
    if not draft.problems.within(("data",)):
        try:
            origins(data, draft.recipe.base)
        except UsageError as error:
            draft.problems.add(("data", "source"), error.what, error.fix)
    for index, file in enumerate(data.files):
        _check_exists(draft, ("data", "files", index), file)
    if draft.problems.within(("data", "split")):
        return
    try:
        shares(data)
    except UsageError as error:
        draft.problems.add(tuple((error.where or "data").split(".")), error.what, error.fix)


def _check_file(draft: Draft, path: Path, name: str) -> None:
    if not draft.problems.at(path) and (draft.recipe.base / name).is_dir():
        draft.problems.add(path, f"{name} is a folder", "Name a file.")
    _check_exists(draft, path, name)


def _check_exists(draft: Draft, path: Path, name: str) -> None:
    file = draft.recipe.base / name
    if not _exists(file):
        draft.problems.add(path, f"there is no file {name}", _beside(file))


def _exists(file: FilePath) -> bool:
    try:
        return file.exists()
    except (OSError, ValueError):  # a name too long, or with a zero byte
        return False


def _beside(file: FilePath, suffix: str = "") -> str:
    """What the folder of a missing file has."""
    try:
        names = sorted(item.name for item in file.parent.iterdir() if item.name.endswith(suffix))
    except (OSError, ValueError):
        return f"There is no folder {file.parent} either."
    match = best_match(file.name, names)
    if match:
        return f"Did you mean {match}?"
    return f"Paths start from {file.parent}, which has {', '.join(names[:10]) or 'no files'}."


def _check_callable(draft: Draft, path: Path, text: str) -> None:
    """Whether the callable is there, as far as that shows without running any code."""
    if draft.problems.at(path):
        return
    try:
        reference = parse(text)
    except UsageError as error:
        draft.problems.add(path, error.what, error.fix)
        return
    base = draft.recipe.base
    if reference.is_file:
        file = base / reference.module
        if not _exists(file):
            draft.problems.add(path, f"there is no file {reference.module}", _beside(file, ".py"))
            return
    else:
        found = _find_module(draft, path, reference, base)
        if found is None:
            return
        file = found
    try:
        require_defined(reference, file, UsageError)
    except UsageError as error:
        draft.problems.add(path, error.what, error.fix)


def _find_module(draft: Draft, path: Path, reference: Reference, base: FilePath) -> FilePath | None:
    """The source of a module, found without importing anything; None where it cannot be told.

    As when it is imported: code beside the recipe comes first, an installed package before a folder
    of its name without code, such as one that a repository was cloned into.
    """
    top, *rest = reference.module.split(".")
    parts = [top, *rest]
    folders = [] if top == "edgestill" else [f for f in (base, FilePath.cwd()) if _has_code(f, top)]
    spec = None if folders else _spec(top)
    if spec is not None:
        if not rest:
            file = spec.origin or ""
            return FilePath(file) if file.endswith(".py") else None
        folders, parts = [FilePath(item) for item in spec.submodule_search_locations or ()], rest
    elif not folders:
        folders = [folder for folder in (base, FilePath.cwd()) if (folder / top).is_dir()]
        if not folders:
            fix = "Install it, or write file.py:callable."
            draft.problems.add(path, f"there is no module {top}", fix)
            return None
    for folder in folders:
        module = folder.joinpath(*parts)
        for candidate in (module.with_name(f"{module.name}.py"), module / "__init__.py"):
            if candidate.is_file():
                return candidate
    if reference.module.startswith("edgestill.") and folders:
        parent = folders[0].joinpath(*parts).parent
        names = [item.stem for item in parent.glob("[!_]*.py")] if parent.is_dir() else []
        what = f"there is no module {reference.module}"
        draft.problems.add(path, what, did_you_mean(parts[-1], sorted(names), "There are"))
    return None


def _has_code(folder: FilePath, module: str) -> bool:
    return any((folder / file).is_file() for file in (f"{module}.py", f"{module}/__init__.py"))


def _spec(top: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
