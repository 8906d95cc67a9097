"""How often a comparison of two engines is right: a known truth, decided again and again.

    python tests/benchmarks/verdicts.py --results build/verdicts.jsonl

A trial is one comparison, as `edgestill compare` makes it: blocks in turn, more of them at fixed
looks until the budget is decided. The engines are one and the same, a convolutional network of
about 1 ms in ONNX Runtime; where one has to be slower, its calls are followed by a busy loop of
that share of their time. In `aa-busy` another process burns one core, on and off.
Beside it stands the naive way: 20 calls of each in a process of its own, medians compared.

Each trial is a line of the results, so a run that was stopped goes on; all trials take an hour or
two. Prints a table of the trials there are, and ends with 1 when a bound is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy
from onnx import helper, numpy_helper

from edgestill.api.profile import synthetic
from edgestill.artifact import Engine, OnnxDescription, OnnxModel, Signature, TensorSpec
from edgestill.digest import digest_folder
from edgestill.onnx_file import write_model
from edgestill.stats import Verdict
from edgestill.targets import TARGETS, get_target
from edgestill.targets.fingerprint import Fingerprint
from edgestill.targets.measure import Candidate, measure, predict
from edgestill.targets.measure import MeasureConfig as TimingConfig
from edgestill.verify.config import MeasureConfig
from edgestill.verify.regression import Regression, measure_regression

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


@dataclass(frozen=True)
class Bound:
    """What the trials of some kinds together have to keep."""

    name: str
    kinds: tuple[str, ...]
    value: Callable[[Sequence[Trial]], float]
    at_most: float | None = None
    at_least: float | None = None

    def kept(self, value: float) -> bool:
        below = self.at_most is None or value <= self.at_most
        return below and (self.at_least is None or value >= self.at_least)


def share(*verdicts: Verdict) -> Callable[[Sequence[Trial]], float]:
    return lambda trials: sum(trial.verdict in verdicts for trial in trials) / len(trials)


BOUNDS = (
    Bound("false FAIL, A/A at 5%", ("aa", "aa-busy"), share(Verdict.FAIL), at_most=0.01),
    Bound("decided, A/A at 5%", ("aa", "aa-busy"), share(Verdict.PASS, Verdict.FAIL), at_least=0.5),
    Bound("FAIL, 10% slower at 5%", ("slow10",), share(Verdict.FAIL), at_least=0.95),
    Bound("false PASS, 10% slower at 5%", ("slow10",), share(Verdict.PASS), at_most=0.0),
    Bound("false PASS, 5% slower at 3%", ("slow5",), share(Verdict.PASS), at_most=1 / 60),
    Bound("false FAIL, A/A at 50%", ("same",), share(Verdict.FAIL), at_most=0.0),
    Bound("false PASS, twice as slow at 25%", ("double",), share(Verdict.PASS), at_most=0.0),
)

# A runtime whose calls are followed by a busy loop of a share of their own time.
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
        self._old = Candidate("old", self._engine, self._answers)

    def run(self, name: str) -> Trial:
        kind = KINDS[name]
        new = Candidate("new", self._slower(kind.slower), self._answers)
        load = os.getloadavg()[0] / (os.cpu_count() or 1)
        with burning(kind.busy):
            started = time.monotonic()
            rule = Regression(kind.budget)
            found = measure_regression(
                self._old, new, self._dataset, rule, kind.measure, THREADS, lambda *_: None
            )
            seconds = time.monotonic() - started
            naive = self._naive_ratio(new)
        ratio = found.time_ratio
        if ratio is None:
            raise SystemExit(f"{name}: {found.advice}")
        return Trial(
            kind=name,
            verdict=found.verdict,
            ratio=ratio.value,
            low=ratio.interval.low if ratio.interval else None,
            high=ratio.interval.high if ratio.interval else None,
            noise_floor=found.noise_floor,
            rounds=found.rounds,
            looks=found.looks,
            seconds=seconds,
            naive_ratio=naive,
            load=load,
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


def read_trials(results: Path) -> list[Trial]:
    if not results.exists():
        return []
    lines = map(json.loads, results.read_text("utf-8").splitlines())
    return [Trial(**{**line, "verdict": Verdict(line["verdict"])}) for line in lines]


def missing(kinds: Sequence[str], trials: int | None, done: Sequence[Trial]) -> list[str]:
    """The trials that are still to be made, in a random order: a busy hour weighs on all kinds."""
    left = []
    for name in kinds:
        wanted = KINDS[name].number if trials is None else trials
        left += [name] * max(0, wanted - sum(trial.kind == name for trial in done))
    random.Random(0).shuffle(left)
    return left


def table(trials: Sequence[Trial]) -> list[str]:
    lines = [
        f"{'kind':<9} {'slower':>6} {'budget':>6} {'trials':>6}   {'PASS FAIL open':<15} "
        f"{'naive PASS FAIL':<16} {'ratio':>6} {'rounds':>6} {'seconds':>14} "
        f"{'noise floor':>12} {'load':>5}"
    ]
    for name, kind in KINDS.items():
        of_kind = [trial for trial in trials if trial.kind == name]
        if not of_kind:
            continue
        counts = {v: sum(trial.verdict is v for trial in of_kind) for v in Verdict}
        naive = {v: sum(trial.naive_verdict is v for trial in of_kind) for v in Verdict}
        seconds = [trial.seconds for trial in of_kind]
        floors = [trial.noise_floor for trial in of_kind if trial.noise_floor is not None]
        lines.append(
            f"{name:<9} {kind.slower:>6.0%} {kind.budget:>6.0%} {len(of_kind):>6}   "
            f"{counts[Verdict.PASS]:>4} {counts[Verdict.FAIL]:>4} "
            f"{counts[Verdict.INCONCLUSIVE]:>4}  "
            f"{naive[Verdict.PASS]:>10} {naive[Verdict.FAIL]:>4}  "
            f"{statistics.median(trial.ratio for trial in of_kind):>6.3f} "
            f"{statistics.median(trial.rounds for trial in of_kind):>6g} "
            f"{statistics.median(seconds):>5.1f}, max {max(seconds):>3.0f} "
            f"{statistics.median(floors):>12.1%} "
            f"{statistics.median(trial.load for trial in of_kind):>5.1f}"
        )
    return lines


def bounds(trials: Sequence[Trial]) -> Iterator[tuple[str, bool]]:
    """Each bound on kinds of which there are trials, in words, and whether it was kept."""
    for bound in BOUNDS:
        concerned = [trial for trial in trials if trial.kind in bound.kinds]
        if not concerned:
            continue
        value = bound.value(concerned)
        limit = f"<= {bound.at_most:.1%}" if bound.at_most is not None else ""
        limit = f">= {bound.at_least:.1%}" if bound.at_least is not None else limit
        kept = bound.kept(value)
        words = "kept" if kept else "MISSED"
        yield f"{bound.name:<34} {value:>6.1%} {limit:<9} {words:<7} {len(concerned)} trials", kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("build/verdicts.jsonl"))
    parser.add_argument("--kind", action="append", choices=KINDS, help="default: the long ones")
    parser.add_argument("--trials", type=int, help="of each kind; 0 prints what there is")
    arguments = parser.parse_args()
    kinds = arguments.kind or LONG
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    left = missing(kinds, arguments.trials, read_trials(arguments.results))
    with TemporaryDirectory(prefix="edgestill-bench-") as name:
        folder = Path(name)
        with slowed_runtime(folder / "runtime"):
            bench = Bench(folder) if left else None
            for number, kind in enumerate(left):
                assert bench is not None
                trial = bench.run(kind)
                with arguments.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(trial)) + "\n")
                print(
                    f"{number + 1}/{len(left)} {kind}: {trial.verdict}, ratio {trial.ratio:.3f}, "
                    f"{trial.rounds} rounds, {trial.seconds:.0f} s, "
                    f"naive {trial.naive_verdict}, {trial.naive_ratio:.3f}",
                    flush=True,
                )
    done = [trial for trial in read_trials(arguments.results) if trial.kind in kinds]
    machine = Fingerprint.read()
    print(f"{machine.cpu}, {machine.cores} cores, Python {machine.python}")
    print("\n".join(table(done)))
    decided = list(bounds(done))
    print("\n".join(words for words, _ in decided))
    raise SystemExit(0 if all(kept for _, kept in decided) else 1)


if __name__ == "__main__":
    main()
