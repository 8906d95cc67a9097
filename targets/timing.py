"""THE timing loop: every target and every candidate is timed by these lines.

A worker process runs them once, for one block, and ends.
"""

from __future__ import annotations

import gc
import resource
import statistics
import sys
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any

import numpy
from numpy.typing import NDArray

from edgestill.artifact import Engine
from edgestill.targets.base import Session
from edgestill.targets.blocks import Timing
from edgestill.targets.jobs import Model, TimeJob, open_dataset, open_predictions
from edgestill.targets.samples import Feeds, open_inputs, take

Alive = Callable[[], None]

# Prepared before the clock starts: enough to be real data, few enough to stay in memory.
MOST_FEEDS = 64
MOST_FEED_BYTES = 64 << 20

_WINDOW_NS = 2_000_000
_WINDOW_CALLS = 3
_AGREEMENT = 0.05

# How far outputs may lie from the model's own predictions, as a share of the output's largest
# absolute value. Another batch size means other kernels, hence other rounding: in int8 a value on
# the edge between two steps falls to the other side. What is looked for is nonsense.
_TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 5e-2, "int8": 5e-2}


def time_block(job: TimeJob, alive: Alive) -> Timing:
    """Load, warm up, and time calls on real samples in rotation.

    Args:
        alive: called between two calls, so that slow is not taken for hung.
    """
    feeds, references = _prepare(job)
    gc.disable()  # it would fall into some call at random
    start = perf_counter_ns()
    session = job.model.load(job.threads)
    load_ns = perf_counter_ns() - start
    start = perf_counter_ns()
    session.run(feeds[0])
    first_call_ns = perf_counter_ns() - start
    warmup_calls, steady = _warm_up(session, feeds, job.warmup_limit_ns, alive)
    check = _Check(references, _tolerance(job.model))
    samples = _time_calls(session, feeds, check, job, alive)
    return Timing(
        samples_ns=tuple(samples),
        load_ns=load_ns,
        first_call_ns=first_call_ns,
        warmup_calls=warmup_calls + 1,
        steady=steady,
        mismatches=check.mismatches,
        largest_difference=check.largest_difference,
        peak_rss_bytes=_peak_rss_bytes(),
    )


def _time_calls(
    session: Session, feeds: Sequence[Feeds], check: _Check, job: TimeJob, alive: Alive
) -> list[int]:
    """The time of each call, in ns: between the two clock reads lies the call and nothing else."""
    run, clock = session.run, perf_counter_ns
    samples: list[int] = []
    total, position = 0, 0
    while total < job.block_ns or len(samples) < job.min_calls:
        feed = feeds[position]
        before = clock()
        outputs = run(feed)
        after = clock()
        samples.append(after - before)
        total += after - before
        check(position, outputs)
        alive()
        position = (position + 1) % len(feeds)
    return samples


def _warm_up(
    session: Session, feeds: Sequence[Feeds], limit_ns: int, alive: Alive
) -> tuple[int, bool]:
    """Call until the medians of three windows in a row agree; how many calls, and whether they did.

    A window is 2 ms long and three calls at least.
    """
    medians: list[float] = []
    calls, begun = 0, perf_counter_ns()
    while True:
        window: list[int] = []
        opened = perf_counter_ns()
        while len(window) < _WINDOW_CALLS or perf_counter_ns() - opened < _WINDOW_NS:
            before = perf_counter_ns()
            session.run(feeds[calls % len(feeds)])
            window.append(perf_counter_ns() - before)
            calls += 1
            alive()
        medians.append(statistics.median(window))
        last = medians[-3:]
        if len(last) == 3 and max(last) <= min(last) * (1 + _AGREEMENT):
            return calls, True
        if len(last) == 3 and perf_counter_ns() - begun > limit_ns:
            return calls, False


class _Check:
    """Holds outputs against references; cheap where a feed is answered as it was before."""

    def __init__(self, references: Sequence[Feeds], tolerance: float) -> None:
        self.mismatches = 0
        self.largest_difference = 0.0
        self._references = references
        self._tolerance = tolerance
        self._scales = {
            name: max(_largest(reference[name]) for reference in references) or 1.0
            for name in references[0]
        }
        self._accepted: dict[int, Feeds] = {}

    def __call__(self, position: int, outputs: Feeds) -> None:
        accepted = self._accepted.get(position)
        if accepted is not None and _equal(outputs, accepted):
            return
        reference = self._references[position]
        difference = max(
            _difference(outputs[name], reference[name], self._scales[name]) for name in reference
        )
        self.largest_difference = max(self.largest_difference, difference)
        if difference <= self._tolerance:
            self._accepted[position] = outputs
        else:
            self.mismatches += 1


def _equal(outputs: Feeds, accepted: Feeds) -> bool:
    for name, array in accepted.items():
        output = outputs[name]
        if output.shape != array.shape or not (output == array).all():
            return False
    return True


def _difference(output: NDArray[Any], reference: NDArray[Any], scale: float) -> float:
    """The largest absolute difference as a share of `scale`; the largest float, which JSON can
    hold, where shapes differ or NaN is met."""
    if output.shape != reference.shape:
        return sys.float_info.max
    difference = _largest(numpy.subtract(output, reference, dtype=numpy.float64)) / scale
    return difference if numpy.isfinite(difference) else sys.float_info.max


def _largest(array: NDArray[Any]) -> float:
    return float(numpy.abs(array.astype(numpy.float64)).max(initial=0.0))


def _prepare(job: TimeJob) -> tuple[list[Feeds], list[Feeds]]:
    """The feeds, and for each what the model predicted."""
    dataset, predictions = open_dataset(job.dataset), open_predictions(job.predictions)
    inputs = open_inputs(dataset, job.model.signature)
    names = predictions.description.outputs
    outputs = {name: numpy.load(predictions.output_path(name), mmap_mode="r") for name in names}
    count = dataset.description.count
    sizes = (array.nbytes for array in (*inputs.values(), *outputs.values()))
    batch_bytes = max(1, sum(sizes) * job.batch // count)
    number = max(1, min(MOST_FEEDS, count // job.batch, MOST_FEED_BYTES // batch_bytes))
    rows = [
        (job.first + index * job.batch + numpy.arange(job.batch)) % count for index in range(number)
    ]
    return [take(inputs, row) for row in rows], [take(outputs, row) for row in rows]


def _tolerance(model: Model) -> float:
    artifact = model.artifact
    tolerance = _TOLERANCE[artifact.description.precision]
    if isinstance(artifact, Engine):
        computed = artifact.description.options.get("inference_precision", "")
        tolerance = max(tolerance, _TOLERANCE.get(computed, 0.0))
    return tolerance


def _peak_rss_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
