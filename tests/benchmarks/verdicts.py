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
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from known_truth import KINDS, LONG, Bench, Trial, slowed_runtime

from edgestill.stats import Verdict
from edgestill.targets.fingerprint import Fingerprint


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
