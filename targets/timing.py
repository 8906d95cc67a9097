"""One block: what a worker process does once, to measure one candidate, before it ends."""

from __future__ import annotations

import gc
import resource
import sys
from time import perf_counter_ns

import numpy

from edgestill.errors import DeviceError
from edgestill.targets import TARGETS
from edgestill.targets.blocks import Timing
from edgestill.targets.checking import Check, tolerance_of
from edgestill.targets.energy import Meter, find_meter
from edgestill.targets.jobs import TimeJob, open_dataset, open_predictions
from edgestill.targets.loop import Alive, warm_up
from edgestill.targets.modes import MODES
from edgestill.targets.samples import Feeds, open_inputs, take

# Prepared before the clock starts: enough to be real data, few enough to stay in memory.
MOST_FEEDS = 64
MOST_FEED_BYTES = 64 << 20


def time_block(job: TimeJob, alive: Alive) -> Timing:
    """Load, warm up, and time calls on real samples in rotation.

    Args:
        alive: called between two calls, so that slow is not taken for hung.
    """
    feeds, references = _prepare(job)
    gc.disable()  # it would fall into some call at random
    start = perf_counter_ns()
    session = job.model.load(job.threads, job.streams)
    load_ns = perf_counter_ns() - start
    start = perf_counter_ns()
    session.run(feeds[0])
    first_call_ns = perf_counter_ns() - start
    warmup_calls, steady = warm_up(session, feeds, job.warmup_limit_ns, alive)
    check = Check(references, tolerance_of(job.model))
    meter = _meter(job)
    before_uj, start = meter.read_uj() if meter else (), perf_counter_ns()
    served = MODES[job.mode](session, feeds, check, job, alive)
    window_ns, after_uj = perf_counter_ns() - start, meter.read_uj() if meter else ()
    for answers in served.answers:
        for position, outputs in answers.items():
            check(position, outputs)
    return Timing(
        samples_ns=tuple(call.end_ns - call.due_ns for call in served.calls),
        service_ns=tuple(call.service_ns for call in served.calls) if job.mode == "paced" else (),
        elapsed_ns=served.elapsed_ns,
        unserved=served.unserved,
        load_ns=load_ns,
        first_call_ns=first_call_ns,
        warmup_calls=warmup_calls + 1,
        steady=steady,
        checked=check.checked,
        mismatches=check.mismatches,
        largest_difference=check.largest_difference,
        peak_rss_bytes=_peak_rss_bytes(),
        energy=meter.used(before_uj, after_uj, window_ns, served.of) if meter else None,
    )


def _meter(job: TimeJob) -> Meter | None:
    try:
        return find_meter(gpu=TARGETS[job.model.runtime].gpu)
    except DeviceError:  # `doctor` says why
        return None


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


def _peak_rss_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
