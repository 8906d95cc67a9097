"""`edgestill targets`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgestill.cli.output import write_result

if TYPE_CHECKING:
    from edgestill.targets import TargetSpec
    from edgestill.targets.base import Availability


@click.command(short_help="List the targets, and whether they can run here.")
def command() -> None:
    """List the targets: what each compiles to, and what it can do on this machine."""
    from edgestill.targets import TARGETS, get_target

    blocks = []
    for name, spec in TARGETS.items():
        blocks.append(describe(name, spec, get_target(name).probe()))
    write_result("\n".join(blocks))


def describe(name: str, spec: TargetSpec, found: Availability) -> str:
    """What a target can do here, and what is to be done where that is not everything."""
    can = [
        word for word, able in (("compiles", found.can_compile), ("runs", found.can_run)) if able
    ]
    state = " and ".join(can) + " here" if can else "not usable here"
    version = f" {found.version}" if found.version else ""
    lines = [
        f"{name}{version}: {state}",
        f"  precisions {', '.join(spec.precisions)}; int8 in the scheme {spec.scheme}",
    ]
    if found.reason:
        lines.append(f"  {found.reason}")
    if found.fix:
        lines.append(f"  {found.fix}")
    return "\n".join(lines)
