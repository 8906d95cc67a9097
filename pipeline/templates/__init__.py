"""What `edgestill init` writes: a recipe and the code it names, ready to run and to be changed."""

from __future__ import annotations

import itertools
from pathlib import Path

from edgestill.arguments import PathLike, as_path
from edgestill.errors import UsageError

# The file that is written -> the template beside this module.
TEMPLATES = {"recipe.yaml": "recipe.yaml", "model.py": "model.py.tmpl"}


def _free(folder: Path) -> Path:
    """A folder that is not there, named after this one."""
    name = folder.name or "my-model"
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(place for place in map(folder.parent.joinpath, names) if not place.exists())


def write_templates(folder: PathLike) -> list[Path]:
    """Write every template into `folder`, which is made where it is missing.

    Returns:
        The written files.

    Raises:
        UsageError: one of them is there already (nothing is written), or the folder cannot be
            written to.
    """
    folder = as_path(folder, "folder")
    files = [folder / name for name in TEMPLATES]
    present = [file for file in files if file.exists() or file.is_symlink()]
    if present:
        raise UsageError(
            f"{' and '.join(file.name for file in present)} would be overwritten",
            where=str(folder),
            fix=f"Name another folder, such as edgestill init {_free(folder)}",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, template in zip(files, TEMPLATES.values(), strict=True):
            content = (Path(__file__).parent / template).read_bytes()
            with file.open("xb") as opened:  # x: never over a file that came meanwhile
                opened.write(content)
    except OSError as error:
        raise UsageError(f"cannot be written ({error.strerror})", where=str(folder)) from error
    return files
