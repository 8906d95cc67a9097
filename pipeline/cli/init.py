"""`edgestill init`."""

from __future__ import annotations

from pathlib import Path

import click

from edgestill.cli.output import write_result


@click.command(short_help="Write a recipe and a model file to start from.")
@click.argument("folder", type=click.Path(path_type=Path), default=".")
def command(folder: Path) -> None:
    """Write a recipe and a model file to start from into FOLDER, by default this one.

    No file is ever overwritten.
    """
    from edgestill.templates import write_templates

    files = write_templates(folder)
    recipe = next(file for file in files if file.suffix == ".yaml")
    lines = [f"wrote {file}" for file in files]
    lines += [
        "",
        "Next:",
        f"  edgestill plan {recipe}     what would be done",
        f"  edgestill doctor {recipe}   try it on this machine, without training",
        f"  edgestill run {recipe}      do it",
    ]
    write_result("\n".join(lines))
