"""Two processes relate their samples as one with the whole batch does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn

from edgestill.train.losses import make_losses
from edgestill.train.losses.base import Labels, Loss, LossInputs, Outputs
from edgestill.train.losses.config import DistLoss, LossConfig, RelationLoss, SimilarityLoss
from edgestill.train.ranks import from_first, gatherer, mean_terms, processes

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
    mean = mean_terms({"kd": (5.0 * rank, 1 + rank), "ce": (1.0, 1)})
    torch.save({"terms": found, "mean": mean, "first": from_first(rank)}, folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found_by_two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("ranks")
    ranks = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(folder)]) for rank in range(2)
    ]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_a_mean_is_over_the_samples_of_both(found_by_two: list[dict[str, Any]]) -> None:
    """5 from two samples of one, 0 from one of the other."""
    for found in found_by_two:
        assert found["mean"] == pytest.approx({"kd": 5 / 3, "ce": 1.0})


def test_what_the_first_has_is_what_both_go_on_with(found_by_two: list[dict[str, Any]]) -> None:
    assert [found["first"] for found in found_by_two] == [0, 0]


def test_value_and_gradient_are_those_of_the_whole_batch(
    found_by_two: list[dict[str, Any]],
) -> None:
    losses = make_losses(CONFIGS, "classification")
    results = [found["terms"] for found in found_by_two]
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
