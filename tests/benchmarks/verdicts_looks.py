"""How often verdicts err when measuring goes on until they are decided, by simulation.

    python tests/benchmarks/verdicts_looks.py --results build/looks.jsonl

Series of blocks of 60 calls are looked at after 12, 24, 48 and 96 rounds until the budget is
decided. At a budget that is the truth itself, either verdict is an error, which may have a
probability of 2.5 % at the level 0.95. Beside it stands the naive way, every look at the full
level. At budgets 5 % from the truth, the table says how many series were decided rightly, how many
wrongly, and after how many rounds. Ends with 1 where an error is more frequent than 2.5 % and three
standard errors for the number of runs. Each case is a line of the results: a stopped run goes on.
"""

from __future__ import annotations

import argparse
import math
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.random import Generator
from simulating import simulate_all
from verdicts_coverage import SHAPES, drifting

from edgestill import stats
from edgestill.stats.looks import looks
from edgestill.verdict import Estimate, Verdict

LEVEL = 0.95
ERROR = (1 - LEVEL) / 2
CALLS = 60
LOOKS = tuple(islice(looks(12), 4))
MOST = LOOKS[-1].rounds
OFF = 0.05

Blocks = list[np.ndarray]
Figure = Callable[[Blocks, float], Estimate]


@dataclass(frozen=True)
class Case:
    """A figure of a kind of latency, and what it truly is.

    Attributes:
        draw: the blocks of a series.
        figure: an estimate from the first blocks of it, at a level.
    """

    name: str
    truth: float
    draw: Callable[[Generator], Blocks]
    figure: Figure


def cases() -> Iterator[Case]:
    figures: dict[str, tuple[Figure, Callable[[np.ndarray], float]]] = {
        f"p{p:g}": (partial(_percentile, p), partial(_percentile_of, p)) for p in (50.0, 95.0, 99.0)
    }
    figures["throughput"] = (
        lambda blocks, level: stats.mean_throughput(blocks, 1, level),
        lambda calls: 1e9 / float(calls.mean()),
    )
    for kind in SHAPES:
        for drift in (0.0, 0.5, 1.0):
            series = partial(drifting, kind=kind, drift=drift, calls=CALLS)
            population = drifting(np.random.default_rng(7), kind, drift, 400_000, 10).ravel()
            for name, (figure, true) in figures.items():
                yield Case(
                    f"{name:<10} {kind:<9} drift {drift:g}",
                    true(population),
                    lambda rng, series=series: list(series(rng, blocks=MOST)),
                    figure,
                )
    for kind in SHAPES:
        # Two engines on one machine, whose level wanders by far more than they differ.
        yield Case(f"{'speedup':<10} {kind:<9} wander 0.1", 2.0, partial(_pairs, kind), _speedup)


def _percentile(p: float, blocks: Blocks, level: float) -> Estimate:
    return stats.percentile(blocks, p, level)


def _percentile_of(p: float, calls: np.ndarray) -> float:
    return float(np.percentile(calls, p))


def _pairs(kind: str, rng: Generator) -> Blocks:
    """For each round the block of the one engine, and that of one that is twice as fast."""
    wander = np.exp(np.cumsum(rng.normal(0, 0.1, (MOST, 1)), axis=0))
    slow, fast = (drifting(rng, kind, 0.5, MOST, CALLS) * wander for _ in range(2))
    return [np.stack([one, other / 2]) for one, other in zip(slow, fast, strict=True)]


def _speedup(blocks: Blocks, level: float) -> Estimate:
    return stats.speedup([pair[0] for pair in blocks], [pair[1] for pair in blocks], level)


Outcome = tuple[Verdict, int]


def decided(
    blocks: Blocks, case: Case, budgets: Mapping[str, float], *, naive: bool
) -> dict[str, Outcome]:
    """Of each budget on `at_most` the first verdict, and the rounds that it took."""
    found: dict[str, Outcome] = {}
    for look in LOOKS:
        estimate = case.figure(blocks[: look.rounds], LEVEL if naive else look.level(LEVEL))
        for name in budgets.keys() - found.keys():
            verdict = stats.decide(estimate, at_most=budgets[name])
            if verdict is not Verdict.INCONCLUSIVE:
                found[name] = verdict, look.rounds
        if len(found) == len(budgets):
            break
    return dict.fromkeys(budgets, (Verdict.INCONCLUSIVE, MOST)) | found


def run(case: Case, runs: int) -> dict[str, float]:
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    budgets = {"at": case.truth, "above": case.truth * (1 + OFF), "below": case.truth * (1 - OFF)}
    found: dict[str, list[Outcome]] = {"at": [], "naive": [], "above": [], "below": []}
    for _ in range(runs):
        blocks = case.draw(rng)
        outcomes = decided(blocks, case, budgets, naive=False)
        outcomes |= decided(blocks, case, {"naive": case.truth}, naive=True)
        for name, outcome in outcomes.items():
            found[name].append(outcome)

    def share(of: str, verdict: Verdict) -> float:
        return sum(one is verdict for one, _ in found[of]) / runs

    return {
        "runs": runs,
        "false_pass": share("at", Verdict.PASS),
        "false_fail": share("at", Verdict.FAIL),
        "naive_pass": share("naive", Verdict.PASS),
        "naive_fail": share("naive", Verdict.FAIL),
        "right": (share("above", Verdict.PASS) + share("below", Verdict.FAIL)) / 2,
        "wrong": (share("above", Verdict.FAIL) + share("below", Verdict.PASS)) / 2,
        "rounds": sum(rounds for of in ("above", "below") for _, rounds in found[of]) / (2 * runs),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--results", type=Path, default=Path("build/looks.jsonl"))
    parser.add_argument("--only", default="", help="cases whose name has this, such as speedup")
    arguments = parser.parse_args()
    chosen = {case.name: case for case in cases() if arguments.only in case.name}
    simulate = {
        f"{name}, {arguments.runs} runs": partial(run, case, arguments.runs)
        for name, case in chosen.items()
    }
    print(f"{'':32} at the budget      every look at 0.95   budget 5% off")
    print(f"{'':32} PASS     FAIL      PASS     FAIL        right    wrong  rounds")
    allowed = ERROR + 3 * math.sqrt(ERROR * (1 - ERROR) / arguments.runs)
    worst, missed = 0.0, 0
    for case, found in zip(chosen.values(), simulate_all(simulate, arguments.results), strict=True):
        error = max(found["false_pass"], found["false_fail"])
        worst, missed = max(worst, error), missed + (error > allowed)
        mark = "TOO MANY" if error > allowed else ""
        print(
            f"{case.name:<32} {found['false_pass']:<8.2%} {found['false_fail']:<9.2%} "
            f"{found['naive_pass']:<8.2%} {found['naive_fail']:<11.2%} {found['right']:<8.1%} "
            f"{found['wrong']:<6.2%} {found['rounds']:>6.1f}  {mark}",
            flush=True,
        )
    print(f"{len(chosen)} cases, the largest error {worst:.2%}, {missed} above {allowed:.2%}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
