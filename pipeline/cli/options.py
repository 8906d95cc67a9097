"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path

import click

recipe_argument = click.argument("recipe")

release_argument = click.argument("release", type=click.Path(path_type=Path))

set_option = click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change a value of the recipe, such as distill.epochs=5. Repeatable.",
)

targets_option = click.option(
    "--target",
    "targets",
    metavar="NAME",
    multiple=True,
    help="Only this target. Repeatable.",
)

store_option = click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".edgestill"),
    show_default=True,
    envvar="EDGESTILL_STORE",
    show_envvar=True,
    help="Where results are kept.",
)
