"""Comparisons whose truth is known: engines slowed by so much, on a machine that is kept busy."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy
from onnx import helper, numpy_helper

from edgestill.api.profile import synthetic
from edgestill.artifact import Engine, OnnxDescription, OnnxModel, Signature, TensorSpec
from edgestill.digest import digest_folder
from edgestill.measuring import Series, Session, measure_until_decided
from edgestill.onnx_file import write_model
from edgestill.stats import Verdict
from edgestill.targets import TARGETS, get_target
from edgestill.targets.measure import Candidate, Round, measure, predict
from edgestill.targets.measure import MeasureConfig as TimingConfig
from edgestill.verify.between_releases import NEW, OLD, latency_change
from edgestill.verify.comparison import Change
from edgestill.verify.config import Load, MeasureConfig, timing
from edgestill.verify.evidence import Candidate as Answered
from edgestill.verify.evidence import Evidence
from edgestill.verify.latency import summarize

THREADS = 1
NAIVE_CALLS = 20
# What starting and the naive way take comes on top, and a trial is to end within a minute.
MEASURE = MeasureConfig(decide_within=50.0)
ONE_LOOK = MeasureConfig(decide_within=0.0)


@dataclass(frozen=True)
class Kind:
    """Trials of one truth.

    Attributes:
        slower: how much longer the new engine's calls take, as a share.
        budget: how much longer they may take.
        busy: whether another process burns a core, on and off.
        number: of trials, unless told otherwise.
    """

    slower: float
    budget: float
    number: int
    busy: bool = False
    measure: MeasureConfig = MEASURE


KINDS = {
    "aa": Kind(0.0, 0.05, 100),
    "aa-busy": Kind(0.0, 0.05, 100, busy=True),
    "slow10": Kind(0.10, 0.05, 60),
    "slow5": Kind(0.05, 0.03, 60),
    # What CI tries: errors that chance will not make.
    "same": Kind(0.0, 0.50, 10, measure=ONE_LOOK),
    "double": Kind(1.0, 0.25, 10, measure=ONE_LOOK),
}
LONG = ("aa", "aa-busy", "slow10", "slow5")


@dataclass(frozen=True)
class Trial:
    """One comparison.

    Attributes:
        ratio: the time of a call, new over old.
        low: the lower end of its interval, as `high` is the upper one.
        naive_ratio: of the medians of 20 calls each.
        load: processes that wanted to run before it, for each core.
    """

    kind: str
    verdict: Verdict
    ratio: float
    low: float | None
    high: float | None
    noise_floor: float | None
    rounds: int
    looks: int
    seconds: float
    naive_ratio: float
    load: float

    @property
    def naive_verdict(self) -> Verdict:
        kept = self.naive_ratio <= 1.0 + KINDS[self.kind].budget
        return Verdict.PASS if kept else Verdict.FAIL


SLOWED = """
import sys
from pathlib import Path
from time import perf_counter_ns

here = str(Path(__file__).parent)
sys.path.remove(here)  # the real one is what the path gives without this folder
del sys.modules["onnxruntime"]
import onnxruntime
from onnxruntime import InferenceSession


class Session(InferenceSession):
    def __init__(self, file, *arguments, **options):
        super().__init__(file, *arguments, **options)
        told = Path(file).with_name("slower.txt")
        self.factor = 1 + float(told.read_text()) if told.exists() else 0

    def run(self, names, feeds):
        started = perf_counter_ns()
        outputs = super().run(names, feeds)
        until = started + (perf_counter_ns() - started) * self.factor
        while perf_counter_ns() < until:
            pass
        return outputs


onnxruntime.InferenceSession = Session
"""

BURNER = """
import random, time
while True:
    until = time.monotonic() + random.uniform(0.5, 3)
    while time.monotonic() < until:
        pass
    time.sleep(random.uniform(0.5, 3))
"""


def network(folder: Path, layers: int = 22, channels: int = 16, size: int = 32) -> OnnxModel:
    """Convolutions in a row: about 1 ms on one core."""
    rng = numpy.random.default_rng(0)
    nodes, weights = [], []
    for index in range(layers):
        shape = (channels, channels if index else 3, 3, 3)
        kernel = rng.normal(0, 0.1, shape).astype(numpy.float32)
        weights.append(numpy_helper.from_array(kernel, f"kernel{index}"))
        before, after = f"x{index}" if index else "image", f"x{index + 1}"
        nodes.append(
            helper.make_node("Conv", [before, f"kernel{index}"], [f"c{index}"], pads=[1] * 4)
        )
        nodes.append(helper.make_node("Relu", [f"c{index}"], [after]))
    image = TensorSpec("image", "float32", (None, 3, size, size))
    last = TensorSpec(f"x{layers}", "float32", (None, channels, size, size))
    graph = helper.make_graph(nodes, "convolutions", [_value(image)], [_value(last)], weights)
    opset = [helper.make_opsetid("", 18)]
    write_model(helper.make_model(graph, opset_imports=opset, ir_version=10), folder)
    signature = Signature((image,), (last,), last.name)
    return OnnxModel.seal(folder, OnnxDescription(signature, "fp32"))


def _value(spec: TensorSpec) -> object:
    sizes = ["batch" if size is None else size for size in spec.shape]
    kind = helper.np_dtype_to_tensor_dtype(numpy.dtype(spec.dtype))
    return helper.make_tensor_value_info(spec.name, kind, sizes)


@dataclass(frozen=True)
class Found:
    """What a comparison found so far."""

    evidence: Evidence
    change: Change | None

    @property
    def open_at(self) -> tuple[int, ...]:
        open_ = self.change is not None and self.change.verdict is Verdict.INCONCLUSIVE
        return (1,) if open_ else ()


class Bench:
    """The engines of all kinds, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        target = get_target("onnxruntime")
        model = network(self._new("onnx"))
        options = TARGETS["onnxruntime"].options()
        self._engine = target.compile(model, "fp32", options, self._new("engine"))
        self._dataset = synthetic(model.description.signature, folder / "samples")
        self._answers = predict(self._engine, self._dataset, self._new("answers"), threads=THREADS)
        self._old = Candidate(OLD, self._engine, self._answers)

    def run(self, name: str) -> Trial:
        kind = KINDS[name]
        new = Candidate(NEW, self._slower(kind.slower), self._answers)
        load = os.getloadavg()[0] / (os.cpu_count() or 1)
        with burning(kind.busy):
            started = time.monotonic()
            found = self._compared(new, kind)
            seconds = time.monotonic() - started
            naive = self._naive_ratio(new)
        timed = summarize(found.evidence, NEW, 1, THREADS, kind.measure.level, ())
        if found.change is None or found.change.by is None or timed is None:
            raise SystemExit(f"{name}: {found.evidence.failures}")
        slower = found.change.by
        return Trial(
            kind=name,
            verdict=found.change.verdict or Verdict.NOT_RUN,
            ratio=1 + slower.value,
            low=1 + slower.interval.low if slower.interval else None,
            high=1 + slower.interval.high if slower.interval else None,
            noise_floor=timed.noise_floor,
            rounds=timed.blocks,
            looks=timed.looks,
            seconds=seconds,
            naive_ratio=naive,
            load=load,
        )

    def _compared(self, new: Candidate, kind: Kind) -> Found:
        """As `edgestill compare` does it: in turn, until it is decided or time is up."""
        pair, measure = (self._old, new), kind.measure
        answered = tuple(Answered(c.name, c.engine, None, c.predictions) for c in pair)

        def judge(rounds: Mapping[int | Load, tuple[Round, ...]]) -> Found:
            evidence = Evidence("onnxruntime", answered, rounds, measure.rounds)
            change = latency_change(evidence, kind.budget, batch=1, level=measure.level)
            return Found(evidence, change)

        series: dict[int | Load, Series] = {
            1: Series(Session(pair, self._dataset, timing(measure, THREADS, 1)))
        }
        return measure_until_decided(
            series, judge, lambda one: one.measure_on(lambda *_: None), measure.decide_within
        )

    def _naive_ratio(self, new: Candidate) -> float:
        config = TimingConfig(
            rounds=1, threads=THREADS, block_seconds=0.0, min_calls=NAIVE_CALLS, warmup_limit_s=0.0
        )
        (round_,) = measure([self._old, new], self._dataset, config)
        old, slower = (statistics.median(block.samples_ns) for block in round_.blocks)
        return slower / old

    def _slower(self, slower: float) -> Engine:
        if not slower:
            return self._engine
        folder = self._folder / f"slower-{slower:g}"
        if not folder.exists():
            shutil.copytree(self._engine.path, folder)
            (folder / "slower.txt").write_text(str(slower), "utf-8")
        return Engine(folder, digest_folder(folder))

    def _new(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        return folder


@contextmanager
def burning(wanted: bool) -> Iterator[None]:
    """Another process that burns one core, on and off."""
    if not wanted:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", BURNER]) as burner:
        try:
            yield
        finally:
            burner.kill()


@contextmanager
def slowed_runtime(folder: Path) -> Iterator[None]:
    """Processes that are started from now on find the runtime that can be slowed."""
    folder.mkdir()
    (folder / "onnxruntime.py").write_text(SLOWED, "utf-8")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *([before] if before else [])])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
