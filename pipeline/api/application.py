"""A release in an application: one call gives a session of the shipped engine."""

from __future__ import annotations

from pathlib import Path

from edgestill.errors import DeviceError, UsageError
from edgestill.release import ReleasedTarget, open_release
from edgestill.targets import get_target
from edgestill.targets.base import Session
from edgestill.verdict import Verdict


def load(
    release: str | Path,
    target: str | None = None,
    *,
    threads: int | None = None,
    accept_failed: bool = False,
) -> Session:
    """A session of what a release ships; `session.run({name: array})` gives outputs by name.

    Args:
        target: which target of the release; by default the first that can run here.
        threads: by default as many as the release was measured with.
        accept_failed: load it even if a gate failed where it was built.

    Raises:
        UsageError: the folder is not a release, has no such target, or a gate failed.
        DamagedRelease: a file is not what the manifest says.
        DeviceError: no target of the release can run here.
    """
    opened = open_release(Path(release))
    if opened.description.verdict is Verdict.FAIL and not accept_failed:
        raise UsageError(
            "a gate of this release failed",
            where=str(release),
            fix="report.md in it says which; load(..., accept_failed=True) loads it nevertheless",
        )
    targets = [t for t in opened.description.targets if target in (None, t.target)]
    if not targets:
        known = ", ".join(t.target for t in opened.description.targets) or "none"
        raise UsageError(f"the release has no target {target}", fix=f"Its targets: {known}")
    runnable = [t for t in targets if get_target(t.target).probe().can_run]
    if not runnable:
        raise DeviceError(
            "none of the release's targets can run here",
            where=str(release),
            fix="; ".join(_why_not(t) for t in targets),
        )
    chosen = next((t for t in runnable if t.shipped), None)
    if chosen is None:
        raise DeviceError(
            f"nothing was fit to ship for {runnable[0].target}",
            where=str(release),
            fix="report.md in the release says what failed",
        )
    engine = opened.engine(chosen.candidates[chosen.shipped[0]])
    return get_target(chosen.target).load(engine, threads or opened.description.threads)


def _why_not(target: ReleasedTarget) -> str:
    availability = get_target(target.target).probe()
    return f"{target.target}: {availability.reason}. {availability.fix or ''}".strip()
