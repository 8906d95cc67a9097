"""Figures of blocks that were measured offline or at a rate, and the gates on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from typing import Any

import numpy
import pytest

from edgestill.stats import percentile
from edgestill.targets.blocks import Failure, Round, Trial, lead_in_of
from edgestill.verify.assess import assess
from edgestill.verify.config import (
    OFFLINE,
    LatencyGate,
    Load,
    MeasureConfig,
    SpeedupGate,
    ThroughputGate,
    measured_batches,
    measured_loads,
    timing,
)
from edgestill.verify.evidence import Evidence, timed_under
from edgestill.verify.loads import longer_blocks_s, offline, paced

Rounds = Callable[..., tuple[Round, ...]]
PACED = Load("paced", 1, 100.0)
TRIALS = (Trial("fp32", 1, 1, 900.0), Trial("fp32", 8, 2, 4000.0), Trial("int8", 1, 1, 2000.0))


@pytest.fixture
def made(evidence: Callable[..., Evidence]) -> Evidence:
    return evidence({"fp32": 100.0})


@pytest.fixture
def loaded(made: Evidence, rounds: Rounds) -> Callable[..., Evidence]:
    """Evidence of fp32 under a load; what is changed has one value for all blocks, or one each."""

    def make(load: Load, number: int = 12, median_us: float = 100.0, **changes: Any) -> Evidence:
        found = []
        for index, round_ in enumerate(rounds({"fp32": median_us}, number=number, calls=50)):
            each = {
                name: value[index] if isinstance(value, list) else value
                for name, value in changes.items()
            }
            blocks = tuple(replace(block, **each) for block in round_.blocks)
            found.append(replace(round_, blocks=blocks, threads=2))
        return replace(made, rounds={**made.rounds, load: tuple(found)})

    return make


# Offline


def test_throughput_offline_counts_all_samples_of_all_streams(loaded: Any) -> None:
    # 50 calls of 8 samples in 5 ms.
    given = loaded(OFFLINE, batch=8, streams=2, elapsed_ns=5_000_000)
    first = replace(given.rounds[OFFLINE][0], trials=TRIALS)
    given = replace(given, rounds={OFFLINE: (first, *given.rounds[OFFLINE][1:])})
    found = offline(given, "fp32", OFFLINE, 0.95)
    assert found is not None
    assert (found.batch, found.streams, found.threads) == (8, 2, 2)
    assert (found.calls, found.blocks) == (600, 12)
    assert found.throughput.value == pytest.approx(80_000)
    assert found.throughput.interval is not None
    assert found.trials == TRIALS[:2]


def test_what_was_not_measured_under_a_load_has_no_figures(loaded: Any, made: Evidence) -> None:
    assert offline(made, "fp32", OFFLINE, 0.95) is None
    assert paced(made, "fp32", PACED, 0.95) is None
    given = loaded(PACED, service_ns=(1,))
    assert offline(given, "fp32", PACED, 0.95) is None
    assert paced(given, "int8", PACED, 0.95) is None


# At a rate


def services(milliseconds: float) -> tuple[int, ...]:
    return (round(milliseconds * 1e6),) * 50


def test_latency_at_a_rate_is_that_of_the_requests(loaded: Any) -> None:
    given = loaded(PACED, service_ns=services(2), median_us=3000)
    found = paced(given, "fp32", PACED, 0.95, [97.5])
    assert found is not None
    assert (found.rate, found.calls, found.blocks, found.threads) == (100.0, 600, 12, 2)
    assert (found.overloaded, found.unserved) == (False, 0)
    assert found.capacity.value == pytest.approx(500)
    assert found.service_ns == 2_000_000
    assert list(found.percentiles_ns) == ["50", "90", "95", "97.5", "99"]
    samples = [block.samples_ns for block in given.blocks("fp32", PACED)]
    assert found.percentiles_ns["95"] == percentile(samples, 95, 0.95)


OVERLOADS = [
    ("half of what can be served", 12, [5.0] * 12, 0, False),
    ("twice what can be served", 12, [20.0] * 12, 9, True),
    ("twice, by short blocks that ended before it showed", 12, [20.0] * 12, 0, True),
    ("about as much", 12, [9.0, 11.5] * 6, 0, None),
    ("half, but a queue was given up", 12, [5.0] * 12, 1, None),
    # Too few blocks for an interval.
    ("half, few blocks", 3, [5.0] * 3, 0, False),
    ("twice, few blocks", 3, [20.0] * 3, 9, True),
    ("twice, few blocks, no queue given up", 3, [20.0] * 3, 0, None),
    ("half, few blocks, a queue given up", 3, [5.0] * 3, 1, None),
]


@pytest.mark.parametrize(
    ("number", "service_ms", "unserved", "overloaded"),
    [case[1:] for case in OVERLOADS],
    ids=[case[0] for case in OVERLOADS],
)
def test_an_overload_is_told_and_never_averaged(
    loaded: Any, number: int, service_ms: Sequence[float], unserved: int, overloaded: bool | None
) -> None:
    given = loaded(
        PACED,
        number=number,
        service_ns=[services(time) for time in service_ms],
        unserved=unserved,
    )
    found = paced(given, "fp32", PACED, 0.95)
    assert found is not None
    assert (found.overloaded, found.unserved) == (overloaded, number * unserved)
    assert bool(found.percentiles_ns) == (overloaded is False)


@pytest.mark.parametrize("busy", [0.8, 0.9])
def test_blocks_are_as_long_as_their_queue_needs_to_grow(loaded: Any, busy: float) -> None:
    """Of exponential service times the 95th percentile is known: ln(20) / (1 - busy) of their mean
    (Gross and Harris, Fundamentals of Queueing Theory, 2.2)."""
    exact = math.log(20) / (1 - busy)
    spread = -numpy.log(1 - (numpy.arange(50) + 0.5) / 50)
    times = tuple(round(ns) for ns in spread * busy * 1e7)
    given = loaded(PACED, service_ns=times)
    found = paced(given, "fp32", PACED, 0.95)
    assert found is not None and (found.overloaded, found.percentiles_ns) == (None, {})
    longer_s = longer_blocks_s(given, "fp32", found)
    assert longer_s is not None
    counted = round(longer_s * 100)
    assert p95_of_blocks(busy, counted) == pytest.approx(exact, rel=0.06)
    assert p95_of_blocks(busy, 50) < 0.9 * exact

    long = loaded(PACED, service_ns=times * 20, samples_ns=times * 20)
    found = paced(long, "fp32", PACED, 0.95)
    assert found is not None and found.overloaded is False and "95" in found.percentiles_ns
    assert longer_blocks_s(long, "fp32", found) is None


def p95_of_blocks(busy: float, counted: int) -> float:
    """In blocks of so many calls that count, which all begin with an empty queue (Lindley 1952)."""
    rng = numpy.random.default_rng(0)
    wait, waits = numpy.zeros(4000), []
    for _ in range(counted + lead_in_of(counted)):
        service = rng.exponential(1.0, 4000)
        waits.append(wait + service)
        wait = numpy.maximum(0.0, wait + service - rng.exponential(1 / busy, 4000))
    return float(numpy.quantile(waits[-counted:], 0.95))


def test_the_speed_at_a_rate_is_that_of_the_calls_not_of_the_queue(loaded: Any) -> None:
    slow_calls = loaded(PACED, service_ns=[services(2)] * 6 + [services(4)] * 6)
    found = paced(slow_calls, "fp32", PACED, 0.95)
    assert found is not None and found.conditions.speed_change is not None
    assert found.conditions.speed_change.block == 6
    long_queue = loaded(
        PACED, service_ns=services(2), samples_ns=[services(3)] * 6 + [services(9)] * 6
    )
    found = paced(long_queue, "fp32", PACED, 0.95)
    assert found is not None and found.conditions.speed_change is None


# Gates

P95 = LatencyGate(at_most=4e-3, rate=100.0)


@pytest.mark.parametrize(
    ("config", "load", "changes", "expected"),
    [
        (
            ThroughputGate(at_least=50_000.0, mode="offline"),
            OFFLINE,
            {"batch": 8, "streams": 2, "elapsed_ns": 5_000_000},
            (
                "PASS",
                "gate offline >= 50000/s",
                "80000/s [80000/s, 80000/s], n = 600 calls of batch 8, 2 streams, 60% inside",
                "",
            ),
        ),
        (
            ThroughputGate(at_least=500.0, mode="offline"),
            OFFLINE,
            {"elapsed_ns": 125_000_000},
            (
                "FAIL",
                "gate offline >= 500/s",
                "400/s [400/s, 400/s], n = 600 calls of batch 1, 1 stream, 20% outside",
                "",
            ),
        ),
        (
            ThroughputGate(at_least=500.0, mode="offline"),
            PACED,
            {"service_ns": services(2)},
            ("INCONCLUSIVE", "gate offline >= 500/s", "not measured", "it was not run here"),
        ),
        (
            P95,
            PACED,
            {"median_us": 3000, "service_ns": services(2)},
            (
                "PASS",
                "p95 <= 4 ms at 100/s (batch 1)",
                "3.14 ms [3.13 ms, 3.14 ms], n = 600 calls, 21% inside",
                "",
            ),
        ),
        (
            P95,
            PACED,
            {"median_us": 5000, "service_ns": services(2)},
            (
                "FAIL",
                "p95 <= 4 ms at 100/s (batch 1)",
                "5.23 ms [5.22 ms, 5.24 ms], n = 600 calls, 30% outside",
                "",
            ),
        ),
        # Nothing that was measured is over the budget, and yet it is broken.
        (
            P95,
            PACED,
            {"median_us": 3000, "service_ns": services(20), "unserved": 5},
            (
                "FAIL",
                "p95 <= 4 ms at 100/s (batch 1)",
                "overloaded: it can serve 50/s [50/s, 50/s], n = 600 calls",
                "",
            ),
        ),
        (
            P95,
            PACED,
            {"median_us": 3000, "service_ns": services(2), "unserved": 5},
            (
                "INCONCLUSIVE",
                "p95 <= 4 ms at 100/s (batch 1)",
                "it can serve about 500/s [500/s, 500/s], n = 600 calls",
                "a rate further from what it can serve, or more rounds (measure.decide_within)",
            ),
        ),
        # In a block that is too short the queue is, too: nothing may pass by it, nor fail.
        (
            P95,
            PACED,
            {"median_us": 3000, "service_ns": services(9)},
            (
                "INCONCLUSIVE",
                "p95 <= 4 ms at 100/s (batch 1)",
                "the queue of a block still grows: it can serve 111/s [111/s, 111/s], "
                "n = 600 calls",
                "blocks of 3.42 s (measure.block), or a rate further from what it can serve",
            ),
        ),
        (
            P95,
            PACED,
            {"median_us": 3000, "service_ns": services(9.99)},
            (
                "INCONCLUSIVE",
                "p95 <= 4 ms at 100/s (batch 1)",
                "the queue of a block still grows: it can serve 100/s [100/s, 100/s], "
                "n = 600 calls",
                "a rate further from what it can serve",
            ),
        ),
        (
            replace(P95, percentile=99.9),
            PACED,
            {"service_ns": services(2)},
            (
                "INCONCLUSIVE",
                "p99.9 <= 4 ms at 100/s (batch 1)",
                "600 calls",
                "p99.9 needs 5989 calls: about 192 rounds, 12 were measured "
                "(measure.decide_within)",
            ),
        ),
        (
            P95,
            OFFLINE,
            {},
            (
                "INCONCLUSIVE",
                "p95 <= 4 ms at 100/s (batch 1)",
                "not measured",
                "it was not run here",
            ),
        ),
    ],
)
def test_gates_under_a_load(
    gate: Callable[..., Any],
    subject: Callable[..., Any],
    loaded: Any,
    config: Any,
    load: Load,
    changes: dict[str, Any],
    expected: tuple[str, ...],
) -> None:
    found = subject({"fp32": 100.0}, of="fp32")
    found = replace(found, evidence=loaded(load, **changes))
    decided = gate(found, config)
    assert astuple(decided)[2:6] == expected
    closed = decided.found == "not measured" or "still grows" in decided.found
    open_ = decided.verdict.value == "INCONCLUSIVE" and not closed
    assert decided.open_at == (str(load) if open_ else "")


GATES = (
    ("latency", LatencyGate(at_most=1.0, batch=2)),
    ("latency", LatencyGate(at_most=1.0, batch=4, rate=10.0)),
    ("latency", LatencyGate(at_most=2.0, batch=4, rate=10.0)),
    ("throughput", ThroughputGate(at_least=1.0, mode="offline")),
    ("speedup", SpeedupGate(at_least=1.0)),
)


def test_each_load_is_measured_once_and_adds_no_batch_of_its_own() -> None:
    assert measured_loads(GATES) == (Load("paced", 4, 10.0), OFFLINE)
    assert measured_batches(MeasureConfig(), GATES) == (1, 2)
    assert [str(load) for load in measured_loads(GATES)] == ["at 10/s batch 4", "offline"]


@pytest.mark.parametrize(
    ("load", "mode", "batch", "rate"),
    [(8, "single", 8, None), (OFFLINE, "offline", 64, None), (PACED, "paced", 1, 100.0)],
)
def test_a_load_says_how_is_timed(load: Any, mode: str, batch: int, rate: float | None) -> None:
    config = timing(MeasureConfig(rounds=5), 3, load)
    assert (config.mode, config.batch, config.rate) == (mode, batch, rate)
    assert (config.rounds, config.threads) == (5, 3)
    # Requests that are few never meet in a queue.
    assert config.min_calls == (50 if mode == "paced" else 10)


def test_a_baseline_is_not_measured_under_a_load(evidence: Callable[..., Evidence]) -> None:
    candidates = evidence({"teacher": 400.0, "fp32": 100.0, "int8": 50.0}).candidates
    assert [c.name for c in timed_under(1, candidates)] == ["teacher", "fp32", "int8"]
    assert [c.name for c in timed_under(PACED, candidates)] == ["fp32", "int8"]


def test_an_assessment_has_the_figures_of_every_load(
    loaded: Any, rules: Callable[..., Any]
) -> None:
    given = loaded(PACED, service_ns=services(2))
    given = replace(given, rounds={**given.rounds, **loaded(OFFLINE, elapsed_ns=5_000_000).rounds})
    gates = (("latency", P95), ("throughput", ThroughputGate(1.0, mode="offline")))
    found = assess(given, rules(*gates), auto=False, shipped=None, runtime="")
    (candidate,) = found.target.candidates
    assert candidate.paced == (paced(given, "fp32", PACED, 0.95),)
    assert candidate.offline == offline(given, "fp32", OFFLINE, 0.95)
    assert [result.verdict.value for result in found.gates] == ["PASS", "PASS"]


def test_what_fails_under_a_load_has_failed(loaded: Any, rules: Callable[..., Any]) -> None:
    given = loaded(PACED, service_ns=services(2))
    crash = Failure("fp32", "onnxruntime crashed (SIGSEGV)")
    rounds = (replace(given.rounds[PACED][0], blocks=(), failures=(crash,)),)
    found = assess(
        replace(given, rounds={PACED: rounds}),
        rules(("latency", P95)),
        auto=False,
        shipped=None,
        runtime="",
    )
    assert found.target.candidates[0].failure == crash.what
    wrong = loaded(PACED, service_ns=services(2), mismatches=2, largest_difference=0.34)
    assert wrong.failures == {
        "fp32": "24 of 600 answers at 100/s were others than in the run that its accuracy was "
        "taken from, by up to 34% of the largest: they depend on the batch, or on the moment"
    }
