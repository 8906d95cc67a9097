"""What a comparison found, as plain frozen data that is written to JSON as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgestill.digest import canonical
from edgestill.errors import ExitCode
from edgestill.verdict import Estimate, Verdict

FORMAT = 1
TIMED = ("p50 latency", "peak memory")  # what more rounds may decide

Unit = Literal["score", "ns", "bytes", "per second"]


@dataclass(frozen=True)
class Change:
    """One property of what is shipped for a target, in the old release and in the new one.

    Attributes:
        name: such as `p50 latency`.
        worse: what it does when it gets worse: `drop` or `rise`.
        by: how much worse it got: a score in its points, anything else as a share of the old
            value; positive is worse, whichever way the property points. None where that has no
            honest interval.
        budget: the largest change for the worse that is allowed; None where nothing was asked.
        verdict: on the budget; None without one.
        advice: what would decide it, where nothing did.
    """

    name: str
    unit: Unit
    worse: str
    old: float | None
    new: float | None
    by: Estimate | None = None
    budget: float | None = None
    verdict: Verdict | None = None
    advice: str = ""


@dataclass(frozen=True)
class TargetComparison:
    """What two releases ship for one target.

    Attributes:
        old: the precision that the old release ships.
        same_engine: whether both ship the very same files, which were not timed then.
        agreement: how far the two answer alike; None where their predictions differ in shape.
        blocks: of each, interleaved.
        looks: how often they were looked at, until all was decided or time was up.
        noise_floor: the smallest change of the median time that so many blocks can tell from none,
            as a share.
        failures: how one of the two crashed, hung or answered otherwise.
    """

    target: str
    runtime: str
    old: str
    new: str
    same_engine: bool
    changes: tuple[Change, ...]
    agreement: Estimate | None
    blocks: int
    batch: int
    threads: int
    looks: int = 1
    noise_floor: float | None = None
    failures: tuple[str, ...] = ()

    @property
    def open_at(self) -> tuple[int, ...]:
        """The batch size at which more rounds may decide a change."""
        names = [c.name for c in self.changes if c.verdict is Verdict.INCONCLUSIVE]
        return (self.batch,) if {*names} & {*TIMED} else ()


@dataclass(frozen=True)
class Compared:
    """A release that took part.

    Attributes:
        digest: of its manifest.
        created: when its report was written.
        edgestill: the version that built it.
    """

    path: str
    name: str
    digest: str
    created: str
    edgestill: str


@dataclass(frozen=True)
class Comparison:
    """Two releases, measured together on this device.

    Attributes:
        metric_unit: `pp` where scores are proportions, else `plain`.
        samples: of the new release's evaluation set, which both were asked about.
        device: the fingerprint of the machine.
        notes: what a reader has to know, such as targets that only one of them has.
    """

    format: int
    old: Compared
    new: Compared
    task: str
    metric: str
    metric_unit: str
    samples: int
    targets: tuple[TargetComparison, ...]
    verdict: Verdict
    exit_code: ExitCode
    device: Mapping[str, Any]
    created: str
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(canonical(self), indent=2, ensure_ascii=False) + "\n"
