"""Candidates are timed in interleaved blocks, each in a fresh process, on real samples."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgestill.artifact import Dataset, Engine, OnnxModel, Predictions, TensorSpec
from edgestill.errors import DataError, DeviceError, UsageError
from edgestill.targets import get_target
from edgestill.targets.blocks import Block, Energy, Failure, Trial
from edgestill.targets.fingerprint import DeviceState
from edgestill.targets.measure import Candidate, MeasureConfig, Round, measure
from edgestill.targets.nvml import GpuState
from edgestill.targets.options import TensorRtRtxOptions

MakeOnnx = Callable[..., OnnxModel]
Build = Callable[..., Engine]

QUICK = MeasureConfig(rounds=3, block_seconds=0.0005, min_calls=5, warmup_limit_s=0.02)


@pytest.fixture(scope="module")
def ov(ort: Candidate, built: Build, doubling: OnnxModel) -> Candidate:
    if not get_target("openvino").probe().can_run:
        pytest.skip("openvino cannot run here: pip install 'edgestill[openvino]'")
    return Candidate("ov", built("openvino", doubling), ort.predictions)


@pytest.fixture
def broken(ort: Candidate, tmp_path: Path) -> Candidate:
    folder = shutil.copytree(ort.engine.path, tmp_path / "broken")
    (folder / "model.onnx").write_bytes(b"no model")
    return Candidate("broken", Engine(folder, ""), ort.predictions)


def altered(candidate: Candidate, out: Path, change: Callable[[Any], None]) -> Candidate:
    """The candidate with other predictions than its own."""
    shutil.copytree(candidate.predictions.path, out)
    values = np.load(out / "outputs" / "0.npy")
    change(values)
    np.save(out / "outputs" / "0.npy", values)
    return replace(candidate, predictions=Predictions(out, ""))


def order(rounds: list[Round]) -> list[list[str]]:
    return [[block.candidate for block in round_.blocks] for round_ in rounds]


def test_blocks_are_interleaved_there_and_back(
    ort: Candidate, ov: Candidate, numbers: Dataset
) -> None:
    config = replace(QUICK, batch=2, threads=2)
    rounds = list(measure([ort, ov], numbers, config))
    assert order(rounds) == [["ort", "ov"], ["ov", "ort"], ["ort", "ov"]]
    assert [round_.index for round_ in rounds] == [0, 1, 2]
    assert {(r.batch, r.threads, r.failures) for r in rounds} == {(2, 2, ())}
    started = [block.started for round_ in rounds for block in round_.blocks]
    assert started == sorted(started)
    for round_ in rounds:
        for block in round_.blocks:
            assert len(block.samples_ns) >= config.min_calls
            assert sum(block.samples_ns) >= config.block_seconds * 1e9
            assert block.mismatches == 0
            assert block.warmup_calls >= 10
            assert min(block.load_ns, block.first_call_ns, *block.samples_ns) > 0
            assert block.peak_rss_bytes > 10_000_000


@pytest.mark.parametrize(
    ("batch", "starts"), [(1, [0, 64, 28]), (7, [0, 48, 96]), (130, [0, 20, 40])]
)
def test_each_block_has_a_fresh_process_and_other_samples(
    batch: int, starts: list[int], ort: Candidate, numbers: Dataset, deed: Path
) -> None:
    log = deed.with_name("fed")
    log.unlink(missing_ok=True)
    deed.write_text(
        "import os; file = (here / 'fed').open('a'); "
        "print(os.getpid(), *feeds['x'][:, 0].astype(int), file=file); file.close()"
    )
    blocks = [r.blocks[0] for r in measure([ort], numbers, replace(QUICK, batch=batch))]
    lines = [list(map(int, line.split())) for line in log.read_text().splitlines()]
    processes = [(pid, [fed for _, *fed in of]) for pid, of in groupby(lines, lambda line: line[0])]
    assert len({pid for pid, _ in processes}) == len(processes) == len(blocks)
    assert [calls[0][0] for _, calls in processes] == starts
    feeds = max(1, min(64, 100 // batch))
    for start, block, (_, calls) in zip(starts, blocks, processes, strict=True):
        # The first call, the warm-up and the timed calls each begin with the first feed.
        timed, warmup = len(block.samples_ns), block.warmup_calls - 1
        positions = [0, *range(warmup), *range(timed)]
        expected = [
            [(start + position % feeds * batch + row) % 100 for row in range(batch)]
            for position in positions
        ]
        assert calls == expected


def test_calls_that_do_not_answer_as_predicted_are_counted(
    ort: Candidate, numbers: Dataset, tmp_path: Path
) -> None:
    def shift(values: Any) -> None:
        values += 1

    def spoil_one(values: Any) -> None:
        values[3, 1] = 500

    wrong = altered(ort, tmp_path / "all", shift)
    one = altered(replace(ort, name="one"), tmp_path / "one", spoil_one)
    config = replace(QUICK, rounds=1, min_calls=130)
    (round_,) = measure([wrong, one], numbers, config)
    every, some = round_.blocks
    assert every.mismatches == len(every.samples_ns)
    # 2 x + 1 is 127 at most in the first 64 samples.
    assert every.largest_difference == pytest.approx(1 / 127)
    # Sample 3 is fed in every 64th call.
    assert some.mismatches == (len(some.samples_ns) + 60) // 64
    assert some.largest_difference == pytest.approx((500 + 6) / 500)


def test_a_candidate_that_fails_is_named_and_the_others_go_on(
    ort: Candidate, ov: Candidate, broken: Candidate, numbers: Dataset
) -> None:
    rounds = list(measure([ort, broken, ov], numbers, QUICK))
    assert order(rounds) == [["ort", "ov"], ["ov", "ort"], ["ort", "ov"]]
    ((failure,), *later) = [round_.failures for round_ in rounds]
    assert later == [(), ()]
    assert failure.candidate == "broken"
    file = broken.engine.path / "model.onnx"
    version = metadata.version("onnxruntime")
    assert failure.what == (
        f"{file}: ONNX Runtime {version} cannot load the model (Protobuf parsing failed). "
        "Compile it with the version of ONNX Runtime that runs it"
    )


def test_when_the_last_candidate_fails_its_round_comes_before_the_error(
    ort: Candidate, broken: Candidate, numbers: Dataset, deed: Path
) -> None:
    rounds = measure([ort, broken], numbers, QUICK)
    first = next(rounds)
    assert (order([first]), [f.candidate for f in first.failures]) == ([["ort"]], ["broken"])
    deed.write_text("import os; os.abort()")
    assert next(rounds).failures == (Failure("ort", "onnxruntime crashed (SIGABRT)"),)
    with pytest.raises(DeviceError) as raised:
        next(rounds)
    assert str(raised.value) == "ort: onnxruntime crashed (SIGABRT)"


def test_a_block_that_takes_too_long_is_given_up(
    ort: Candidate, numbers: Dataset, deed: Path
) -> None:
    deed.write_text("import time; time.sleep(600)")
    rounds = measure([ort], numbers, replace(QUICK, time_limit_s=0.5))
    text = "onnxruntime gave no sign of life for 0.5 s and was stopped"
    assert next(rounds).failures == (Failure("ort", text),)


def test_short_calls_are_not_taken_for_hung_whatever_the_limit(
    ort: Candidate, numbers: Dataset
) -> None:
    config = replace(QUICK, rounds=1, block_seconds=0.7, time_limit_s=0.4)
    (round_,) = measure([ort], numbers, config)
    assert not round_.failures and len(round_.blocks) == 1


def test_a_batch_that_a_candidate_does_not_take_is_refused_at_once(
    ort: Candidate, make_onnx: MakeOnnx, build: Build, numbers: Dataset, tmp_path: Path
) -> None:
    x, y = (TensorSpec(name, "float32", (4, 2)) for name in "xy")
    fixed = replace(
        ort, name="fixed", engine=build("onnxruntime", make_onnx([("Neg", "x", "y", {})], [x], [y]))
    )
    with pytest.raises(UsageError) as raised:
        measure([ort, fixed], numbers, replace(QUICK, batch=8))
    assert str(raised.value) == (
        "batch: fixed takes 4 samples at a time, not 8. "
        "Export the model with a free batch size, or measure the one that it has"
    )
    measure([ort, fixed], numbers, replace(QUICK, batch=4))


def test_a_batch_above_the_largest_that_was_compiled_for_is_refused(
    ort: Candidate, doubling: OnnxModel, numbers: Dataset, tmp_path: Path
) -> None:
    target = get_target("tensorrt-rtx")
    if not target.probe().can_compile:
        pytest.skip(f"{target.probe().reason}. {target.probe().fix}")
    options = TensorRtRtxOptions(compute_capability=(8.6,), max_batch=4)
    limited = replace(ort, engine=target.compile(doubling, "fp32", options, tmp_path))
    with pytest.raises(UsageError, match="batch: ort takes at most 4 samples, not 5"):
        measure([limited], numbers, replace(QUICK, batch=5))
    measure([limited], numbers, replace(QUICK, batch=4))


def test_predictions_of_other_data_are_refused(
    ort: Candidate, make_dataset: Callable[..., Dataset]
) -> None:
    other = make_dataset({"x": np.zeros((7, 2), np.float32)})
    with pytest.raises(DataError) as raised:
        measure([ort], other, QUICK)
    assert str(raised.value) == "ort has predictions of 100 samples, the dataset has 7"


OFFLINE = replace(QUICK, mode="offline", rounds=2, batch=8, threads=2)


def test_throughput_is_measured_with_the_best_setting_of_a_search(
    ort: Candidate, ov: Candidate, numbers: Dataset
) -> None:
    first, second = measure([ort, ov], numbers, OFFLINE)
    assert (order([first, second]), second.trials) == ([["ort", "ov"], ["ov", "ort"]], ())
    for name in ("ort", "ov"):
        trials = [trial for trial in first.trials if trial.candidate == name]
        tried = [(trial.streams, trial.batch) for trial in trials]
        assert tried == sorted(tried)
        assert {(1, 1), (1, 2), (2, 1), (2, 2)} <= set(tried)
        best = max(trials, key=lambda trial: trial.per_second)
        blocks = [b for round_ in (first, second) for b in round_.blocks if b.candidate == name]
        assert {(b.batch, b.streams) for b in blocks} == {(best.batch, best.streams)}
        for block in blocks:
            assert len(block.samples_ns) >= best.streams * OFFLINE.min_calls
            assert block.elapsed_ns is not None
            # No stream has more calls in that time than its fastest would leave room for.
            assert block.elapsed_ns >= len(block.samples_ns) / best.streams * min(block.samples_ns)
            assert block.mismatches == 0


def test_a_model_with_a_fixed_batch_is_searched_for_streams_alone(
    ort: Candidate, make_onnx: MakeOnnx, build: Build, numbers: Dataset, tmp_path: Path
) -> None:
    x, y = (TensorSpec(name, "float32", (4, 2)) for name in "xy")
    weights = {"two": np.array(2, np.float32)}
    model = make_onnx([("Mul", "x two", "y", {})], [x], [y], weights)
    fixed = replace(ort, name="fixed", engine=build("onnxruntime", model))
    (round_,) = measure([fixed], numbers, replace(OFFLINE, rounds=1))
    assert [(trial.batch, trial.streams) for trial in round_.trials] == [(4, 1), (4, 2)]


def test_a_setting_that_fails_is_told_and_the_best_of_the_others_is_measured(
    ort: Candidate, numbers: Dataset, deed: Path
) -> None:
    deed.write_text("import os; len(feeds['x']) > 2 and os.abort()")
    (round_,) = measure([ort], numbers, replace(OFFLINE, rounds=1))
    failed = [(trial.batch, trial.failure) for trial in round_.trials if trial.failure]
    assert set(failed) == {(4, "onnxruntime crashed (SIGABRT)")}
    assert (round_.blocks[0].batch in (1, 2), round_.failures) == (True, ())


def test_a_setting_in_which_one_stream_hangs_is_given_up(
    ort: Candidate, numbers: Dataset, deed: Path
) -> None:
    deed.write_text(
        "import threading, time; threading.current_thread().name.endswith('_1') and time.sleep(600)"
    )
    (round_,) = measure([ort], numbers, replace(OFFLINE, rounds=1, batch=1, time_limit_s=1.0))
    text = "onnxruntime gave no sign of life for 1 s and was stopped"
    assert [(t.streams, t.failure) for t in round_.trials] == [(1, ""), (2, text)]
    assert [block.streams for block in round_.blocks] == [1]


def test_a_candidate_that_fails_in_every_setting_has_failed(
    ort: Candidate, broken: Candidate, numbers: Dataset, tmp_path: Path
) -> None:
    def shift(values: Any) -> None:
        values += 1

    wrong = altered(replace(ort, name="wrong"), tmp_path / "wrong", shift)
    first, _ = measure([ort, broken, wrong], numbers, OFFLINE)
    assert order([first]) == [["ort"]]
    found = {failure.candidate: failure.what for failure in first.failures}
    assert found["broken"].partition(": ")[2].startswith("ONNX Runtime")
    assert re.fullmatch(r"\d+ answers were others than expected", found["wrong"])


PACED = replace(QUICK, mode="paced", rounds=2, rate=100.0, min_calls=20)


def test_paced_requests_are_timed_from_their_arrival(ort: Candidate, numbers: Dataset) -> None:
    for round_ in measure([ort], numbers, PACED):
        (block,) = round_.blocks
        assert len(block.samples_ns) == len(block.service_ns) == 20 - block.unserved
        pairs = zip(block.samples_ns, block.service_ns, strict=True)
        assert all(sample >= service > 0 for sample, service in pairs)
        assert (block.elapsed_ns, block.mismatches) == (None, 0)


def test_a_queue_that_grows_is_given_up(ort: Candidate, numbers: Dataset, deed: Path) -> None:
    deed.write_text("import time; time.sleep(0.02)")
    (round_,) = measure([ort], numbers, replace(PACED, rounds=1, rate=500.0, min_calls=200))
    (block,) = round_.blocks
    assert block.unserved > 100
    assert min(block.service_ns) >= 20_000_000
    # The last one that was served had waited for many before it.
    assert block.samples_ns[-1] > 5 * block.service_ns[-1]


naturals, finite = st.integers(0, 2**53), st.floats(allow_nan=False, allow_infinity=False)
states = st.builds(
    DeviceState,
    *(st.none() | finite for _ in range(3)),
    throttled=st.none() | naturals,
    cpu_quota=st.none() | finite,
    quota_throttled_us=st.none() | naturals,
    available_memory_bytes=st.none() | naturals,
    gpu=st.none() | st.builds(GpuState, st.none() | finite, st.none() | finite, st.booleans()),
)
blocks = st.builds(
    Block,
    samples_ns=st.lists(naturals, max_size=5).map(tuple),
    service_ns=st.lists(naturals, max_size=5).map(tuple),
    unserved=naturals,
    elapsed_ns=st.none() | naturals,
    batch=naturals,
    streams=naturals,
    load_ns=naturals,
    first_call_ns=naturals,
    warmup_calls=naturals,
    steady=st.booleans(),
    checked=naturals,
    mismatches=naturals,
    largest_difference=finite,
    peak_rss_bytes=naturals,
    energy=st.none() | st.builds(Energy, st.text(), naturals, naturals, naturals),
    candidate=st.text(),
    started=st.text(),
    before=states,
    after=states,
)
trials = st.builds(Trial, st.text(), naturals, naturals, per_second=finite, failure=st.text())
failures = st.builds(Failure, candidate=st.text(), what=st.text())
rounds = st.builds(
    Round,
    index=naturals,
    started=st.text(),
    batch=naturals,
    threads=naturals,
    blocks=st.lists(blocks, max_size=3).map(tuple),
    failures=st.lists(failures, max_size=2).map(tuple),
    trials=st.lists(trials, max_size=2).map(tuple),
)


@given(rounds)
def test_a_round_survives_being_written(round_: Round) -> None:
    text = round_.to_json()
    assert "\n" not in text
    assert Round.from_json(text) == round_
    assert Round.from_json(text.encode()) == round_


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"index": 0, "blocks": []}'])
def test_what_is_no_round_is_not_read_as_one(text: str) -> None:
    with pytest.raises(ValidationError):
        Round.from_json(text)
