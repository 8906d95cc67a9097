"""Blocks are appended as facts; a series in which nothing failed goes on, until all is decided."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from edgestill.artifact import Dataset
from edgestill.errors import StoreError
from edgestill.measuring import (
    Series,
    Session,
    latest_series,
    measure_until_decided,
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


def found_in(facts: Facts) -> tuple[Round, ...]:
    found = latest_series(facts)
    return found.rounds if found else ()


def note(facts: Facts, series: str, *rounds: Round) -> None:
    for round_ in rounds:
        facts.append({"series": series, "round": round_.to_json()})


def test_a_measured_series_is_found_again(session: Session, facts: Facts) -> None:
    told: list[tuple[float, str]] = []
    series = Series(session, facts)
    assert not series.at_first_look
    series.measure_on(lambda share, words: told.append((share, words)))
    assert series.at_first_look
    assert [round_.index for round_ in series.rounds] == [0, 1]
    assert told == [(0.5, "round 1/2"), (1.0, "round 2/2")]
    assert found_in(facts) == series.rounds


def test_a_series_goes_on_from_look_to_look_and_in_another_run(
    session: Session, facts: Facts
) -> None:
    first = Series(session, facts)
    first.measure_on(in_silence)
    told: list[str] = []
    second = Series(session, facts, latest_series(facts))
    assert (second.rounds, second.measured) == (first.rounds, 0)
    second.measure_on(lambda share, words: told.append(words))
    # Two rounds give no interval: the next look is at the first number that does.
    assert [round_.index for round_ in second.rounds] == list(range(12))
    assert (second.rounds[:2], second.measured) == (first.rounds, 10)
    assert (told[0], told[-1]) == ("round 3/12", "round 12/12")
    assert found_in(facts) == second.rounds


def test_a_series_of_its_own_is_the_newest(session: Session, facts: Facts) -> None:
    first, second = Series(session, facts), Series(session, facts)
    for series in (first, second):
        series.measure_on(in_silence)
    assert first.rounds != second.rounds
    assert found_in(facts) == second.rounds
    assert len(facts.read()) == 4


def test_a_killed_run_keeps_its_rounds_and_the_next_one_goes_on_with_them(
    session: Session, facts: Facts
) -> None:
    class Killed(Exception):
        pass

    def kill(share: float, words: str) -> None:
        if share == 1.0:
            raise Killed

    with pytest.raises(Killed):
        Series(session, facts).measure_on(kill)
    (kept,) = found_in(facts)
    series = Series(session, facts, latest_series(facts))
    assert not series.at_first_look
    series.measure_on(in_silence)
    assert series.rounds[0] == kept
    assert [round_.index for round_ in found_in(facts)] == [0, 1]


def test_a_series_in_which_something_failed_is_tried_again(
    rounds: tuple[Round, ...], facts: Facts
) -> None:
    first, second = rounds
    mismatch = replace(second, blocks=(replace(second.blocks[0], mismatches=1),))
    assert latest_series(facts) is None
    note(facts, "failed", first, replace(second, blocks=(), failures=(FAILURE,)))
    note(facts, "nonsense", first, mismatch)
    assert latest_series(facts) is None
    note(facts, "complete", first, second)
    assert found_in(facts) == rounds
    # What was measured before it crashed does not hide that it does now.
    note(facts, "failed later", replace(first, failures=(FAILURE,)), second)
    assert latest_series(facts) is None
    note(facts, "tried again", first)
    assert found_in(facts) == (first,)


def test_series_of_two_processes_that_measure_at_once_are_told_apart(
    rounds: tuple[Round, ...], facts: Facts
) -> None:
    first, second = rounds
    other = [replace(round_, started="by another") for round_ in rounds]
    for name, round_ in (("a", first), ("b", other[0]), ("b", other[1]), ("a", second)):
        note(facts, name, round_)
    assert found_in(facts) == tuple(other)


def test_of_two_processes_that_go_on_with_one_series_each_round_counts_once(
    rounds: tuple[Round, ...], facts: Facts
) -> None:
    first, second = rounds
    other = replace(second, started="by another")
    beyond_a_gap = replace(second, index=3)
    note(facts, "a", first, second, other, beyond_a_gap)
    assert found_in(facts) == rounds


def test_rounds_that_another_version_wrote_otherwise_are_passed_over(
    rounds: tuple[Round, ...], facts: Facts
) -> None:
    note(facts, "ours", *rounds)
    for round_ in rounds:
        old: dict[str, Any] = json.loads(round_.to_json())
        del old["blocks"][0]["first_call_ns"]
        facts.append({"series": "old", "round": json.dumps(old)})
    assert found_in(facts) == rounds


def test_where_no_candidate_is_left_the_last_round_says_why(
    session: Session, facts: Facts, deed: Path
) -> None:
    deed.write_text("import os; os.abort()")
    series = Series(session, facts)
    series.measure_on(in_silence)
    (round_,) = series.rounds
    assert (round_.blocks, round_.failures) == ((), (FAILURE,))
    assert not series.may_go_on(60.0)
    assert len(facts.read()) == 1
    assert latest_series(facts) is None


@dataclass(frozen=True)
class Open:
    """What a judge says: these batch sizes are open."""

    rounds: dict[int, int]
    open_at: set[int]


@pytest.mark.parametrize(
    ("open_until", "limit_s", "expected"),
    [
        pytest.param(0, 60.0, [2], id="decided at the first look"),
        pytest.param(13, 60.0, [2, 12, 24], id="decided at the third look"),
        pytest.param(99, 0.0, [2], id="no time for another look"),
    ],
)
def test_it_is_measured_until_nothing_is_open_or_time_is_up(
    session: Session, open_until: int, limit_s: float, expected: list[int]
) -> None:
    judged_at: list[int] = []

    def judge(rounds: Mapping[int, tuple[Round, ...]]) -> Open:
        counts = {batch: len(found) for batch, found in rounds.items()}
        judged_at.append(counts[1])
        return Open(counts, {1} if counts[1] < open_until else set())

    found = measure_until_decided(
        {1: Series(session), 2: Series(session)}, judge, measure_in_silence, limit_s
    )
    assert judged_at == expected
    # What is not open is not measured on.
    assert found.rounds == {1: expected[-1], 2: 2}


def test_a_run_takes_an_open_series_to_its_next_look_however_long_that_takes(
    session: Session, facts: Facts
) -> None:
    Series(session, facts).measure_on(in_silence)
    series = Series(session, facts, latest_series(facts))
    seen: list[int] = []

    def judge(rounds: Mapping[int, tuple[Round, ...]]) -> Open:
        seen.append(len(rounds[1]))
        return Open({}, {1})

    measure_until_decided({1: series}, judge, measure_in_silence, 0.0)
    assert seen == [2, 12]


def measure_in_silence(series: Series) -> None:
    series.measure_on(in_silence)


def test_a_call_that_is_wrong_is_an_error_and_no_fact(session: Session, facts: Facts) -> None:
    (candidate,) = session.candidates
    few = replace(session, dataset=replace(session.dataset, path=candidate.predictions.path))
    with pytest.raises(StoreError, match="not a readable dataset"):
        Series(few, facts).measure_on(in_silence)
    assert facts.read() == []


def test_blocks_belong_to_models_samples_settings_device_and_libraries(session: Session) -> None:
    (candidate,) = session.candidates
    same: dict[str, Any] = {
        "name": "measure onnxruntime",
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
    assert digest(name="measure onnxruntime batch 1") == digest()
    parts = series_key(**same).parts
    assert parts["libraries"] == {"onnxruntime": TARGETS["onnxruntime"].version}
    assert {"targets/timing.py", "targets/onnxruntime.py"} <= parts["stage"].keys()
