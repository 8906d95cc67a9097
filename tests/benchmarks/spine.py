"""The figures of the spine: what its commands take, how small and how accurate the results are.

    python tests/benchmarks/spine.py --json bench.json

Runs the digits preset for real, each command in a process of its own. Prints a row for each figure
with its bound, writes all values as JSON, and ends with 1 when a bound is missed. Times are
medians, accuracies means over seeds. It takes about five minutes and wants a machine of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from edgestill.report.model import Report, read_report
from edgestill.targets.fingerprint import Fingerprint

OWN_CODE = Path(__file__).with_name("own_code.py")
REPEATS = 7
TRAINING = ("teacher", "student")
# int8 of these is scored by their own runtime, of TensorRT, which needs a GPU, by its ONNX file.
INT8_HOPS = ("openvino int8", "onnxruntime int8", "int8 tensorrt onnx")


@dataclass(frozen=True)
class Figure:
    """A value that was measured, and the bound that it has to keep.

    Attributes:
        values: of each repetition or seed.
    """

    name: str
    unit: str
    value: float
    values: tuple[float, ...]
    at_most: float | None = None
    at_least: float | None = None

    @property
    def kept(self) -> bool:
        below = self.at_most is None or self.value <= self.at_most
        return below and (self.at_least is None or self.value >= self.at_least)


def figures(folder: Path, seeds: int) -> list[Figure]:
    """All of them; `folder` holds the stores and releases."""
    first_seconds, report = cold_run(folder)
    outside = first_seconds - sum(s.seconds for s in report.steps if s.name in TRAINING)
    run = ("run", "digits", *places(folder, "cold"))
    plan = ("plan", "digits", "--store", str(folder / "store"))
    times = warm_times([run, plan, ("--help",)])
    return [
        Figure("run digits, first time", "s", first_seconds, (first_seconds,), at_most=60.0),
        Figure("all of it but training", "s", outside, (outside,), at_most=25.0),
        own_code(folder),
        of_median("run digits, nothing changed", times[run], at_most=1.0),
        of_median("plan digits", times[plan], at_most=0.5),
        of_median("--help", times[("--help",)], at_most=0.15),
        *of_models([seed_report(folder, seed) for seed in range(seeds)]),
    ]


def of_median(name: str, seconds: Sequence[float], at_most: float) -> Figure:
    return Figure(name, "s", statistics.median(seconds), tuple(seconds), at_most=at_most)


def places(folder: Path, release: str) -> tuple[str, ...]:
    return ("--store", str(folder / "store"), "--out", str(folder / release))


def call(*arguments: str) -> float:
    """The seconds that one call of the command line takes, start of the process included."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "edgestill", *arguments], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - started
    # 4: a gate that this noisy machine left undecided; the figures do not rest on gates.
    if done.returncode not in (0, 4):
        raise SystemExit(f"edgestill {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return seconds


def cold_run(folder: Path) -> tuple[float, Report]:
    seconds = call("run", "digits", *places(folder, "cold"))
    return seconds, read_report(folder / "cold" / "report.json")


def warm_times(commands: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], list[float]]:
    """The commands in turn, so that a slow minute of the machine weighs on all alike."""
    times: dict[tuple[str, ...], list[float]] = {command: [] for command in commands}
    for _ in range(REPEATS):
        for command in commands:
            times[command].append(call(*command))
    return times


def own_code(folder: Path) -> Figure:
    """What our own lines take of a first run: an upper bound, since profiling slows them."""
    store, release = str(folder / "profiled-store"), str(folder / "profiled")
    done = subprocess.run(
        [sys.executable, str(OWN_CODE), "--store", store, "--out", release],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds: float = json.loads(done.stdout.splitlines()[-1])["own_seconds"]
    return Figure("own code outside training and waiting", "s", seconds, (seconds,), at_most=2.0)


def seed_report(folder: Path, seed: int) -> Report:
    release = f"seed-{seed}"
    rounds = ("--set", "measure.rounds=1")  # scores need no times
    call("run", "digits", *places(folder, release), "--set", f"seed={seed}", *rounds)
    return read_report(folder / release / "report.json")


def of_models(reports: Sequence[Report]) -> list[Figure]:
    """Sizes and accuracies, the means over seeds."""

    def of_seeds(name: str, unit: str, value: Callable[[Report], float], **bound: float) -> Figure:
        values = tuple(value(report) for report in reports)
        return Figure(name, unit, statistics.fmean(values), values, **bound)

    drop = of_seeds(
        "student below its teacher",
        "pp",
        lambda report: points_lost(report, "teacher torch", "student torch"),
        at_most=1.0,
    )
    int8 = [
        of_seeds(
            f"{hop} below the float student",
            "pp",
            lambda report, hop=hop: points_lost(report, "student torch", hop),  # type: ignore[misc]
            at_most=0.5,
        )
        for hop in INT8_HOPS
    ]
    accuracy = of_seeds("student", "%", lambda report: 100 * score(report, "student torch"))
    smaller = of_seeds("student smaller than its teacher", "x", times_smaller, at_least=5.0)
    return [smaller, accuracy, drop, *int8]


def times_smaller(report: Report) -> float:
    """The teacher's ONNX file over the student's."""
    sizes = {model.role: model.onnx_bytes for model in report.models}
    return sizes["teacher"] / sizes["student"]


def points_lost(report: Report, reference: str, hop: str) -> float:
    return 100 * (score(report, reference) - score(report, hop))


def score(report: Report, name: str) -> float:
    found = next(hop.score for hop in report.hops if hop.name == name)
    assert found is not None
    return found


def row(figure: Figure) -> str:
    bound = f"<= {figure.at_most:g}" if figure.at_most is not None else ""
    bound = f">= {figure.at_least:g}" if figure.at_least is not None else bound
    verdict = "" if not bound else "kept" if figure.kept else "MISSED"
    spread = f"{min(figure.values):.2f} to {max(figure.values):.2f} in {len(figure.values)}"
    return (
        f"{figure.name:<44} {figure.value:>8.2f} {figure.unit:<3} {bound:<8} {verdict:<7} {spread}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="edgestill-bench-") as folder:
        found = figures(Path(folder), arguments.seeds)
    machine = Fingerprint.read()
    print(f"{machine.cpu}, {machine.cores} cores, Python {machine.python}")
    print("\n".join(map(row, found)))
    if arguments.json:
        content = {"device": asdict(machine), "figures": [asdict(figure) for figure in found]}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    raise SystemExit(0 if all(figure.kept for figure in found) else 1)


if __name__ == "__main__":
    main()
