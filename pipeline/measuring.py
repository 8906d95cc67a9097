"""Blocks as facts: measured once on a device, appended, reused until nothing can be decided."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgestill.artifact import Dataset
from edgestill.digest import canonical
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

    def key_parts(self, dataset_digest: str, fingerprint: str, versions: Mapping[str, Any]) -> Any:
        """Everything that the blocks belong to."""
        return {
            "candidates": {c.name: c.engine.digest for c in self.candidates},
            "samples": dataset_digest,
            "config": canonical(self.config),
            "device": fingerprint,
            "libraries": dict(versions),
        }


def latest_series(facts: Facts, rounds: int) -> tuple[Round, ...]:
    """The newest series that is complete; empty when there is none."""
    series: dict[str, list[Round]] = {}
    for record in facts.read():
        series.setdefault(record["series"], []).append(Round.from_json(record["round"]))
    complete = [tuple(found) for found in series.values() if len(found) >= rounds]
    return complete[-1] if complete else ()


def measure_series(
    session: Session, facts: Facts, progress: Callable[[float, str], None]
) -> tuple[Round, ...]:
    """Measure a new series; every round is kept as soon as it is there."""
    return tuple(_appended(session, facts, progress))


def _appended(
    session: Session, facts: Facts, progress: Callable[[float, str], None]
) -> Iterator[Round]:
    name, rounds = uuid.uuid4().hex, session.config.rounds
    for index, round_ in enumerate(measure(session.candidates, session.dataset, session.config)):
        facts.append({"series": name, "round": round_.to_json()})
        progress((index + 1) / rounds, f"round {index + 1}/{rounds}")
        yield round_
