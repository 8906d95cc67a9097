"""A report of one engine on one machine, with figures that a test chooses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from edgestill.digest import canonical, digest_value
from edgestill.errors import ExitCode
from edgestill.report.model import FORMAT, Report
from edgestill.targets.fingerprint import Fingerprint
from edgestill.verdict import Estimate, Interval, Verdict
from edgestill.verify.results import CandidateResult, LatencyResult, TargetResult

MACHINE = Fingerprint.read()


def estimate(value: float, share: float = 0.01, count: int = 12, level: float = 0.95) -> Estimate:
    return Estimate(value, Interval(value * (1 - share), value * (1 + share), level), count)


@pytest.fixture
def report() -> Callable[..., Report]:
    def make(
        *,
        score: float | None = 0.96,
        latency_us: float = 100.0,
        teacher_us: float | None = 800.0,
        size: int = 100_000,
        memory: int = 80_000_000,
        precision: str = "fp32",
        machine: Fingerprint = MACHINE,
        batch: int = 1,
        noise: float = 0.01,
        level: float = 0.95,
        **changes: Any,
    ) -> Report:
        latency = LatencyResult(
            batch=batch,
            threads=2,
            calls=1200,
            blocks=12,
            median_ns=latency_us * 1000,
            percentiles_ns={"50": estimate(latency_us * 1000, noise, 1200, level)},
            throughput=estimate(1e6 / latency_us),
            steady=1.0,
            mismatches=0,
            first_load_ns=1,
            later_load_ns=1,
            memory_bytes=memory,
            measured_at="2026-11-20T10:00:00+00:00",
        )
        timed = None if teacher_us is None else CandidateResult("teacher", "t" * 64, 2_000_000)
        # Another time is that of another engine.
        engine = digest_value([latency_us, teacher_us, size, level])
        speedup = (
            None if teacher_us is None else estimate(teacher_us / latency_us, noise, 12, level)
        )
        candidate = CandidateResult(
            precision, engine, size, test_score=score, speedup=speedup, latency=latency
        )
        target = TargetResult(
            "onnxruntime", "onnxruntime 1.32.0", "here", (candidate,), timed, (precision,), None, {}
        )
        whole = Report(
            format=FORMAT,
            kind="verify",
            name="digits",
            task="classification",
            metric="accuracy",
            bigger_is_better=True,
            verdict=Verdict.PASS,
            exit_code=ExitCode.PASSED,
            created="2026-11-20T10:00:00+00:00",
            edgestill="0.1.0",
            seed=0,
            threads=2,
            splits={"test": 700},
            evaluation="e" * 64,
            models=(),
            hops=(),
            targets=(target,),
            gates=(),
            steps=(),
            device=canonical(machine),
            versions={},
        )
        return replace(whole, **changes)

    return make
