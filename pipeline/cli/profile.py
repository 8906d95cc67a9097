"""`edgestill profile`."""

from __future__ import annotations

from pathlib import Path

import click

from edgestill.cli.output import output_in_color, output_width, write_result
from edgestill.errors import ExitCode


@click.command(short_help="Measure how fast a release, an engine or an ONNX file is.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--target", metavar="NAME", help="The runtime.  [default: the first that runs here]")
@click.option(
    "--mode",
    metavar="MODE",
    default="latency",
    show_default=True,
    help="latency: one call after the other. throughput: all samples are there, with the best "
    "batch and streams. paced: requests arrive at a rate.",
)
@click.option(
    "--rate", type=float, metavar="N", help="Requests a second, at random times, for --mode paced."
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    help="Samples of one call, for throughput of the largest that is tried.  [default: 1; 64]",
)
@click.option("--threads", type=click.IntRange(min=1), help="Of a CPU runtime.")
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    help="Blocks of each engine; fewer than 12 give no interval.",
)
def command(
    path: Path,
    target: str | None,
    mode: str,
    rate: float | None,
    batch: int | None,
    threads: int | None,
    rounds: int,
) -> ExitCode:
    """Measure how fast PATH runs here: a release, the folder of an engine, or an ONNX file.

    Nothing is decided: the exit code is 0 when every engine could be measured, else 3.
    """
    from edgestill.api.profile import profile_model
    from edgestill.report.figures import latencies
    from edgestill.report.loads import paced_latencies, throughputs
    from edgestill.report.terminal import render_figures

    profile = profile_model(
        path, target=target, mode=mode, batch=batch, rate=rate, threads=threads, rounds=rounds
    )
    if mode == "paced":
        section = paced_latencies(tuple(profile.paced.items()))
    elif mode == "throughput":
        section = throughputs(tuple(profile.offline.items()))
    else:
        section = latencies(tuple(profile.latencies.items()))
    text = render_figures(
        f"{profile.runtime}, {path}" + (f", {rate:g} requests/s" if rate else ""),
        section,
        width=output_width(),
        color=output_in_color(),
        notes=profile.notes,
    )
    write_result(text)
    return ExitCode.ENVIRONMENT if profile.failures else ExitCode.PASSED
