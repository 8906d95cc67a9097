"""Options that several commands take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from edgestill.report.formats import JUDGEMENTS

Command = TypeVar("Command", bound=Callable[..., Any])

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


def format_options(shapes: Sequence[str], told: str, out: str) -> Callable[[Command], Command]:
    """In which format something is written, and where.

    Args:
        told: of the formats, in words.
        out: what naming a file does, in words.
    """
    shape = click.option(
        "--format",
        "shape",
        type=click.Choice(list(shapes)),
        default="terminal",
        show_default=True,
        help=told,
    )
    file = click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help=out)
    return lambda command: shape(file(command))


judgement_options = format_options(
    JUDGEMENTS, "How it is written.", "Write it to this file, and show it as on a terminal."
)


def budget_options(score: str) -> Callable[[Command], Command]:
    """How much worse something may get than it was.

    Args:
        score: the default of `--score`, in words.
    """
    told = {
        "score": (score, "worse the metric may get, such as 0.5pp"),
        "latency": ("5%", "longer the median call may take"),
        "memory": ("10%", "higher the peak memory may be"),
        "size": ("5%", "larger what ships may be"),
    }

    def decorate(command: Command) -> Command:
        for name, (default, what) in reversed(told.items()):
            words = f"How much {what}, or `none` for no limit.  [default: {default}]"
            command = click.option(f"--{name}", metavar="CHANGE", help=words)(command)
        return command

    return decorate
