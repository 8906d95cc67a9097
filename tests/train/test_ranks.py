"""Two processes relate their samples as one with the whole batch does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

from edgestill.train.losses import make_losses
from edgestill.train.losses.base import Labels, Loss, LossInputs, Outputs
from edgestill.train.losses.config import DistLoss, LossConfig, RelationLoss, SimilarityLoss
from edgestill.train.ranks import gatherer, processes

SIZES = (3, 2)
CONFIGS: tuple[LossConfig, ...] = (
    DistLoss(),
    SimilarityLoss("a", "b"),
    RelationLoss("a", "b"),
    RelationLoss(),
)


def batch() -> tuple[nn.Linear, Tensor, Tensor, Tensor]:
    """A student, what it is given, the teacher's answers and labels of positions, `[5, ...]`."""
    generator = torch.Generator().manual_seed(0)
    student = nn.Linear(3, 4, bias=False).double()
    nn.init.normal_(student.weight, generator=generator)
    inputs, teacher = torch.randn(2, 5, 2, 4, generator=generator, dtype=torch.float64)
    labels = torch.tensor([[0, 1], [-100, 2], [1, -100], [2, 0], [-100, -100]])
    return student, inputs[..., :3], teacher.movedim(-1, 1), labels


def term(loss: Loss, rows: slice, sizes: Sequence[int], student: nn.Linear) -> Tensor:
    _, inputs, teacher, labels = batch()
    answers = student(inputs[rows]).movedim(-1, 1)  # [b, 4 classes, 2 positions]
    own = Outputs(answers, dict.fromkeys(loss.reads.student, answers))
    other = Outputs(teacher[rows], dict.fromkeys(loss.reads.teacher, teacher[rows]))
    given = LossInputs(own, other, Labels(labels[rows]), gather=gatherer(sizes))
    return loss(given)  # type: ignore[no-any-return]


def run(rank: int, folder: Path) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    assert processes() == 2
    found = []
    for loss in make_losses(CONFIGS, "classification"):
        student = batch()[0]
        rows = slice(3) if rank == 0 else slice(3, 5)
        value = term(loss, rows, SIZES, student)
        value.backward()
        assert student.weight.grad is not None
        distributed.all_reduce(student.weight.grad)  # as the wrapper of a training averages them
        student.weight.grad /= 2
        found.append((value.detach(), student.weight.grad))
    torch.save(found, folder / f"{rank}.pt")
    distributed.destroy_process_group()


def test_value_and_gradient_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    ranks = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path)]) for rank in range(2)
    ]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    results = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    losses = make_losses(CONFIGS, "classification")
    for loss, *found in zip(losses, *results, strict=True):
        student = batch()[0]
        whole = term(loss, slice(5), (5,), student)
        whole.backward()
        for value, gradient in found:
            torch.testing.assert_close(value, whole.detach())
            torch.testing.assert_close(gradient, student.weight.grad)


def test_one_process_gathers_what_it_has() -> None:
    rows = torch.randn(3, 2)
    assert processes() == 1
    assert gatherer((3,))(rows) is rows


if __name__ == "__main__":
    run(int(sys.argv[1]), Path(sys.argv[2]))
