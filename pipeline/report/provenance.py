"""How a report was obtained: facts, every measurement, digests, and how to get it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgestill.report import targets
from edgestill.report.figures import Section, latencies
from edgestill.report.model import Report


@dataclass(frozen=True)
class Command:
    """What can be called, and what it does or needs."""

    line: str
    words: str


def facts(report: Report) -> dict[str, str]:
    """What, when, on which data and on which machine; without what is unknown."""
    found = {
        "What": f"edgestill {report.kind}, version {report.edgestill}",
        "When": report.created,
        "Task and metric": f"{report.task}, {report.metric} "
        f"({'bigger' if report.bigger_is_better else 'smaller'} is better)",
        "Samples": ", ".join(f"{role} {count}" for role, count in report.splits.items()),
        "Seed": str(report.seed),
        "Threads": str(report.threads),
        "Libraries": ", ".join(f"{name} {found}" for name, found in report.versions.items()),
        **{f"Device: {name}": value for name, value in _flat(report.device)},
    }
    return {name: value for name, value in found.items() if value}


def measurements(report: Report) -> Section:
    """Every percentile, load and memory figure of what was timed, and when; may have no rows."""
    timed = targets.timed(report)
    if not timed:
        return Section("Measurements")
    section = latencies(timed)
    times = sorted({latency.measured_at for _, latency in timed})
    moments = " to ".join(dict.fromkeys([times[0], times[-1]]))
    batches = ", ".join(str(batch) for batch in sorted({latency.batch for _, latency in timed}))
    threads = ", ".join(str(count) for count in sorted({latency.threads for _, latency in timed}))
    line = (
        f"Measured {moments} at batch {batches} with {threads} threads, in blocks that "
        "are interleaved with those of the target's other engines, a fresh process each. "
        "Brackets are confidence intervals."
    )
    # What is doubtful about them already stands with their target.
    return Section("Measurements", section.columns, section.rows, (line,))


def digests(report: Report) -> dict[str, str]:
    """The digest of each engine by target and precision."""
    return {
        f"{target.target} {candidate.name}": candidate.digest
        for target in report.targets
        for candidate in target.candidates
    }


def again(report: Report) -> list[Command]:
    """How to get the same once more."""
    verify = Command(
        "edgestill verify RELEASE", "measures and decides again, on this device or on another one."
    )
    if report.kind != "run":
        return [verify]
    needs = (
        "with the recipe of this folder, beside the files that it names, and the versions above."
    )
    return [Command("edgestill run recipe.yaml", needs), verify]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested facts as lines, without those that are unknown."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name} ")
        elif isinstance(value, (list, tuple)):
            yield f"{prefix}{name}", ", ".join(str(item) for item in value)
        elif value is not None:
            yield f"{prefix}{name}", str(value)
