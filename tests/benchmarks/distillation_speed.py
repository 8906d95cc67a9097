"""What a step of distillation costs, as a multiple of a step of the student alone.

    python tests/benchmarks/distillation_speed.py --json distillation_speed.json

CIFAR ResNets, batch 128, 2 threads, on the GPU where there is one (bounds are those of 2 cores).
Every variant is a training of its own, of which one step is taken in turn, so that a slow moment of
the machine meets all of them; a ratio is the median over rounds of the ratio within a round. Where
torchdistill is installed (its losses import without torchvision: pip install --no-deps
torchdistill), its losses run in a plain loop on the same pair.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cifar import MODELS, RGB, require_data, write_recipe

from edgestill.extras import installed, set_switches

BATCH, SAMPLES, WARM_UP = 128, 2000, 5
LAYERS = ("stages.1", "stages.2")
HINT = {"hint": {"student": "stages.2", "teacher": "stages.2", "weight": 0.5}}
ATTENTION = [{"attention": {"student": layer, "teacher": layer, "weight": 0.5}} for layer in LAYERS]
KD = [{"ce": {"weight": 0.1}}, {"kd": {"weight": 0.9}}]

Step = Callable[[], None]


@dataclass(frozen=True)
class Row:
    """A variant: its step's median, in ms and in steps of the student alone; the bound on that."""

    name: str
    milliseconds: float
    ratio: float
    at_most: float | None

    @property
    def kept(self) -> bool:
        return self.at_most is None or self.ratio <= self.at_most


class Training:
    """A training of the product, as a recipe describes it, taken step by step."""

    def __init__(self, folder: Path, name: str, distill: dict[str, Any] | None) -> None:
        from edgestill.api.opening import open_store
        from edgestill.console import Console
        from edgestill.distill.stage import DistillInputs, student_trainer
        from edgestill.plan import Ref
        from edgestill.planner import make_plan
        from edgestill.recipe import load_recipe
        from edgestill.runner import Runner
        from edgestill.step import StepContext
        from edgestill.train.stage import TrainInputs, lone_trainer

        schedule = {"epochs": 1000, "batch_size": BATCH, "optimizer": "sgd"}
        student = {"model": f"{MODELS}:student", "normalize": RGB}
        sections: dict[str, Any] = {"distill": {**schedule, **distill}} if distill else {}
        if not distill:
            sections["student"] = {**student, "train": schedule}
        recipe = load_recipe(str(write_recipe(folder, name, sections, limit=SAMPLES)))
        console = Console()
        store = open_store(folder / "store", console)
        runner = Runner(make_plan(recipe), store, console, folder / "log")
        planned = runner.plan.steps["student"]
        inputs: Any = {
            field: runner.artifact(given)
            if isinstance(given, Ref)
            else {name: runner.artifact(ref) for name, ref in given.items()}
            for field, given in planned.inputs.items()
        }
        work = folder / name
        context = StepContext(recipe.base, work, lambda _, __: None, lambda _: None)
        if distill:
            self.trainer = student_trainer(planned.config, DistillInputs(**inputs), context)
        else:
            self.trainer = lone_trainer(planned.config, TrainInputs(**inputs), context)
        self.trainer.wrapped.train()
        self.taken = 0

    @property
    def teacher(self) -> Any:
        """The one model that teaches."""
        (teacher,) = self.trainer.objective.teacher.members.values()
        return teacher.model

    def step(self) -> None:
        from edgestill.train import state
        from edgestill.train.batches import epoch_batches

        count = len(self.trainer.train)
        steps = len(epoch_batches(count, BATCH, 0, 0))
        epoch, number = divmod(self.taken, steps)
        rows = epoch_batches(count, BATCH, 0, epoch)[number]
        self.trainer._step(rows, state.Progress(epoch=epoch, step=number), steps)
        self.taken += 1


class PlainLoop:
    """The loop that everybody writes, with torchdistill's losses: teacher and student in turn."""

    def __init__(self, training: Training, loss: Any) -> None:
        import torch

        self.samples = training.trainer.train
        self.device = training.trainer.device
        self.student = copy.deepcopy(training.trainer.model)
        self.teacher = copy.deepcopy(training.teacher)
        self.loss = loss
        self.optimizer = torch.optim.SGD(self.student.parameters(), 0.01, 0.9, nesterov=True)
        self.taken = 0

    def step(self) -> None:
        import numpy
        import torch

        rows = numpy.random.default_rng(self.taken).permutation(len(self.samples))[:BATCH]
        image = torch.from_numpy(numpy.array(self.samples.inputs["image"][rows])).to(self.device)
        labels = torch.from_numpy(numpy.array(self.samples.labels[rows])).to(self.device)
        with torch.no_grad():
            told = {".": {"output": self.teacher.prediction(image)}}
        said = {".": {"output": self.student.prediction(image)}}
        total = self.loss(said, told, targets=labels)
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()
        self.taken += 1


def plain_loops(kd: Training) -> dict[str, Step]:
    if not installed("torchdistill"):
        return {}
    from torchdistill.losses.mid_level import KDLoss

    kd_loss = KDLoss(".", "output", ".", "output", temperature=4.0, alpha=0.1)
    return {"torchdistill KD, plain loop": PlainLoop(kd, kd_loss).step}


def rows(folder: Path, rounds: int) -> list[Row]:
    import torch

    torch.set_num_threads(2)
    alone = Training(folder, "alone", None)
    live = Training(folder, "live", {"losses": KD})
    cache = {"cache": {"views": 1}}
    steps: dict[str, Step] = {
        "student alone": alone.step,
        "KD, teacher cached": Training(folder, "cached", {"losses": KD, **cache}).step,
        "KD, teacher asked": live.step,
        "KD, hint, attention, cached": Training(
            folder, "features", {"losses": [*KD, HINT, *ATTENTION], **cache}
        ).step,
        **plain_loops(live),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    order = list(steps)
    for number in range(WARM_UP + rounds):
        for name in order if number % 2 else reversed(order):
            start = time.perf_counter()
            steps[name]()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if number >= WARM_UP:
                times[name].append(time.perf_counter() - start)
    asked = 1.10 * (
        1 + forward_flops(live.teacher, live) / (3 * forward_flops(live.trainer.model, live))
    )
    bounds = {
        "KD, teacher cached": 1.05,
        "KD, teacher asked": asked,
        "KD, hint, attention, cached": 1.15,
    }
    return [
        Row(
            name,
            1e3 * statistics.median(taken),
            ratio(taken, times["student alone"]),
            bounds.get(name),
        )
        for name, taken in times.items()
    ]


def ratio(taken: Sequence[float], reference: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(taken, reference, strict=True))


def forward_flops(model: Any, training: Training) -> int:
    import numpy
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    image = torch.from_numpy(numpy.array(training.trainer.train.inputs["image"][:1]))
    image = image.to(training.trainer.device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image)
    return counter.get_total_flops()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="where all values go")
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    require_data()
    set_switches("torch")
    with TemporaryDirectory() as folder:
        found = rows(Path(folder), arguments.rounds)
    for row in found:
        bound = "" if row.at_most is None else f"at most {row.at_most:.3f}"
        missed = "" if row.kept else "   MISSED"
        print(f"{row.name:<30} {row.milliseconds:8.1f} ms {row.ratio:7.3f}  {bound}{missed}")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in found], indent=2) + "\n")
    sys.exit(0 if all(row.kept for row in found) else 1)


if __name__ == "__main__":
    main()
