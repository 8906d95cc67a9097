"""`edgestill profile`."""

from __future__ import annotations

from pathlib import Path

import click

from edgestill.cli.output import output_in_color, output_width, write_result


@click.command(short_help="Measure the latency of a release, an engine or an ONNX file.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--target", metavar="NAME", help="The runtime.  [default: the first that runs here]")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="Of a CPU runtime.")
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    help="Blocks of each engine; fewer than 12 give no interval.",
)
def command(path: Path, target: str | None, batch: int, threads: int | None, rounds: int) -> None:
    """Measure how fast PATH runs here: a release, the folder of an engine, or an ONNX file.

    Nothing is decided: the exit code is 0 when the measurement could be made.
    """
    from edgestill.api.profile import profile_model
    from edgestill.report.terminal import render_latencies

    profile = profile_model(path, target=target, batch=batch, threads=threads, rounds=rounds)
    text = render_latencies(
        f"{profile.runtime}, {path}",
        tuple(profile.latencies.items()),
        width=output_width(),
        color=output_in_color(),
        notes=profile.notes,
    )
    write_result(text)
