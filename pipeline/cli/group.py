"""The group of commands: a table, so that help needs none of their modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click

# fmt: off
COMMANDS: Mapping[str, str] = {
    # Each is the function `command` of edgestill.cli.<name>.
    "init":    "Write a recipe and a model file to start from.",
    "plan":    "Show what a run would do, and what it would reuse.",
    "run":     "Build, verify and release what a recipe describes.",
    "verify":  "Check a release on this device: accuracy, latency, size.",
    "compare": "Compare two releases on this device, with a verdict on each change.",
    "baseline": "Accept figures, or hold a report against them.",
    "profile": "Measure how fast a release, an engine or an ONNX file is.",
    "report":  "Show the report of a release again.",
    "targets": "List the targets, and whether they can run here.",
    "doctor":  "Find what is wrong with this machine, or with a recipe on it.",
    "store":   "List or clean up stored results and measurements.",
}
# fmt: on

EPILOG = (
    "Exit codes: 0 every gate that had to run passed, 1 a gate failed, 2 the recipe or the call is "
    "wrong, 3 the environment or the device failed, 4 inconclusive, 130 interrupted."
)


@dataclass
class Settings:
    """What holds for a whole call.

    Attributes:
        debug: show tracebacks.
    """

    debug: bool = False


def debug_option() -> click.Option:
    """`--debug`, which every command takes, so that it can be appended to a call that failed."""

    def note(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value and isinstance(context.obj, Settings):
            context.obj.debug = True

    return click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=note,
        help="Show the traceback of an error.",
    )


class Commands(click.Group):
    """Imports a command's module when it is called or asked for its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"edgestill.cli.{cmd_name}").command
        with_debug(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            from edgestill.spelling import did_you_mean

            hint = did_you_mean(name, tuple(COMMANDS), "Commands")
            raise click.UsageError(f"No such command '{name}'. {hint}", ctx)
        return super().resolve_command(ctx, args)


def with_debug(command: click.Command) -> None:
    """Give a command, and those below it, the option `--debug`."""
    if not any(parameter.name == "debug" for parameter in command.params):
        command.params.append(debug_option())
    if isinstance(command, click.Group):
        for below in command.commands.values():
            with_debug(below)


def _show_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from edgestill import __version__

        click.echo(f"edgestill {__version__}")
        context.exit()


@click.group(
    cls=Commands,
    invoke_without_command=True,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
@click.pass_context
def group(context: click.Context) -> Any:
    """Distil, quantize, compile and verify PyTorch models for edge devices."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(2)


group.params.append(debug_option())
