"""What the teacher's weights are worth to a student that is made from it."""

from __future__ import annotations

from collections.abc import Callable

import numpy
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

Derive = Callable[..., tuple[nn.Module, str]]
STEPS = 10


def _unit(before: int, after: int, norm: bool) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(before, after, 3, padding=1)]
    return [*layers, nn.BatchNorm2d(after), nn.ReLU()] if norm else [*layers, nn.ReLU()]


class Residual(nn.Module):
    def __init__(self, channels: int, norm: bool) -> None:
        super().__init__()
        self.inside = nn.Sequential(
            *_unit(channels, channels, norm), nn.Conv2d(channels, channels, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.inside(x))


def _teacher(norm: bool) -> nn.Module:
    """Two stages; the second has three blocks."""
    return nn.Sequential(
        *(*_unit(1, 16, norm), nn.MaxPool2d(2), *_unit(16, 32, norm), nn.MaxPool2d(2)),
        *(nn.Sequential(*(Residual(32, norm) for _ in range(3))), nn.Flatten()),
        nn.Linear(128, 10),
    )


def _train(net: nn.Module, steps: int, images: Tensor, labels: Tensor) -> None:
    order = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3)
    net.train()
    for _ in range(steps):
        batch = torch.randint(0, len(images), (64,), generator=order)
        optimizer.zero_grad()
        functional.cross_entropy(net(images[batch]), labels[batch]).backward()
        optimizer.step()


def _accuracy(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float((net.eval()(images).argmax(1) == labels).float().mean())


@pytest.mark.parametrize("norm", [True, False], ids=["norms", "no norms"])
@pytest.mark.parametrize("shares", [(1, 0.5), (0.5, 1), (0.5, 0.5)], ids=str)
def test_a_student_learns_faster_from_its_teachers_weights(
    derived: Derive, norm: bool, shares: tuple[float, float]
) -> None:
    found = load_digits()
    images = torch.from_numpy(found.images.astype(numpy.float32))[:, None] / 16
    labels = torch.from_numpy(found.target)
    learnt, held = slice(0, 1200), slice(1200, None)
    torch.manual_seed(0)
    teacher, stranger = _teacher(norm), _teacher(norm)
    _train(teacher, 150, images[learnt], labels[learnt])
    assert _accuracy(teacher, images[held], labels[held]) > 0.85
    scores = []
    for start in (teacher, stranger):
        student, _ = derived(start, (1, 8, 8), *shares)
        _train(student, STEPS, images[learnt], labels[learnt])
        scores.append(_accuracy(student, images[held], labels[held]))
    assert scores[0] > scores[1] + 0.2
