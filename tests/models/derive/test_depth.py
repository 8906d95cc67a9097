"""Fewer blocks: which stay, what they keep, what has no blocks to leave out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgestill.errors import ModelError
from edgestill.models.derive.depth import evenly_spread

Derive = Callable[..., tuple[nn.Module, str]]
Nets = dict[str, tuple[Callable[..., nn.Module], tuple[int, ...]]]


@pytest.mark.parametrize(
    ("count", "kept", "expected"),
    [
        (12, 6, [0, 2, 4, 7, 9, 11]),  # DistilBERT's of BERT
        (6, 3, [0, 3, 5]),
        (3, 2, [0, 2]),
        (5, 1, [0]),
        (4, 4, [0, 1, 2, 3]),
    ],
)
def test_what_stays_is_evenly_spread(count: int, kept: int, expected: list[int]) -> None:
    assert evenly_spread(count, kept) == expected


CASES = {
    "resnet": (0.5, ["layer1 keeps 0, 2 of 0 to 2", "layer2 keeps 0, 2 of 0 to 2"], "layer3.2"),
    "mobilenet": (0.5, ["0 keeps 1, 3 of 1 to 3", "0 keeps 4 of 4 to 5"], "0.5"),
    "vit": (0.4, ["blocks keeps 0, 4 of 0 to 4"], "blocks.2"),
    "bert": (0.5, ["encoder.layer keeps 0, 2, 4, 7, 9, 11 of 0 to 11"], "encoder.layer.6"),
    "encoder": (0.5, ["encoder.layers keeps 0, 3, 5 of 0 to 5"], "encoder.layers.3"),
}


@pytest.mark.parametrize("name", CASES)
def test_blocks_that_keep_the_shape_are_left_out(nets: Nets, derived: Derive, name: str) -> None:
    make, shape = nets[name]
    depth, stages, beyond = CASES[name]
    teacher = make()
    student, told = derived(teacher, shape, depth=depth)
    for stage in stages:
        assert f"blocks: {stage};" in told
    size = sum(p.numel() for p in student.parameters())
    assert size < sum(p.numel() for p in teacher.parameters())
    paths = {path for path, _ in student.named_modules()}
    container, _, number = beyond.rpartition(".")
    assert f"{container}.{int(number) - 1}" in paths
    assert beyond not in paths


def test_the_layers_of_a_block_are_no_stage(nets: Nets, derived: Derive) -> None:
    """A depthwise convolution inside a block keeps its input's shape; it stays."""
    make, shape = nets["mobilenet"]
    student, told = derived(make(), shape, depth=0.5)
    assert "conv" not in told
    assert [len(list(student.get_submodule(f"0.{i}.conv").children())) for i in (1, 2, 3)] == [
        2
    ] * 3


def test_the_blocks_that_stay_keep_their_weights(nets: Nets, derived: Derive) -> None:
    make, shape = nets["bert"]
    teacher: Any = make()
    student, _ = derived(teacher, shape, depth=0.5)
    layers: Any = student.get_submodule("encoder.layer")
    for new, old in enumerate([0, 2, 4, 7, 9, 11]):
        assert torch.equal(layers[new].dense.weight, teacher.encoder.layer[old].dense.weight)
        assert layers[new].attention.layer_idx == new
    assert student.config.num_hidden_layers == 6
    assert teacher.config.num_hidden_layers == 12
    # It computes what its layers compute, one after the other.
    x = torch.rand(2, 4, 8)
    expected = x
    for old in (0, 2, 4, 7, 9, 11):
        (expected,) = teacher.encoder.layer[old](expected)
    assert torch.equal(student(x), teacher.classifier(expected[:, 0]))


def test_numbers_of_blocks_follow(nets: Nets, derived: Derive) -> None:
    """Forward counts with the attribute; torch's encoder has one that nothing reads."""
    student, _ = derived(nets["vit"][0](), nets["vit"][1], depth=0.6)
    assert student.depth == 3
    student, _ = derived(nets["encoder"][0](), nets["encoder"][1], depth=0.5)
    assert student.get_submodule("encoder").num_layers == 3


def test_a_block_that_changes_the_shape_stays(nets: Nets, derived: Derive) -> None:
    """The first of each stage, however few are to stay."""
    student, _ = derived(nets["resnet"][0](), depth=0.01)
    widths = [student.get_submodule(f"layer{stage}.0.conv2").out_channels for stage in (1, 2, 3)]
    assert widths == [8, 16, 32]
    assert [len(list(student.get_submodule(f"layer{s}").children())) for s in (1, 2, 3)] == [1] * 3


def _block() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU())


def test_names_of_blocks_stay(derived: Derive) -> None:
    named = nn.Sequential(OrderedDict((name, _block()) for name in ("first", "second", "third")))
    student, _ = derived(nn.Sequential(named, nn.Linear(8, 2)), (8,), depth=0.5)
    assert [name for name, _ in student.get_submodule("0").named_children()] == ["first", "third"]


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_block() for _ in range(4))
        self.body = nn.Sequential(*(_block() for _ in range(4)))

    def forward(self, x: Tensor) -> Tensor:
        return sum(branch(x) for branch in self.branches) + self.body(x)  # type: ignore[no-any-return]


def test_branches_side_by_side_are_no_stage(derived: Derive) -> None:
    student, told = derived(Branches(), (8,), depth=0.5)
    assert "branches" not in told
    assert [len(list(child.children())) for child in student.children()] == [4, 2]


def test_a_block_that_is_called_again_stays(derived: Derive) -> None:
    shared = _block()
    student, told = derived(nn.Sequential(shared, shared, _block(), _block()), (8,), depth=0.5)
    assert "keeps 2 of 2 to 3" in told
    assert student[0] is student[1]  # type: ignore[index]


class Counting(nn.Module):
    """Its number of blocks is written in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(_block() for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        for index in range(4):
            x = self.parts[index](x)
        return x


OWN = "or give the student a model: of its own$"


@pytest.mark.parametrize(
    ("module", "depth", "message"),
    [
        (
            nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)),
            0.5,
            "^depth: no blocks of one class follow each other and keep their input's shape, so "
            "that none can be left out. Try another depth or width, ",
        ),
        (
            nn.Sequential(_block(), _block()),
            0.9,
            "^depth: 0.9 rounds to all blocks of each stage, so that none can be left out. Try "
            "another depth or width, ",
        ),
        (
            Counting(),
            0.5,
            r"test_depth.py:\d+: with depth: 0.5, the model does not fit its input any more "
            r"\(IndexError: index 2 is out of range\). Look for sizes that forward has as numbers. "
            "Try another depth, ",
        ),
    ],
    ids=["no blocks", "rounds to all", "counted in forward"],
)
def test_what_has_no_blocks_to_leave_out(
    derived: Derive, module: nn.Module, depth: float, message: str
) -> None:
    with pytest.raises(ModelError, match=message + OWN):
        derived(module, (8,), depth=depth)
