"""Blocks as facts: measured once on a device, appended, reused until nothing can be decided."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from edgestill.artifact import Dataset
from edgestill.digest import canonical
from edgestill.errors import DeviceError
from edgestill.source_code import stage_digest
from edgestill.store import Facts, Key
from edgestill.targets import TARGETS
from edgestill.targets.blocks import MeasureConfig, Round

if TYPE_CHECKING:
    from edgestill.targets.measure import Candidate


@dataclass(frozen=True)
class Session:
    """What is measured together: candidates interleaved on the same samples.

    Attributes:
        datasets: the samples that are fed, in rotation.
    """

    candidates: Sequence[Candidate]
    dataset: Dataset
    config: MeasureConfig


def series_key(
    target: str, engines: Mapping[str, str], samples: str, config: MeasureConfig, device: str
) -> Key:
    """Everything that the blocks of a target's engines belong to.

    Args:
        engines: the digest of each engine by its candidate's name.
        samples: the digest of what they are fed; its labels have no say in how long a call takes.
        device: the digest of its fingerprint.
    """
    spec = TARGETS[target]
    parts = {
        "stage": stage_digest("edgestill.targets.worker", spec.implementation),
        "candidates": dict(engines),
        "samples": samples,
        "config": canonical(config),
        "device": device,
        "libraries": {spec.distribution: spec.version},
    }
    return Key(f"measure {target}", "measure", parts)


def latest_series(facts: Facts, rounds: int, *, mend: bool = True) -> tuple[Round, ...]:
    """The newest series that is complete; empty when there is none.

    One in which a candidate failed is not: what crashed once is tried again. Neither is one that
    another version of edgestill noted in another form.
    """
    series: dict[str, list[Round]] = {}
    for record in facts.read(mend=mend):
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
    from edgestill.targets.measure import measure  # with numpy, which a plan does without

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
