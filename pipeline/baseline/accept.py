"""The figures of a report, as what later releases are held against."""

from __future__ import annotations

from datetime import datetime, timezone

from edgestill.baseline.file import Accepted
from edgestill.digest import digest_value
from edgestill.errors import ExitCode, UsageError
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
