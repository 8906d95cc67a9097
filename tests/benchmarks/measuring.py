"""What our timing adds to a call, and how it agrees with OpenVINO's own benchmark_app.

    python tests/benchmarks/measuring.py --json measuring.json

Four kinds of figures, each with its bound; ends with 1 when one is missed:

- what lies between the two clock reads of the timing loop when a session does nothing;
- how late a call begins that is due at a time of its own;
- what our session adds to a call of its runtime (checks of the feeds, copies of the outputs);
- the median of a convolutional network, by blocks of ours and by `benchmark_app -api sync -nireq 1`
  with the same threads and precision, one after the other in the order A B B A.

It takes about two minutes. A busy machine makes every figure worse.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from typing import Any

import numpy
import onnx
import onnxruntime
import openvino
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgestill.api.profile import synthetic
from edgestill.artifact import Dataset, Engine, OnnxDescription, OnnxModel, Signature, TensorSpec
from edgestill.onnx_file import write_model
from edgestill.targets import TARGETS, get_target
from edgestill.targets.base import Session
from edgestill.targets.fingerprint import Fingerprint
from edgestill.targets.loop import back_to_back, time_calls
from edgestill.targets.measure import Candidate, MeasureConfig, measure, predict
from edgestill.targets.modes import arrivals_ns, arriving

MOST_ADDED_NS = 10_000
MOST_APART = 0.02
SHORTEST_CALL_NS = 5_000_000
CALLS = 3000

Feeds = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Figure:
    """A value and its bound; `detail` is what it comes from."""

    name: str
    value: float
    bound: float
    unit: str
    detail: str

    @property
    def kept(self) -> bool:
        return abs(self.value) <= self.bound


class Idle:
    """A session that does nothing."""

    signature = Signature((), (), "")

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Feeds:
        return {}

    def another(self) -> Session:
        return self

    def close(self) -> None:
        pass


def added_by_the_loop() -> Figure:
    """The median time of a call of the idle session, as the loop measures it."""
    calls = time_calls(Idle(), [{}], back_to_back(0, CALLS), lambda *_: None, lambda: None)
    median = statistics.median(call.service_ns for call in calls)
    return Figure("the loop", median / 1e3, MOST_ADDED_NS / 1e3, "µs", f"{CALLS} calls")


def late_for_an_arrival() -> Figure:
    """How long after it was due a call of the idle session begins, where calls come at a rate."""
    dues = arrivals_ns(rate=1000.0, number=500, seed=0) + perf_counter_ns()
    calls = time_calls(Idle(), [{}], arriving(dues), lambda *_: None, lambda: None)
    median = statistics.median(call.start_ns - call.due_ns for call in calls)
    detail = f"{len(calls)} calls at 1000/s"
    return Figure("late for an arrival", median / 1e3, MOST_ADDED_NS / 1e3, "µs", detail)


def added_by_the_session(name: str, engine: Engine, feeds: Feeds) -> Figure:
    """Our session's median above that of the bare runtime, in turns of 100 calls."""
    session, bare = get_target(name).load(engine, threads=1), BARE[name](engine, feeds)
    ours: list[int] = []
    theirs: list[int] = []
    for _ in range(CALLS // 100):
        ours += clocked(lambda: session.run(feeds))
        theirs += clocked(bare)
    medians = statistics.median(ours), statistics.median(theirs)
    detail = f"{medians[0] / 1e3:.1f} µs of ours, {medians[1] / 1e3:.1f} µs of the bare runtime"
    added = (medians[0] - medians[1]) / 1e3
    return Figure(f"the session of {name}", added, MOST_ADDED_NS / 1e3, "µs", detail)


def clocked(call: Callable[[], Any]) -> list[int]:
    samples = []
    for _ in range(100):
        before = perf_counter_ns()
        call()
        samples.append(perf_counter_ns() - before)
    return samples


def bare_onnxruntime(engine: Engine, feeds: Feeds) -> Callable[[], Any]:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 3
    file = str(engine.path / engine.description.file)
    session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda: session.run(names, feeds)


def bare_openvino(engine: Engine, feeds: Feeds) -> Callable[[], Any]:
    core = openvino.Core()
    settings = {"NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": "1"}
    compiled = core.compile_model(engine.path / engine.description.file, "CPU", settings)
    request = compiled.create_infer_request()
    (array,) = feeds.values()
    request.set_input_tensor(0, openvino.Tensor(array, shared_memory=True))
    return lambda: request.infer()


BARE = {"onnxruntime": bare_onnxruntime, "openvino": bare_openvino}


def apart_from_benchmark_app(folder: Path, pairs: int, seconds: float, threads: int) -> Figure:
    """How far our median lies from benchmark_app's: the median of the ratios of pairs, less 1."""
    engine, dataset = compiled("openvino", convolutional(), folder)
    (folder / "answers").mkdir()
    answers = predict(engine, dataset, folder / "answers", threads=threads, batch=1)
    candidate = Candidate("network", engine, answers)
    config = MeasureConfig(rounds=1, threads=threads, block_seconds=seconds)

    def ours_ns() -> float:
        (round_,) = measure([candidate], dataset, config)
        return statistics.median(round_.blocks[0].samples_ns)

    calls = max(20, round(seconds * 1e9 / ours_ns()))
    ratios, found = [], []
    for pair in range(pairs):
        both = [ours_ns, lambda: benchmark_app_ns(engine, calls, threads)]
        order = both if pair % 2 == 0 else both[::-1]
        times = {call: call() for call in order}
        ours, theirs = (times[call] for call in both)
        ratios.append(ours / theirs)
        found.append(ours)
        print(f"  {ours / 1e6:8.3f} ms  {theirs / 1e6:8.3f} ms  {ours / theirs:6.3f}", flush=True)
    if min(found) < SHORTEST_CALL_NS:
        raise SystemExit(f"the network takes {min(found) / 1e6:.1f} ms, it should take 5 or more")
    detail = (
        f"{statistics.median(found) / 1e6:.2f} ms a call, {threads} threads, {pairs} pairs of "
        f"{calls} calls, ratios {min(ratios):.3f} to {max(ratios):.3f}"
    )
    value = 100 * (statistics.median(ratios) - 1)
    return Figure("ours from benchmark_app's", value, 100 * MOST_APART, "%", detail)


def benchmark_app_ns(engine: Engine, calls: int, threads: int) -> float:
    """The median of a call by OpenVINO's tool."""
    command = [
        sys.executable,
        str(Path(sysconfig.get_path("scripts")) / "benchmark_app"),
        *("-m", str(engine.path / engine.description.file)),
        *("-d", "CPU", "-api", "sync", "-nireq", "1", "-hint", "none", "-nstreams", "1"),
        *("-nthreads", str(threads), "-infer_precision", "f32", "-ip", "f32"),
        *("-niter", str(calls)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    found = re.search(r"Median:\s+([\d.]+) ms", done.stdout)
    if found is None:
        raise SystemExit(f"benchmark_app gave no median:\n{done.stdout[-2000:]}{done.stderr}")
    return float(found[1]) * 1e6


def doubling() -> tuple[onnx.ModelProto, Signature]:
    """`y = 2 x` of two numbers: as little work as a model can have."""
    x, y = (TensorSpec(name, "float32", (1, 2)) for name in "xy")
    weights = {"two": numpy.array(2, numpy.float32)}
    return network([helper.make_node("Mul", ["x", "two"], ["y"])], weights, x, y)


def convolutional() -> tuple[onnx.ModelProto, Signature]:
    """A classifier of images of 64 x 64: seven convolutions of 3 x 3 to 64 channels, 0.9 GMAC.

    What goes in and out is small, as with classifiers: our sessions copy outputs, which are their
    caller's to keep, and benchmark_app leaves them where they are and feeds one image again and
    again.
    """
    x = TensorSpec("x", "float32", (1, 3, 64, 64))
    y = TensorSpec("y", "float32", (1, 64, 1, 1))
    rng = numpy.random.default_rng(0)
    nodes, weights, last, channels = [], {}, "x", 3
    for layer in range(7):
        kernel = rng.normal(0, 0.04, (64, channels, 3, 3)).astype(numpy.float32)
        weights[f"w{layer}"] = kernel
        inputs = [last, f"w{layer}"]
        nodes.append(helper.make_node("Conv", inputs, [f"c{layer}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        last, channels = f"r{layer}", 64
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["y"]))
    return network(nodes, weights, x, y)


def network(
    nodes: list[Any], weights: Mapping[str, NDArray[Any]], x: TensorSpec, y: TensorSpec
) -> tuple[onnx.ModelProto, Signature]:
    values = [
        helper.make_tensor_value_info(spec.name, onnx.TensorProto.FLOAT, spec.shape)
        for spec in (x, y)
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "graph", values[:1], values[1:], tensors)
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    return model, Signature((x,), (y,), "y")


def compiled(
    target: str, made: tuple[onnx.ModelProto, Signature], folder: Path
) -> tuple[Engine, Dataset]:
    """An engine of a model, and samples that it can be fed."""
    model, signature = made
    for name in ("onnx", "engine"):
        (folder / name).mkdir(parents=True)
    write_model(model, folder / "onnx")
    source = OnnxModel.seal(folder / "onnx", OnnxDescription(signature, "fp32", None))
    options = TARGETS[target].options()
    engine = get_target(target).compile(source, "fp32", options, folder / "engine")
    return engine, synthetic(signature, folder / "samples")


def figures(folder: Path, pairs: int, seconds: float, threads: int) -> list[Figure]:
    found = [added_by_the_loop(), late_for_an_arrival()]
    feeds = {"x": numpy.ones((1, 2), numpy.float32)}
    for name in BARE:
        engine, _ = compiled(name, doubling(), folder / name)
        found.append(added_by_the_session(name, engine, feeds))
    found.append(apart_from_benchmark_app(folder / "network", pairs, seconds, threads))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pairs", type=int, default=20, help="of blocks and benchmark_app runs")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each of them")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="edgestill-") as folder:
        found = figures(Path(folder), arguments.pairs, arguments.seconds, arguments.threads)
    machine = f"{Fingerprint.read().name}, OpenVINO {openvino.__version__.split('-')[0]}"
    print(machine)
    for figure in found:
        kept = "kept" if figure.kept else "MISSED"
        value, bound = f"{figure.value:+8.2f} {figure.unit:<2}", f"<= {figure.bound:<4g}"
        print(f"{figure.name:<28} {value} {bound} {kept:<7}{figure.detail}")
    if arguments.json:
        rows = [{**asdict(figure), "kept": figure.kept} for figure in found]
        arguments.json.write_text(json.dumps({"machine": machine, "figures": rows}, indent=2))
    sys.exit(not all(figure.kept for figure in found))


if __name__ == "__main__":
    main()
