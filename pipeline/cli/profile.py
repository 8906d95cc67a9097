"""`edgestill profile`."""

from __future__ import annotations

from pathlib import Path

import click

from edgestill.cli.output import output_in_color, output_width, write_result
from edgestill.errors import ExitCode, UsageError


@click.command(short_help="Measure how fast a release, an engine or an ONNX file is.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--target", metavar="NAME", help="The runtime.  [default: the first that runs here]")
@click.option(
    "--mode",
    metavar="MODE",
    default="single",
    show_default=True,
    help="single: one call after the other. offline: all samples are there, with the best batch "
    "and streams.",
)
@click.option(
    "--rate", metavar="RATE", help="Requests arrive at random times, so often, such as 100/s."
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    help="Samples of one call, offline of the largest that is tried.  [default: 1; 64]",
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
    rate: str | None,
    batch: int | None,
    threads: int | None,
    rounds: int,
) -> ExitCode:
    """Measure how fast PATH runs here: a release, the folder of an engine, or an ONNX file.

    Nothing is decided: the exit code is 0 when every engine could be measured, else 3.
    """
    from edgestill.api.profile import profile_model
    from edgestill.quantities import rate_text
    from edgestill.report.figures import latencies
    from edgestill.report.loads import paced_latencies, throughputs
    from edgestill.report.terminal import render_figures

    per_second = None if rate is None else _per_second(rate)
    profile = profile_model(
        path, target=target, mode=mode, batch=batch, rate=per_second, threads=threads, rounds=rounds
    )
    if per_second is not None:
        section = paced_latencies(tuple(profile.paced.items()))
    elif mode == "offline":
        section = throughputs(tuple(profile.offline.items()))
    else:
        section = latencies(tuple(profile.latencies.items()))
    text = render_figures(
        f"{profile.runtime}, {path}"
        + (f", requests at {rate_text(per_second)}" if per_second is not None else ""),
        section,
        width=output_width(),
        color=output_in_color(),
        notes=profile.notes,
    )
    write_result(text)
    return ExitCode.ENVIRONMENT if profile.failures else ExitCode.PASSED


def _per_second(rate: str) -> float:
    """A rate as a recipe writes it."""
    from edgestill.units import per_second

    try:
        return per_second(rate)
    except ValueError as error:
        raise UsageError(str(error), where="--rate") from error
