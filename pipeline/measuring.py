"""Blocks as facts: measured once on a device, appended, reused until nothing can be decided."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from edgestill.artifact import Dataset
from edgestill.digest import canonical
from edgestill.errors import DeviceError
from edgestill.store import Facts
from edgestill.targets.measure import Candidate, MeasureConfig, Round, measure


@dataclass(frozen=True)
class Session:
    """What is measured together: candidates interleaved on the same samples.

    Attributes:
        datasets: the samples that are fed, in rotation.
    """

    candidates: Sequence[Candidate]
    dataset: Dataset
    config: MeasureConfig

    def key_parts(
        self,
        dataset_digest: str,
        fingerprint: str,
        versions: Mapping[str, Any],
        code: Mapping[str, str],
    ) -> Any:
        """Everything that the blocks belong to.

        Args:
            code: the digests of our own files that measure and run the candidates.
        """
        return {
            "stage": dict(code),
            "candidates": {c.name: c.engine.digest for c in self.candidates},
            "samples": dataset_digest,
            "config": canonical(self.config),
            "device": fingerprint,
            "libraries": dict(versions),
        }


def latest_series(facts: Facts, rounds: int) -> tuple[Round, ...]:
    """The newest series that is complete; empty when there is none.

    One in which a candidate failed is not: what crashed once is tried again. Neither is one that
    another version of edgestill noted in another form.
    """
    series: dict[str, list[Round]] = {}
    for record in facts.read():
        with suppress(ValidationError):
            round_ = Round.from_json(record["round"])
            series.setdefault(record["series"], []).append(round_)
    complete = [
        tuple(found)
        for found in series.values()
        if len(found) >= rounds and not any(map(_failed, found))
    ]
    return complete[-1] if complete else ()


def _failed(round_: Round) -> bool:
    return bool(round_.failures) or any(block.mismatches for block in round_.blocks)


def measure_series(
    session: Session, facts: Facts, progress: Callable[[float, str], None]
) -> tuple[Round, ...]:
    """Measure a new series; every round is kept as soon as it is there."""
    name, found = uuid.uuid4().hex, []
    for round_ in measured_rounds(session, progress):
        facts.append({"series": name, "round": round_.to_json()})
        found.append(round_)
    return tuple(found)


def measured_rounds(session: Session, progress: Callable[[float, str], None]) -> Iterator[Round]:
    """Measure round by round; where no candidate is left, the last round says why."""
    rounds, failed = session.config.rounds, False
    try:
        for index, round_ in enumerate(
            measure(session.candidates, session.dataset, session.config)
        ):
            failed = failed or bool(round_.failures)
            progress((index + 1) / rounds, f"round {index + 1}/{rounds}")
            yield round_
    except DeviceError:
        if not failed:
            raise
