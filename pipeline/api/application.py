"""A release in an application: one call gives a session of the shipped engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy
from numpy.typing import NDArray

from edgestill.arguments import PathLike, as_count, as_path
from edgestill.artifact import Signature
from edgestill.errors import DeviceError, UsageError
from edgestill.release import ReleasedTarget, open_release
from edgestill.targets import get_target
from edgestill.targets.base import Session
from edgestill.verdict import Verdict


def load(
    release: PathLike,
    target: str | None = None,
    *,
    threads: int | None = None,
    accept_failed: bool = False,
) -> ReleaseSession:
    """A session of what a release ships; `session.run({name: array})` gives outputs by name.

    Where the model has one input, the array alone will do.

    Args:
        target: which target of the release; by default the first that can run here.
        threads: by default as many as the release was measured with.
        accept_failed: load it even if a gate failed where it was built.

    Raises:
        UsageError: the folder is not a release, has no such target, or a gate failed.
        DamagedRelease: a file is not what the manifest says.
        DeviceError: no target of the release can run here.
    """
    place = as_path(release, "release")
    opened = open_release(place)
    if opened.description.verdict is Verdict.FAIL and not accept_failed:
        raise UsageError(
            "a gate of this release failed",
            where=str(place),
            fix="report.md in it says which; load(..., accept_failed=True) loads it nevertheless",
        )
    targets = opened.targets([] if target is None else [target])
    runnable = [t for t in targets if get_target(t.target).probe().can_run]
    if not runnable:
        raise DeviceError(
            "none of the release's targets can run here",
            where=str(place),
            fix="; ".join(_why_not(t) for t in targets),
        )
    chosen = next((t for t in runnable if t.shipped), None)
    if chosen is None:
        raise DeviceError(
            f"nothing was fit to ship for {runnable[0].target}",
            where=str(place),
            fix="report.md in the release says what failed",
        )
    engine = opened.engine(chosen.candidates[chosen.shipped[0]])
    count = opened.description.threads if threads is None else as_count(threads, "threads")
    return ReleaseSession(get_target(chosen.target).load(engine, count))


class ReleaseSession:
    """The shipped engine of a release, ready to run; `with load(...) as session:` closes it.

    Attributes:
        signature: its inputs and outputs.
    """

    def __init__(self, session: Session) -> None:
        self.signature: Signature = session.signature
        self._session: Session | None = session

    def run(self, feeds: Mapping[str, NDArray[Any]] | NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Each output by name; the arrays belong to the caller and are never written again.

        Args:
            feeds: each input by name, in the signature's dtype and shape; the array alone where
                there is one input.

        Raises:
            UsageError: the feeds are not arrays by name, or not what the signature asks for; or
                the session is closed.
            DeviceError: the runtime failed.
        """
        if self._session is None:
            raise UsageError("the session is closed", fix="Load the release again")
        if not isinstance(feeds, Mapping):
            feeds = {self._only_input(feeds): feeds}
        given: Mapping[str, object] = feeds
        for name, array in given.items():
            if not isinstance(array, numpy.ndarray):
                spec = next((spec for spec in self.signature.inputs if spec.name == name), None)
                dtype = f", dtype={spec.dtype!r}" if spec else ""
                raise UsageError(
                    f"the input {name} is a {type(array).__name__}, not a numpy array",
                    fix=f"Give numpy.asarray(...{dtype})",
                )
        return self._session.run(feeds)

    def __enter__(self) -> ReleaseSession:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back what the runtime holds; the session cannot be used after."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _only_input(self, given: object) -> str:
        inputs = self.signature.inputs
        if len(inputs) != 1:
            raise UsageError(
                f"the model has {len(inputs)} inputs, given was one {type(given).__name__}",
                fix=f"Give arrays by name: {', '.join(map(str, inputs))}",
            )
        return inputs[0].name


def _why_not(target: ReleasedTarget) -> str:
    availability = get_target(target.target).probe()
    return f"{target.target}: {availability.reason}. {availability.fix or ''}".strip()
