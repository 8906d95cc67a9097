"""What is said of throughput offline and of latency at a rate, in a report and in a profile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgestill.report import targets
from edgestill.report.loads import paced_latencies, throughputs
from edgestill.report.model import Report
from edgestill.report.terminal import render_figures
from edgestill.stats import Estimate, Interval
from edgestill.targets.blocks import Trial
from edgestill.verify.results import Conditions, OfflineResult, PacedResult


def estimate(value: float, low: float, high: float, count: int = 600) -> Estimate:
    return Estimate(value, Interval(low, high, 0.95), count)


OFFLINE = OfflineResult(
    batch=8,
    streams=2,
    threads=2,
    throughput=estimate(51_234.5, 50_000, 52_000),
    trials=(
        Trial("int8", 1, 1, 9000.0),
        Trial("int8", 8, 1, 30_000.0),
        Trial("int8", 8, 2, 51_000.0),
        Trial("int8", 16, 2, 0.0, "onnxruntime crashed (SIGKILL)"),
    ),
    calls=1200,
    blocks=12,
    steady=1.0,
    memory_bytes=83_000_000,
)
PACED = PacedResult(
    batch=1,
    threads=2,
    rate=100.0,
    capacity=estimate(400, 390, 410),
    overloaded=False,
    percentiles_ns={
        "50": estimate(2.5e6, 2.4e6, 2.6e6),
        "95": estimate(6e6, 5.5e6, 6.5e6),
    },
    service_ns=2.4e6,
    calls=600,
    blocks=12,
    steady=1.0,
    unserved=0,
)
OVERLOADED = replace(PACED, rate=1000.0, overloaded=True, percentiles_ns={}, calls=60, unserved=540)
NOT_CERTAIN = replace(PACED, rate=395.0, overloaded=None, percentiles_ns={}, unserved=3)

LINES = [
    (
        {"offline": OFFLINE},
        [
            "int8 offline: 51234/s [50000, 52000] at batch 8 in 2 streams, n = 1,200 calls. Tried "
            "were, in samples/s by batch, in 1 stream 1: 9000, 8: 30000; in 2 streams 8: 51000, "
            "16: failed (onnxruntime crashed (SIGKILL))."
        ],
    ),
    (
        {"paced": (PACED,)},
        [
            "int8 at 100/s: p50 2.5 ms [2.4, 2.6], p95 6 ms [5.5, 6.5], busy 25% of the time, "
            "n = 600 requests."
        ],
    ),
    (
        {"paced": (replace(PACED, percentiles_ns={}, blocks=3, steady=0.5),)},
        [
            "int8 at 100/s: busy 25% of the time, n = 600 requests.",
            "int8 at 100/s: 3 blocks; an interval needs 12.",
            "int8 at 100/s: the warm-up settled in 50% of 3 blocks only.",
        ],
    ),
    (
        {"paced": (replace(OVERLOADED, conditions=Conditions(load=9.0)),)},
        [
            "int8 at 1000/s: overloaded, 1000/s come and 400/s [390, 410] can be served: the queue "
            "grows without end, so no latency is typical.",
            "The machine was busy in 1 of 4 measurements (int8 at 1000/s), 9.0 processes for each "
            "of its cores.",
        ],
    ),
    (
        {"paced": (NOT_CERTAIN, replace(NOT_CERTAIN, unserved=0))},
        [
            "int8 at 395/s: 395/s come, 400/s [390, 410] can be served, and 3 were given up: "
            "whether the queue grows without end is not certain, so no latency is given.",
            "int8 at 395/s: 395/s come, 400/s [390, 410] can be served: "
            "whether the queue grows without end is not certain, so no latency is given.",
        ],
    ),
]


@pytest.mark.parametrize(("changes", "lines"), LINES)
def test_a_load_has_its_line_with_the_target(
    passing: Report, changes: dict[str, OfflineResult | tuple[PacedResult, ...]], lines: list[str]
) -> None:
    target = passing.targets[0]
    fp32, int8 = target.candidates
    changed = replace(target, candidates=(fp32, replace(int8, **changes)))  # type: ignore[arg-type]
    (section, *_) = targets.sections(replace(passing, targets=(changed,)))
    (plain, *_) = targets.sections(passing)
    assert section.lines == (*plain.lines, *lines)


def test_a_table_of_throughput_says_how_it_was_reached() -> None:
    section = throughputs([("int8", OFFLINE)])
    (row,) = section.rows
    cells = [(cell.text, cell.basis) for cell in row]
    assert cells == [
        ("int8", ""),
        ("51234", "[50000, 52000]"),
        ("8", ""),
        ("2", "of 2 threads"),
        ("83 MB", ""),
        ("1,200", "12 blocks"),
    ]
    assert section.lines[0].startswith("int8: Tried were, in samples/s by batch, in 1 stream 1: ")


def test_a_table_of_latency_at_a_rate_has_none_where_the_queue_grows() -> None:
    section = paced_latencies([("a", PACED), ("b", OVERLOADED), ("c", NOT_CERTAIN)])
    titles = [column.title for column in section.columns]
    assert titles[1:4] == ["p50", "p95", "p99"]
    fine, overloaded, open_ = ([(c.text, c.basis) for c in row[1:4]] for row in section.rows)
    assert fine == [("2.5 ms", "[2.4, 2.6]"), ("6 ms", "[5.5, 6.5]"), ("n/a", "not reported")]
    assert overloaded == [("n/a", "overloaded")] * 3
    assert open_ == [("n/a", "not certain")] * 3
    assert [row[titles.index("busy")].text for row in section.rows] == ["25%", "100%", "99%"]
    assert [line.partition(":")[0] for line in section.lines] == ["b", "c"]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_tables_of_loads_fit(width: int) -> None:
    for section in (throughputs([("int8", OFFLINE)]), paced_latencies([("int8", PACED)])):
        text = render_figures("cpu", section, width=width)
        assert max(len(line) for line in text.splitlines()) <= width
