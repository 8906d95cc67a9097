"""What each way of distilling is worth: accuracy on CIFAR-10's test split, over seeds.

    python tests/benchmarks/distillation_schemes.py --store STORE --json distillation_schemes.json

The given teacher, the small student, one schedule for all. What is done lies in the store, so a
killed benchmark goes on where it was. By default 10,000 images and 10 epochs, about two minutes for
each training on 2 cores. On a GPU, which one such training does not fill, all images, more epochs
and a teacher that is trained for it take some minutes:

    python tests/benchmarks/distillation_schemes.py --store STORE --images 0 --epochs 24 \\
        --batch-size 256 --train-teacher 45 --channels-last --at-once 10 --views 4 \\
        --schemes "student alone" kd dkd dist "kd, hint" "kd, adversarial"

Ends with 1 when no scheme beats the student alone by one point with spreads that do not overlap.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cifar import GIVEN_TEACHER, MODELS, RGB, require_data, write_recipe

CE = {"ce": {"weight": 0.1}}
KD = {"kd": {"weight": 0.9, "temperature": 4}}
SCHEMES: dict[str, list[Any] | None] = {
    "student alone": None,
    "kd": [CE, KD],
    "kd, standardized": [CE, {"kd": {"weight": 9, "temperature": 2, "standardize": True}}],
    "dkd": ["ce", {"dkd": {"weight": {"start": 0, "end": 1, "until": 0.2}}}],
    "dist": ["ce", {"dist": {"weight": 2, "temperature": 4}}],
    "kd, hint": [CE, KD, {"hint": {"student": "stages.2", "teacher": "stages.2"}}],
    "kd, adversarial": [CE, KD, "adversarial"],
    "heads": ["ce", {"heads": {"layers": ["stages.0", "stages.1"]}}],
    "average": ["ce", {"kd": {"weight": {"start": 0, "end": 1, "until": 0.3}, "temperature": 1}}],
    "peers": ["ce", {"kd": {"temperature": 1}}],
}
# Of those who learn without the teacher: from whom.
LEARN_FROM: dict[str, dict[str, Any]] = {
    "heads": {},
    "average": {"learn_from": "average", "ema": 0.99},
    "peers": {
        "learn_from": "peers",
        "peers": [{"model": f"{MODELS}:student", "normalize": RGB}],
    },
}
# 4.3 million parameters, for a GPU.
LARGE_TEACHER: dict[str, Any] = {
    "model": f"{MODELS}:ResNet",
    "arguments": {"blocks": 3, "width": 64},
    "normalize": RGB,
}


@dataclass(frozen=True)
class Trained:
    """Accuracy on the test split, the epoch that was kept, and the seconds that it took."""

    accuracy: float
    best_epoch: int
    seconds: float

    def __str__(self) -> str:
        return f"{100 * self.accuracy:.2f}%, epoch {self.best_epoch} kept, {self.seconds:.0f} s"


@dataclass(frozen=True)
class Row:
    """A scheme: the accuracy of each seed, and the seconds that each training took."""

    scheme: str
    accuracy: tuple[float, ...]
    best_epochs: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.mean(self.accuracy)


def run(
    arguments: argparse.Namespace, name: str, sections: Mapping[str, Any], seed: int = 0
) -> tuple[Trained, Path]:
    """The student of a recipe, and the file of its weights."""
    from edgestill.api.opening import open_store
    from edgestill.artifact import Checkpoint, Dataset, Predictions
    from edgestill.console import Console
    from edgestill.data.arrays import load_labels
    from edgestill.metrics import METRICS
    from edgestill.plan import Ref
    from edgestill.planner import make_plan
    from edgestill.recipe import load_recipe
    from edgestill.runner import Runner
    from edgestill.scoring import Scorer

    folder = arguments.store.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    limit = arguments.images or None
    recipe = load_recipe(str(write_recipe(folder, name, sections, limit=limit, seed=seed)))
    console = Console()
    runner = Runner(make_plan(recipe), open_store(folder, console), console, folder / "log.txt")
    entry = runner.resolve("student")
    checkpoint = runner.typed(Ref("student"), Checkpoint)
    test = runner.typed(Ref("data", "test"), Dataset)
    scorer = Scorer("classification", METRICS["accuracy"], load_labels(test))
    score = scorer.score_of(runner.typed(Ref("ask student"), Predictions))
    trained = Trained(score, checkpoint.description.best_epoch or 0, entry.seconds)
    return trained, checkpoint.weights_path


def schedule(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "epochs": arguments.epochs,
        "batch_size": arguments.batch_size,
        "optimizer": "sgd",
        "learning_rate": 0.1 * arguments.batch_size / 128,
        "weight_decay": 5e-4,
        "augment": {"crop": 4, "flip": True},
        "channels_last": arguments.channels_last,
    }


def large_teacher(arguments: argparse.Namespace) -> dict[str, Any]:
    """Trained on the labels; as a recipe names it."""
    training = schedule(arguments) | {
        "epochs": arguments.train_teacher,
        "augment": {"crop": 4, "flip": True, "cutmix": 1.0},
        "precision": "bf16",
    }
    trained, weights = run(arguments, "teacher", {"student": {**LARGE_TEACHER, "train": training}})
    print(f"teacher: {trained}", flush=True)
    return {**LARGE_TEACHER, "weights": str(weights)}


def student(
    arguments: argparse.Namespace, scheme: str, seed: int, teacher: Mapping[str, Any]
) -> Trained:
    """One student, trained in one way."""
    losses = SCHEMES[scheme]
    if losses is None:
        section = {"model": f"{MODELS}:student", "normalize": RGB, "train": schedule(arguments)}
        sections: dict[str, Any] = {"student": section}
    else:
        cache = {"cache": {"views": min(arguments.epochs, arguments.views)}}
        learning = LEARN_FROM.get(scheme, cache)
        distill = {**schedule(arguments), "losses": losses, **learning}
        sections = {"teacher": dict(teacher), "distill": distill}
    name = scheme.replace(", ", "-").replace(" ", "-")
    return run(arguments, f"{name}-{seed}", sections, seed)[0]


def table(rows: Sequence[Row]) -> str:
    alone = rows[0]
    lines = [f"{'scheme':<18} {'mean':>7} {'spread':>14} {'gain':>8}  {'epoch kept':<12} seconds"]
    for row in rows:
        spread = f"{100 * min(row.accuracy):.2f} to {100 * max(row.accuracy):.2f}"
        gain = f"{100 * (row.mean - alone.mean):+.2f}pp"
        kept = ", ".join(map(str, row.best_epochs))
        took = ", ".join(f"{taken:.0f}" for taken in row.seconds)
        mean = f"{100 * row.mean:.2f}%"
        lines.append(f"{row.scheme:<18} {mean:>7} {spread:>14} {gain:>8}  {kept:<12} {took}")
    return "\n".join(lines)


def gains(rows: Sequence[Row]) -> bool:
    """Whether a scheme beats the student alone by one point, its worst seed the best of that."""
    alone = rows[0]
    return any(
        row.mean - alone.mean >= 0.01 and min(row.accuracy) > max(alone.accuracy) for row in rows
    )


def rows_of(arguments: argparse.Namespace) -> list[Row]:
    """All trainings, some at once; first a seed of every scheme, so that a part tells of all."""
    # Spawned, not forked: the fork of a process that has used CUDA cannot.
    with ProcessPoolExecutor(arguments.at_once, multiprocessing.get_context("spawn")) as pool:
        started: dict[Future[Trained], tuple[str, int]] = {}

        def start(scheme: str, seed: int, teacher: Mapping[str, Any]) -> None:
            started[pool.submit(student, arguments, scheme, seed, teacher)] = scheme, seed

        alone, *taught = arguments.schemes
        seeds = range(arguments.seeds)
        for seed in seeds:
            start(alone, seed, GIVEN_TEACHER)
        teacher = large_teacher(arguments) if arguments.train_teacher else GIVEN_TEACHER
        for seed in seeds:
            for scheme in taught:
                start(scheme, seed, teacher)
        found: dict[tuple[str, int], Trained] = {}
        for future in as_completed(started):
            scheme, seed = started[future]
            found[scheme, seed] = future.result()
            print(f"{scheme}, seed {seed}: {found[scheme, seed]}", flush=True)
    return [
        Row(
            scheme,
            tuple(found[scheme, seed].accuracy for seed in seeds),
            tuple(found[scheme, seed].best_epoch for seed in seeds),
            tuple(found[scheme, seed].seconds for seed in seeds),
        )
        for scheme in arguments.schemes
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--store", type=Path, required=True, help="where results are kept")
    parser.add_argument("--json", type=Path, help="where all values go")
    parser.add_argument("--images", type=int, default=10_000, help="0 for all")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=128, help="the rate grows with it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--views", type=int, default=5, help="how many views are recorded")
    parser.add_argument(
        "--schemes",
        nargs="+",
        choices=SCHEMES,
        default=list(SCHEMES),
        help="the first is what the others are compared with",
    )
    parser.add_argument("--at-once", type=int, default=1, help="how many trainings run together")
    parser.add_argument("--channels-last", action="store_true", help="as GPUs take them")
    parser.add_argument(
        "--train-teacher",
        type=int,
        default=0,
        metavar="EPOCHS",
        help="of a large teacher, in place of the given one",
    )
    arguments = parser.parse_args()
    require_data()
    rows = rows_of(arguments)
    print(table(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    sys.exit(0 if gains(rows) else 1)


if __name__ == "__main__":
    main()
