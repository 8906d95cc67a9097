"""How often the intervals that verdicts rest on cover the truth, by simulation.

    python tests/benchmarks/verdicts_coverage.py --results build/coverage.jsonl

Prints a line per case: covered, and the share of runs whose interval lay wholly above or below the
truth (at the nominal 0.95 each should be near 0.025: a gate reads one end). Ends with 1 when a
case covers less than 0.93. Cases marked "stress" show where the promise ends and do not count.
Each case is a line of the results, so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.random import Generator
from simulating import simulate_all

from edgestill import stats
from edgestill.metrics import METRICS, score

PROMISED = 0.93
LEVEL = 0.95


@dataclass(frozen=True)
class Case:
    """One situation: `draw` simulates it once and estimates, `truth` is what it estimates."""

    function: str
    name: str
    truth: float
    draw: Callable[[Generator], stats.Estimate]
    slow: bool = False
    stress: bool = False


def run(case: Case, runs: int) -> dict[str, float]:
    rng = np.random.default_rng(zlib.crc32(f"{case.function} {case.name}".encode()))
    intervals = []
    for _ in range(runs):
        interval = case.draw(rng).interval
        if interval is None:
            raise SystemExit(f"{case.function}, {case.name}: no interval")
        intervals.append((interval.low, interval.high))
    low, high = np.array(intervals).T
    # Bounds and truth are sums in different orders: rounding is no miss.
    slack = 1e-12 * max(1.0, abs(case.truth))
    above, below = (low > case.truth + slack).mean(), (high < case.truth - slack).mean()
    return {
        "covered": round(float(1 - above - below), 4),
        "above": round(float(above), 4),
        "below": round(float(below), 4),
        "width": float((high - low).mean()),
    }


# By kind of latency: the spread within a block, and calls drawn in a shape, in ns.
SHAPES: dict[str, tuple[float, Callable[[Generator, tuple[int, ...]], np.ndarray]]] = {
    "normal": (50, lambda rng, shape: rng.normal(1000, 50, shape)),
    "heavy": (100, lambda rng, shape: 900 + 100 * rng.lognormal(0, 0.8, shape)),
    "student-3": (50, lambda rng, shape: 1000 + 50 * np.abs(rng.standard_t(3, shape))),
    "bimodal": (
        130,
        lambda rng, shape: (
            np.where(rng.random(shape) < 0.12, 1400, 1000) + rng.normal(0, 30, shape)
        ),
    ),
}


def drifting(rng: Generator, kind: str, drift: float, blocks: int, calls: int) -> np.ndarray:
    """Blocks `[blocks, calls]` whose level drifts by a multiple of the spread within a block."""
    spread, within = SHAPES[kind]
    level = rng.normal(0, drift * spread, (blocks, 1))
    return np.maximum(within(rng, (blocks, calls)) + level, 1.0)


def latency_cases() -> Iterator[Case]:
    for kind in SHAPES:
        for drift in (0.0, 0.5, 1.0, 1.5, 3.0):
            blocks = partial(drifting, kind=kind, drift=drift)
            population = blocks(np.random.default_rng(7), blocks=400_000, calls=10).ravel()
            for k, m in ((12, 60), (30, 200)):
                name = f"{kind}, drift {drift:g}, {k}x{m}"
                for p in (50.0, 90.0, 95.0, 99.0):
                    yield Case(
                        "percentile",
                        f"p{p:g} {name}",
                        float(np.percentile(population, p)),
                        lambda rng, k=k, m=m, p=p, blocks=blocks: stats.percentile(
                            list(blocks(rng, blocks=k, calls=m)), p, LEVEL
                        ),
                        stress=drift > 1.5,
                    )
                yield Case(
                    "mean_throughput",
                    name,
                    4e9 / float(population.mean()),
                    lambda rng, k=k, m=m, blocks=blocks: stats.mean_throughput(
                        list(blocks(rng, blocks=k, calls=m)), 4, LEVEL
                    ),
                    stress=drift > 1.5,
                )


def speedup_cases() -> Iterator[Case]:
    """Log medians of two blocks: a drift that both share, and noise of each."""
    noises: dict[str, Callable[[Generator, int], np.ndarray]] = {
        "normal": lambda rng, k: rng.normal(0, 0.03, k),
        "student-3": lambda rng, k: 0.03 * rng.standard_t(3, k),
        "skewed": lambda rng, k: 0.05 * rng.exponential(1, k),
        "contaminated": lambda rng, k: rng.normal(0, 0.02, k) + 0.3 * (rng.random(k) < 0.12),
    }
    for kind, noise in noises.items():
        for one_sided in (False, True):

            def log_ratios(rng: Generator, k: int, noise=noise, one_sided=one_sided) -> np.ndarray:
                own = rng.normal(0, 0.02, k) if one_sided else noise(rng, k)
                return noise(rng, k) - own

            rng = np.random.default_rng(8)
            first, second = log_ratios(rng, 2_000_000), log_ratios(rng, 2_000_000)
            truth = 2.0 * float(np.exp(np.median((first + second) / 2)))

            def draw(rng: Generator, k: int, log_ratios=log_ratios) -> stats.Estimate:
                level = 1e6 * np.exp(rng.normal(0, 0.1, k))
                slow = 2.0 * level * np.exp(log_ratios(rng, k))
                return stats.speedup(
                    [np.array([value]) for value in slow], [np.array([v]) for v in level], LEVEL
                )

            for k in (12, 16, 30):
                side = "baseline only" if one_sided else "both"
                yield Case(
                    "speedup",
                    f"{kind} ({side}), {k} pairs",
                    truth,
                    lambda rng, k=k, draw=draw: draw(rng, k),
                )


def score_cases() -> Iterator[Case]:
    for n in (50, 1000):
        for p in (0.5, 0.9, 0.99, 0.999):
            yield Case(
                "mean_score",
                f"0/1, {n} samples, score {p:g}",
                p,
                lambda rng, n=n, p=p: stats.mean_score(rng.random(n) < p, LEVEL),
            )
    for n in (30, 200, 2000):
        yield Case(
            "mean_score",
            f"exponential errors, {n} samples",
            1.0,
            lambda rng, n=n: stats.mean_score(rng.exponential(1, n), LEVEL, _seed(rng)),
        )
        # Of 30 samples at 0.999 often none differs from the others, and there is no interval.
        right = 0.999 if n > 200 else 0.97
        yield Case(
            "mean_score",
            f"label accuracy of 20 labels at {right:g}, {n} samples",
            right,
            lambda rng, n=n, right=right: stats.mean_score(
                rng.binomial(20, right, n) / 20, LEVEL, _seed(rng)
            ),
        )


def drop_cases() -> Iterator[Case]:
    for n in (50, 200, 1000):
        for losses, wins in (
            (0.3, 0.3), (1, 0), (2, 0.2), (3, 0), (3, 1),
            (5, 2), (8, 3), (12, 12), (15, 5), (3, 15),
        ):  # fmt: skip
            yield Case(
                "paired_drop",
                f"0/1, {n} samples, {losses:g} lost and {wins:g} won",
                (losses - wins) / n,
                lambda rng, n=n, rates=(losses / n, wins / n): stats.paired_drop(
                    *_paired_right(rng, n, *rates), LEVEL
                ),
            )
    for n in (30, 200, 2000):
        yield Case(
            "paired_drop",
            f"normal differences, {n} samples",
            0.1,
            lambda rng, n=n: _drop_of_differences(rng, rng.normal(0.1, 0.2, n)),
        )
        yield Case(
            "paired_drop",
            f"skewed differences, {n} samples",
            0.2,
            lambda rng, n=n: _drop_of_differences(rng, rng.exponential(0.2, n)),
        )
        for expected in (0.5, 3.0, 10.0, 28.0):
            if expected < n / 2:
                yield Case(
                    "paired_drop",
                    f"few differences of 0.05 to 0.15, {expected:g} of {n} samples",
                    0.1 * expected / n,
                    lambda rng, n=n, rate=expected / n: _drop_of_differences(
                        rng, (rng.random(n) < rate) * rng.integers(1, 4, n) / 20
                    ),
                )


def set_cases() -> Iterator[Case]:
    """Three classes of unequal frequency; the candidate answers wrongly on a share of samples."""

    def classified(rng: Generator, n: int, changed: float) -> tuple[np.ndarray, ...]:
        labels = rng.choice(3, n, p=[0.6, 0.3, 0.1])
        first = np.where(rng.random(n) < 0.9, labels, rng.integers(0, 3, n))
        second = np.where(rng.random(n) < changed, rng.integers(0, 3, n), first)
        one_hot = np.eye(3, dtype=np.float32)
        return one_hot[first], one_hot[second], labels

    def regressed(rng: Generator, n: int, _: float) -> tuple[np.ndarray, ...]:
        labels = rng.normal(0, 1, n)
        first = labels + rng.normal(0, 0.3, n)
        return first, first + 0.1 * rng.standard_t(5, n), labels

    for metric, draw, changed, n in (
        ("f1_macro", classified, 0.002, 200),
        ("f1_macro", classified, 0.02, 200),
        ("f1_macro", classified, 0.1, 200),
        ("f1_macro", classified, 0.1, 1000),
        ("rmse", regressed, 0.0, 100),
        ("r2", regressed, 0.0, 400),
    ):
        spec = METRICS[metric]
        first, second, labels = draw(np.random.default_rng(9), 3_000_000, changed)
        drop = score(spec, first, labels) - score(spec, second, labels)
        yield Case(
            "paired_drop_of",
            f"{metric}, {n} samples" + (f", {changed:g} changed" if changed else ""),
            drop if spec.bigger_is_better else -drop,
            lambda rng, spec=spec, draw=draw, n=n, changed=changed: stats.paired_drop_of(
                spec.function,
                *draw(rng, n, changed),
                LEVEL,
                _seed(rng),
                bigger_is_better=spec.bigger_is_better,
                resamples=600,
            ),
            slow=True,
        )
        if changed in (0.0, 0.1):
            yield Case(
                "score_of",
                f"{metric}, {n} samples",
                score(spec, second, labels),
                lambda rng, spec=spec, draw=draw, n=n, changed=changed: stats.score_of(
                    spec.function, *draw(rng, n, changed)[1:], LEVEL, _seed(rng), resamples=600
                ),
                slow=True,
            )


def _seed(rng: Generator) -> int:
    return int(rng.integers(2**31))


def _paired_right(rng: Generator, n: int, lost: float, won: float) -> tuple[np.ndarray, np.ndarray]:
    draw = rng.random(n)
    both = rng.random(n) < 0.8
    reference = np.where(draw < lost, True, np.where(draw < lost + won, False, both))
    candidate = np.where(draw < lost, False, np.where(draw < lost + won, True, both))
    return reference, candidate


def _drop_of_differences(rng: Generator, drops: np.ndarray) -> stats.Estimate:
    candidate = rng.integers(10, 20, len(drops)) / 20  # in steps of a label: sums stay exact
    return stats.paired_drop(candidate + drops, candidate, LEVEL, _seed(rng))


SOURCES = {
    "speedup": speedup_cases,
    "mean_score": score_cases,
    "paired_drop": drop_cases,
    "paired_drop_of score_of": set_cases,
    "percentile mean_throughput": latency_cases,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2000, help="a case; slow cases take a fifth")
    parser.add_argument("--results", type=Path, default=Path("build/coverage.jsonl"))
    parser.add_argument("--only", default="", help="functions to run, such as speedup")
    arguments = parser.parse_args()

    cases = {}
    for case in (case for name in SOURCES if arguments.only in name for case in SOURCES[name]()):
        if arguments.only not in case.function:
            continue
        runs = arguments.runs // 5 if case.slow else arguments.runs
        cases[f"{case.function} {case.name}, {runs} runs"] = (case, runs)
    simulate = {name: partial(run, *call) for name, call in cases.items()}
    lowest: dict[str, list[float]] = {}
    for found in simulate_all(simulate, arguments.results):
        case, _ = cases[found["case"]]
        kept = found["covered"] >= PROMISED
        mark = "stress" if case.stress else "" if kept else "TOO FEW"
        print(
            f"{case.function:15} {case.name:58} {found['covered']:.3f} "
            f"(above {found['above']:.3f}, below {found['below']:.3f}) "
            f"width {found['width']:<9.4g} {mark}",
            flush=True,
        )
        if not case.stress:
            lowest.setdefault(case.function, []).append(found["covered"])
    for function, covered in lowest.items():
        short = sum(one < PROMISED for one in covered)
        print(
            f"{function:15} {len(covered):>3} cases, covered {min(covered):.3f} to "
            f"{max(covered):.3f}, {short} below {PROMISED}"
        )
    return int(any(min(covered) < PROMISED for covered in lowest.values()))


if __name__ == "__main__":
    sys.exit(main())
