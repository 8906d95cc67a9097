"""The figures of a report, as what later releases are held against."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

from edgestill.baseline.file import Accepted
from edgestill.digest import digest_value
from edgestill.errors import ExitCode, UsageError
from edgestill.metrics import METRICS
from edgestill.quantities import digits, score_text, size_text
from edgestill.report.figures import ns_text
from edgestill.report.model import Report
from edgestill.verdict import Estimate


def accepted_figures(report: Report, reason: str, where: str) -> tuple[Accepted, ...]:
    """What was measured of every engine that ships.

    Args:
        where: the report's file or release, for messages.

    Raises:
        UsageError: the report failed, has nothing that was measured, or no reason is given.
    """
    if not reason.strip():
        raise UsageError("no reason", where="--reason", fix="Say why these figures may count")
    if report.exit_code in (ExitCode.GATE_FAILED, ExitCode.ENVIRONMENT):
        raise UsageError(
            f"its verdict is {report.verdict}, exit code {int(report.exit_code)}",
            where=where,
            fix="Accept a release that keeps its gates, or change the gates first",
        )
    entries = []
    for target in report.targets:
        for candidate in target.candidates:
            latency = candidate.latency
            if candidate.name not in target.shipped or latency is None:
                continue
            entries.append(
                Accepted(
                    release=report.name,
                    target=target.target,
                    precision=candidate.name,
                    device=digest_value(report.device),
                    device_name=report.device_name,
                    evaluation=report.evaluation,
                    samples=report.splits["test"],
                    engine=candidate.digest,
                    runtime=target.runtime,
                    metric=report.metric,
                    score=candidate.test_score,
                    size_bytes=candidate.size_bytes,
                    memory_bytes=latency.memory_bytes,
                    latency_ns=latency.percentiles_ns.get(
                        "50", Estimate(latency.median_ns, None, latency.calls)
                    ),
                    speedup=candidate.speedup,
                    over=target.baseline.digest if target.baseline else None,
                    batch=latency.batch,
                    threads=latency.threads,
                    edgestill=report.edgestill,
                    accepted=datetime.now(timezone.utc).isoformat(timespec="seconds"),
                    reason=reason.strip(),
                )
            )
    if not entries:
        raise UsageError(
            "nothing that ships was measured",
            where=where,
            fix="Run or verify it where a target can run",
        )
    return tuple(entries)


def changed_figures(former: Accepted, entry: Accepted) -> list[str]:
    """Each figure as it was and as it is: `p50: 51.2 µs -> 48 µs`."""
    unit = METRICS[entry.metric].unit if entry.metric in METRICS else "plain"
    figures: list[tuple[str, float | None, float | None, Callable[[float], str]]] = [
        (entry.metric, former.score, entry.score, lambda value: score_text(value, unit)),
        ("p50", former.latency_ns.value, entry.latency_ns.value, ns_text),
        (
            "speedup over the teacher",
            former.speedup.value if former.speedup else None,
            entry.speedup.value if entry.speedup else None,
            lambda value: f"{digits(value)}x",
        ),
        ("size", former.size_bytes, entry.size_bytes, size_text),
        ("memory", former.memory_bytes, entry.memory_bytes, size_text),
    ]
    return [
        f"{name}: {' -> '.join('none' if v is None else text(v) for v in (before, after))}"
        for name, before, after, text in figures
        if (before, after) != (None, None)
    ]
