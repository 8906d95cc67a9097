"""Blocks are appended as facts, and only a complete series that nothing failed in is used again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgestill.artifact import Dataset
from edgestill.errors import StoreError
from edgestill.measuring import (
    Session,
    latest_series,
    measure_series,
    measured_rounds,
    series_key,
)
from edgestill.store import Facts, Key, Store
from edgestill.targets import TARGETS
from edgestill.targets.blocks import Failure
from edgestill.targets.measure import Candidate, MeasureConfig, Round

CONFIG = MeasureConfig(rounds=2, block_seconds=0.0005, min_calls=3, warmup_limit_s=0.02)
FAILURE = Failure("ort", "onnxruntime crashed (SIGABRT)")


def in_silence(share: float, words: str) -> None:
    pass


@pytest.fixture(scope="module")
def session(ort: Candidate, numbers: Dataset) -> Session:
    return Session([ort], numbers, CONFIG)


@pytest.fixture(scope="module")
def rounds(session: Session) -> tuple[Round, ...]:
    return tuple(measured_rounds(session, in_silence))


@pytest.fixture
def facts(tmp_path: Path) -> Facts:
    store = Store(tmp_path / "store", lambda line: pytest.fail(line))
    return store.facts(Key("measure onnxruntime", "measure", {"device": "here"}))


def note(facts: Facts, series: str, *rounds: Round) -> None:
    for round_ in rounds:
        facts.append({"series": series, "round": round_.to_json()})


def test_a_measured_series_is_found_again(session: Session, facts: Facts) -> None:
    told: list[tuple[float, str]] = []
    measured = measure_series(session, facts, lambda share, words: told.append((share, words)))
    assert [round_.index for round_ in measured] == [0, 1]
    assert told == [(0.5, "round 1/2"), (1.0, "round 2/2")]
    assert latest_series(facts, rounds=2) == measured
    # It is too short for who wants more.
    assert latest_series(facts, rounds=3) == ()


def test_measuring_again_adds_and_the_newest_series_counts(session: Session, facts: Facts) -> None:
    first, second = (measure_series(session, facts, in_silence) for _ in range(2))
    assert first != second
    assert latest_series(facts, rounds=2) == second
    assert len(facts.read()) == 4


def test_a_round_is_kept_as_soon_as_it_is_there(session: Session, facts: Facts) -> None:
    class Killed(Exception):
        pass

    def kill(share: float, words: str) -> None:
        if share == 1.0:
            raise Killed

    with pytest.raises(Killed):
        measure_series(session, facts, kill)
    assert len(facts.read()) == 1
    assert latest_series(facts, rounds=2) == ()


def test_what_is_unfinished_or_failed_is_not_used_again(
    rounds: tuple[Round, ...], facts: Facts
) -> None:
    first, second = rounds
    mismatch = replace(second, blocks=(replace(second.blocks[0], mismatches=1),))
    assert latest_series(facts, rounds=2) == ()
    note(facts, "failed", first, replace(second, blocks=(), failures=(FAILURE,)))
    note(facts, "nonsense", first, mismatch)
    note(facts, "unfinished", first)
    assert latest_series(facts, rounds=2) == ()
    note(facts, "complete", first, second)
    note(facts, "failed later", replace(first, failures=(FAILURE,)), second)
    note(facts, "unfinished later", replace(first, started="later"))
    assert latest_series(facts, rounds=2) == rounds


def test_series_of_two_processes_that_measure_at_once_are_told_apart(
    rounds: tuple[Round, ...], facts: Facts
) -> None:
    first, second = rounds
    other = [replace(round_, started="by another") for round_ in rounds]
    for name, round_ in (("a", first), ("b", other[0]), ("b", other[1]), ("a", second)):
        note(facts, name, round_)
    assert latest_series(facts, rounds=2) == tuple(other)


def test_rounds_that_another_version_wrote_otherwise_are_passed_over(
    rounds: tuple[Round, ...], facts: Facts
) -> None:
    note(facts, "ours", *rounds)
    for round_ in rounds:
        old: dict[str, Any] = json.loads(round_.to_json())
        del old["blocks"][0]["first_call_ns"]
        facts.append({"series": "old", "round": json.dumps(old)})
    assert latest_series(facts, rounds=2) == rounds


def test_where_no_candidate_is_left_the_last_round_says_why(
    session: Session, facts: Facts, deed: Path
) -> None:
    deed.write_text("import os; os.abort()")
    (round_,) = measure_series(session, facts, in_silence)
    assert (round_.blocks, round_.failures) == ((), (FAILURE,))
    assert len(facts.read()) == 1
    assert latest_series(facts, rounds=1) == ()


def test_a_call_that_is_wrong_is_an_error_and_no_fact(session: Session, facts: Facts) -> None:
    (candidate,) = session.candidates
    few = replace(session, dataset=replace(session.dataset, path=candidate.predictions.path))
    with pytest.raises(StoreError, match="not a readable dataset"):
        measure_series(few, facts, in_silence)
    assert facts.read() == []


def test_blocks_belong_to_models_samples_settings_device_and_libraries(session: Session) -> None:
    (candidate,) = session.candidates
    same: dict[str, Any] = {
        "target": "onnxruntime",
        "engines": {candidate.name: candidate.engine.digest},
        "samples": "d",
        "config": CONFIG,
        "device": "f",
    }

    def digest(**changes: Any) -> str:
        return series_key(**{**same, **changes}).digest

    digests = [
        digest(),
        digest(target="openvino"),
        digest(samples="other"),
        digest(device="other"),
        digest(config=replace(CONFIG, batch=2)),
        digest(engines={candidate.name: "0" * 64}),
        digest(engines={"other": candidate.engine.digest}),
    ]
    assert len(set(digests)) == len(digests)
    parts = series_key(**same).parts
    assert parts["libraries"] == {"onnxruntime": TARGETS["onnxruntime"].version}
    assert {"targets/timing.py", "targets/onnxruntime.py"} <= parts["stage"].keys()
