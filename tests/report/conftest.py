"""Reports as a run or a verification would give them."""

# ruff: noqa: E501  rows of a table read best as rows

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgestill.artifact import LayerError
from edgestill.departures.result import Departure
from edgestill.errors import ExitCode
from edgestill.report.model import (
    FORMAT,
    Budget,
    ModelSummary,
    QuantizedModel,
    Report,
    StepSummary,
)
from edgestill.stats import Estimate, Interval, Verdict
from edgestill.targets.blocks import Trial
from edgestill.verdict import Decision
from edgestill.verify.results import (
    MOST_FLIPS,
    BlockResult,
    CandidateResult,
    Changes,
    ClassDrop,
    Conditions,
    EnergyResult,
    Flip,
    GateResult,
    Histogram,
    HopResult,
    LatencyResult,
    OfflineResult,
    PacedResult,
    SpeedChange,
    TargetResult,
)


def estimate(value: float, low: float, high: float, count: int) -> Estimate:
    return Estimate(value, Interval(low, high, 0.95), count)


P95 = Decision.of("ns", estimate(66_100.0, 60_600.0, 77_100.0, 5430), at_most=5e6)


def latency(p50_ns: float, calls: int = 5430) -> LatencyResult:
    return LatencyResult(
        batch=1,
        threads=2,
        calls=calls,
        blocks=12,
        median_ns=p50_ns,
        percentiles_ns={
            "50": estimate(p50_ns, p50_ns * 0.98, p50_ns * 1.03, calls),
            "90": estimate(p50_ns * 1.1, p50_ns * 1.05, p50_ns * 1.2, calls),
            "95": estimate(p50_ns * 1.2, p50_ns * 1.1, p50_ns * 1.4, calls),
            "99": estimate(p50_ns * 1.5, p50_ns * 1.3, p50_ns * 1.9, calls),
        },
        throughput=estimate(1e9 / p50_ns, 0.9e9 / p50_ns, 1.1e9 / p50_ns, calls),
        steady=1.0,
        mismatches=0,
        first_load_ns=31_000_000,
        later_load_ns=12_400_000,
        memory_bytes=83_000_000,
        measured_at="2026-11-20T10:00:00+00:00",
        histogram=Histogram(p50_ns * 0.9, p50_ns * 2, (calls // 2, calls // 4, calls // 4)),
        series=tuple(
            BlockResult(
                started=f"2026-11-20T10:00:{5 * index:02}.000+00:00",
                calls=calls // 12,
                p10_ns=p50_ns * 0.95,
                median_ns=p50_ns * (1 + index / 100),
                p90_ns=p50_ns * 1.1,
                steady=index != 3,
                load=0.4,
                frequency_mhz=2400.0,
                temperature_c=51.0,
            )
            for index in range(12)
        ),
    )


@pytest.fixture
def openvino() -> TargetResult:
    return TargetResult(
        target="openvino",
        runtime="openvino 2026.4.1",
        verify="here",
        candidates=(
            CandidateResult("fp32", "a" * 64, 110_300, 0.9667, None, 0.9604, estimate(8.1, 7.9, 8.3, 12), latency(139_200), test_interval=Interval(0.943, 0.973, 0.95)),
            CandidateResult("int8", "b" * 64, 41_200, 0.9611, estimate(0.0056, -0.0061, 0.0173, 180), 0.9597, estimate(20.4, 19.8, 21.1, 12), latency(55_100), test_interval=Interval(0.943, 0.973, 0.95)),
        ),
        baseline=CandidateResult("teacher", "c" * 64, 1_730_000, 0.9833, None, 0.9791, None, latency(1_124_000), test_interval=Interval(0.966, 0.988, 0.95)),
        shipped=("int8",),
        would_choose=None,
        reasons={"int8": "2.53x the speed of fp32 [2.49, 2.58]", "fp32": "int8 is 2.53x as fast"},
    )  # fmt: skip


@pytest.fixture
def passing(openvino: TargetResult) -> Report:
    return Report(
        format=FORMAT,
        kind="run",
        name="digits",
        task="classification",
        metric="accuracy",
        bigger_is_better=True,
        verdict=Verdict.PASS,
        exit_code=ExitCode.PASSED,
        created="2026-11-20T10:01:00+00:00",
        edgestill="0.1.0",
        seed=7,
        threads=2,
        splits={"train": 719, "calibration": 180, "validation": 180, "test": 718},
        evaluation="e" * 64,
        models=(
            ModelSummary("teacher", "models.py:teacher", "trained", 421_642, 1_700_000, 20, 17, 0.9833, 0.9778),
            ModelSummary("student", "models.py:student", "distilled", 26_154, 106_000, 30, 29, 0.9667, 0.9611),
        ),
        hops=(
            HopResult("teacher torch", None, 0.9791, None, None, None, True),
            HopResult("student torch", "teacher torch", 0.9604, estimate(0.0187, 0.0070, 0.0304, 718), 0.9721, 8.31, True),
            HopResult("teacher onnx", "teacher torch", 0.9791, estimate(0.0, -0.0053, 0.0053, 718), 1.0, 3.1e-6),
            HopResult("student onnx", "student torch", 0.9604, estimate(0.0, -0.0053, 0.0053, 718), 1.0, 2.2e-6, True),
            HopResult("int8 cpu onnx", "student onnx", 0.9597, estimate(0.0007, -0.0050, 0.0064, 718), 0.9958, 0.71, True),
            HopResult("openvino int8", "int8 cpu onnx", 0.9597, estimate(0.0, -0.0053, 0.0053, 718), 0.9986, 0.21, True),
        ),
        targets=(openvino,),
        gates=(
            GateResult("accuracy", "openvino int8", Verdict.PASS, "accuracy drop vs teacher <= 3.00pp", "1.94pp [0.72pp, 2.99pp], n = 718 samples"),
            GateResult("latency", "openvino int8", Verdict.PASS, "p95 <= 5 ms (batch 1)", "66.1 µs [60.6 µs, 77.1 µs], n = 5430 calls", decision=P95),
            GateResult("size", "openvino int8", Verdict.PASS, "size <= 200 kB", "41.2 kB"),
        ),
        steps=(
            StepSummary("data", True, 0.21),
            StepSummary("teacher", True, 7.4),
            StepSummary("student", False, 11.2),
            StepSummary("measure openvino", False, 4.3),
        ),
        device={"cpu": "Some CPU @ 2 GHz", "isa": ["avx2", "avx512_vnni"], "gpu": None, "cores": 2},
        versions={"torch": "2.13.0", "openvino": "2026.4.1"},
        quantized=(
            QuantizedModel(
                "cpu",
                (
                    LayerError("body.0.0", "Conv", 0.012),
                    LayerError("body.1.0", "Conv", 0.03),
                    LayerError("head", "Gemm", 0.024),
                ),
            ),
        ),
        budgets=(
            Budget("accuracy", at_most=0.03, versus="teacher"),
            Budget("latency", at_most=0.005, percentile=95.0, batch=1),
            Budget("size", at_most=200_000.0),
        ),
        notes=("the teacher came trained and may have seen the validation data",),
    )  # fmt: skip


def changes(lost: int, won: int) -> Changes:
    """Of digits against their teacher: some samples of two classes are lost."""
    flips = tuple(Flip(17 * n, f"{n:016x}", "3", "3", "5") for n in range(min(lost, MOST_FLIPS)))
    drops = (
        ClassDrop("3", 1.0, 0.83, estimate(0.17, 0.02, 0.36, 70)),
        ClassDrop("8", 0.97, 0.95, estimate(0.02, -0.09, 0.14, 63)),
    )
    return Changes("teacher", lost, won, 0.0066, flips, drops, 10)


@pytest.fixture
def loaded(passing: Report) -> Report:
    """With all that may be known: loads, losses, a layer that departs, a disturbed measurement."""
    (target,) = passing.targets
    fp32, int8 = target.candidates
    trials = tuple(
        Trial("int8", batch, streams, 9000.0 * batch**0.5 * streams**0.8)
        for streams in (1, 2)
        for batch in (1, 2, 4, 8, 16)
    )
    offline = OfflineResult(
        16, 2, 2, estimate(62_000, 60_000, 64_000, 600), trials, 1200, 12, 1.0, 83_000_000
    )
    paced = PacedResult(
        1,
        2,
        100.0,
        estimate(400, 390, 410, 600),
        False,
        {"50": estimate(2.5e6, 2.4e6, 2.6e6, 600), "95": estimate(6e6, 5.5e6, 6.5e6, 600)},
        2.4e6,
        600,
        12,
        1.0,
        0,
    )
    swamped = replace(paced, rate=1000.0, overloaded=True, percentiles_ns={}, unserved=540)
    assert int8.latency is not None
    disturbed = replace(
        int8.latency,
        noise_floor=0.004,
        conditions=Conditions(load=3.2, speed_change=SpeedChange(5, 55_000, 71_000)),
        energy=EnergyResult("RAPL", estimate(1.25e-3, 1.2e-3, 1.3e-3, 600), 25.5),
    )
    int8 = replace(int8, latency=disturbed, offline=offline, paced=(paced, swamped))
    fp32 = replace(fp32, offline=replace(offline, batch=4, streams=1, trials=trials[:5]))
    found: dict[str, dict[str, Any]] = {
        "student torch": {"changes": changes(19, 5)},
        "int8 cpu onnx": {
            "departure": Departure(
                "body.7/Conv", "Conv", "body.7", 0.003, 0.41, 0.4, 0.01, True, 50
            )
        },
        "openvino int8": {"overall": changes(25, 3)},
    }
    return replace(
        passing,
        hops=tuple(replace(hop, **found.get(hop.name, {})) for hop in passing.hops),
        targets=(replace(target, candidates=(fp32, int8)),),
    )  # fmt: skip


@pytest.fixture
def crashed(passing: Report) -> Report:
    """int8 crashed while it was timed: fp32 ships, and a way that does not ship lost the most."""
    what = "openvino: the worker ended with signal 9. Run it again with --debug."
    (target,) = passing.targets
    fp32, int8 = target.candidates
    target = replace(
        target,
        candidates=(fp32, replace(int8, speedup=None, latency=None, failure=what)),
        shipped=("fp32",),
        reasons={"int8": "it failed here", "fp32": "no other candidate could run here"},
    )
    lost = estimate(0.2, 0.17, 0.23, 718)
    hops = tuple(
        replace(hop, ships=False, drop=lost if hop.name == "int8 cpu onnx" else hop.drop)
        if "int8" in hop.name
        else hop
        for hop in passing.hops
    )
    gate = GateResult(
        "all", "openvino int8", Verdict.NOT_RUN, "accuracy, latency, size", "not run here", what
    )
    kept = tuple(replace(gate, target="openvino fp32") for gate in passing.gates)
    return replace(
        passing,
        verdict=Verdict.INCONCLUSIVE,
        exit_code=ExitCode.ENVIRONMENT,
        hops=hops,
        targets=(target,),
        gates=(gate, *kept),
        failures=(f"openvino int8 failed: {what}",),
    )


@pytest.fixture
def elsewhere(passing: Report) -> Report:
    """With a target that is compiled here and verified on the device."""
    engine = CandidateResult("fp16", "d" * 64, 95_000)
    target = TargetResult(
        "tensorrt-rtx", "tensorrt-rtx 1.7.1", "elsewhere", (engine,), None, ("fp16",), None, {}
    )
    gate = GateResult(
        "all", "tensorrt-rtx", Verdict.NOT_RUN, "latency, size", "not run here", "verify: elsewhere"
    )
    return replace(passing, targets=(*passing.targets, target), gates=(*passing.gates, gate))


@pytest.fixture
def failing(elsewhere: Report) -> Report:
    failed = GateResult(
        "speedup", "openvino int8", Verdict.FAIL, "speedup over teacher >= 30x (batch 1)",
        "20.40x [19.80x, 21.10x], n = 12 pairs of blocks",
    )  # fmt: skip
    open_ = GateResult(
        "agreement", "openvino int8", Verdict.INCONCLUSIVE, "agreement with teacher >= 97.00%",
        "97.20% [95.70%, 98.20%], n = 718 samples", "more test samples would decide it",
    )  # fmt: skip
    return replace(
        elsewhere,
        verdict=Verdict.FAIL,
        exit_code=ExitCode.GATE_FAILED,
        gates=(*elsewhere.gates, open_, failed),
    )


@pytest.fixture
def verification(passing: Report) -> Report:
    """Of a release on a device, which has no validation split and only a few calls."""
    (target,) = passing.targets
    few = replace(
        latency(2_412_000, calls=60),
        blocks=6,
        percentiles_ns={"50": Estimate(2_412_000, None, 60), "90": Estimate(2_700_000, None, 60)},
        steady=0.5,
    )
    candidate = replace(
        target.candidates[1], validation_score=None, validation_drop=None, speedup=None, latency=few
    )
    on_device = replace(
        target, candidates=(candidate,), baseline=None, would_choose=("fp32",), reasons={}
    )
    gate = GateResult(
        "latency", "openvino int8", Verdict.INCONCLUSIVE, "p95 <= 5 ms (batch 1)", "60 calls", "p95 needs 90"
    )  # fmt: skip
    return replace(
        passing,
        kind="verify",
        verdict=Verdict.INCONCLUSIVE,
        exit_code=ExitCode.INCONCLUSIVE,
        splits={"test": 718},
        models=(),
        hops=passing.hops[:1],
        quantized=(),
        targets=(on_device,),
        gates=(gate,),
        steps=(),
        notes=(),
    )


@pytest.fixture
def regression(passing: Report) -> Report:
    """One model, no target, no gate."""
    return replace(
        passing,
        task="regression",
        metric="rmse",
        bigger_is_better=False,
        verdict=Verdict.NOT_RUN,
        models=(ModelSummary("student", "net.onnx", "adopted", None, 106_000),),
        hops=(HopResult("student onnx", None, 0.012345, None, None, None),),
        quantized=(),
        targets=(),
        gates=(),
    )
