"""Fewer channels: how many stay, whose weights they have, what cannot be made narrower."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from edgestill.artifact import TensorSpec
from edgestill.errors import ModelError
from edgestill.models.derive import derive
from edgestill.models.derive.layers import channels_in, channels_out
from edgestill.models.wrapper import DeviceModel

Derive = Callable[..., tuple[nn.Module, str]]
Nets = dict[str, tuple[Callable[..., nn.Module], tuple[int, ...]]]
CONVOLUTIONAL = ("resnet", "vgg", "mobilenet", "unet", "densenet")


def channels(module: nn.Module) -> dict[str, tuple[int, int]]:
    """Of each layer with weights, how many channels it takes and gives."""
    return {
        path: (channels_in(layer), channels_out(layer))
        for path, layer in module.named_modules()
        if layer._parameters
    }


@pytest.mark.parametrize("name", [*CONVOLUTIONAL, "vit", "bert", "encoder"])
def test_a_whole_copy_answers_as_the_teacher(nets: Nets, derived: Derive, name: str) -> None:
    make, shape = nets[name]
    teacher = make()
    student, _ = derived(teacher, shape)
    x = torch.rand(3, *shape)
    assert torch.equal(student.eval()(x), teacher.eval()(x))


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_every_layer_between_is_half_as_wide(nets: Nets, derived: Derive, name: str) -> None:
    make, shape = nets[name]
    teacher = make()
    student, _ = derived(teacher, shape, width=0.5)
    assert student(torch.rand(4, *shape)).shape == teacher(torch.rand(4, *shape)).shape
    before, after = channels(teacher), channels(student)
    paths = list(before)
    first, last = paths[0], "head" if "head" in before else paths[-1]
    for path in paths:
        ways = [after[path][way] / before[path][way] for way in (0, 1)]
        assert ways == [1.0 if path == first else 0.5, 1.0 if path == last else 0.5], path


def test_the_same_as_the_same_class_with_half_the_width(nets: Nets, derived: Derive) -> None:
    """Every parameter has the shape that it has in a network that was written half as wide."""
    make, _ = nets["resnet"]
    student, told = derived(make(blocks=2), width=0.5, depth=0.5)
    written = make(blocks=1, width=4)
    shapes = {name: tensor.shape for name, tensor in student.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in written.state_dict().items()}
    count = sum(parameter.numel() for parameter in written.parameters())
    assert "channels 8 -> 4, 16 -> 8, 32 -> 16;" in told
    assert f"-> {count / 1e3:.3g} k parameters;" in told


def test_multiply_adds_are_counted_for_one_sample(derived: Derive) -> None:
    net = nn.Sequential(nn.Conv2d(3, 10, 3), nn.ReLU(), nn.Conv2d(10, 4, 1))
    _, told = derived(net, (3, 6, 6), width=0.5)
    before, after = 16 * (27 * 10 + 10 * 4), 16 * (27 * 5 + 5 * 4)
    assert told.endswith(f"; {before / 1e3:.3g} k -> {after / 1e3:.3g} k multiply-adds a sample")
    assert "; 324 -> 164 parameters;" in told


def test_channels_that_say_nothing_can_go(derived: Derive) -> None:
    """Where every second channel repeats the one before it, half of them say the same: the
    narrow network answers as the wide one, through a sum, a concatenation and a flattened map."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 8, 3, padding=1)
            self.norm = nn.BatchNorm2d(8)
            self.second = nn.Conv2d(8, 8, 3, padding=1)
            self.third = nn.Conv2d(16, 8, 1)
            self.head = nn.Linear(8 * 16, 5)

        def forward(self, x: Tensor) -> Tensor:
            y = self.norm(self.first(x)).relu()
            y = torch.cat([y, y + self.second(y)], 1)
            y = functional.max_pool2d(self.third(y), 4)
            return self.head(y.flatten(1))  # type: ignore[no-any-return]

    net = Net().eval()
    for layer in (net.first, net.second, net.third):
        weight, bias = layer.weight.data, layer.bias
        assert bias is not None
        weight[1::2], bias.data[1::2] = weight[::2], bias.data[::2]
    for layer in (net.second, net.third):
        layer.weight.data[:, 1::2] = layer.weight.data[:, ::2]
    by_channel = net.head.weight.data.view(5, 8, 16)
    by_channel[:, 1::2] = by_channel[:, ::2]
    student, _ = derived(net, width=0.5)
    x = torch.rand(4, 3, 16, 16)
    assert torch.allclose(student.eval()(x), net(x), atol=1e-5)


def test_groups_stay_and_divide_what_is_left(nets: Nets, derived: Derive) -> None:
    """4 groups of 8 channels: a share of 0.6 would be 5, and becomes 4; so all around it."""
    student: Any = derived(nets["resnet"][0](groups=4), width=0.6)[0]
    assert [student.layer1[0].conv2.groups, student.layer1[0].conv2.out_channels] == [4, 4]
    assert student.layer1[0].conv1.out_channels == student.stem[0].out_channels == 4
    assert student.layer3[0].conv2.weight.shape == (20, 5, 3, 3)
    student(torch.rand(2, 3, 16, 16))


def test_a_norm_in_groups(derived: Derive) -> None:
    net = nn.Sequential(nn.Conv2d(3, 12, 1), nn.GroupNorm(3, 12), nn.PReLU(12), nn.Conv2d(12, 2, 1))
    student: Any = derived(net, width=0.3)[0]
    assert (student[1].num_groups, student[1].num_channels, len(student[2].weight)) == (3, 3, 3)
    each: Any = derived(nn.Sequential(net[0], nn.GroupNorm(12, 12), net[3]), width=0.3)[0]
    assert (each[1].num_groups, each[1].num_channels) == (4, 4)


class Halves(nn.Module):
    """One half of the channels switches the other."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 16, 3), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        value, switch = self.first(x).chunk(2, 1)
        return self.head(value * switch.sigmoid())  # type: ignore[no-any-return]


def _sharper() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 32, 3), nn.PixelShuffle(2), nn.Conv2d(8, 3, 1))


def _volume() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 6, 2), nn.BatchNorm3d(6), nn.ConvTranspose3d(6, 4, 2))


def _rows() -> nn.Module:
    return nn.Sequential(nn.Conv1d(3, 6, 3), nn.InstanceNorm1d(6, affine=True), nn.Conv1d(6, 2, 1))


@pytest.mark.parametrize(
    ("make", "shape"),
    [(Halves, (3, 8, 8)), (_sharper, (3, 8, 8)), (_volume, (1, 4, 4, 4)), (_rows, (3, 9))],
)
def test_other_ways_to_use_channels(
    derived: Derive, make: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    teacher = make()
    student, _ = derived(teacher, shape, width=0.5)
    first = next(iter(channels(student).values()))[1]
    assert first == next(iter(channels(teacher).values()))[1] // 2
    assert student(torch.rand(2, *shape)).shape == teacher(torch.rand(2, *shape)).shape


def test_what_the_outputs_are_made_of_keeps_its_width(derived: Derive) -> None:
    """An embedding is the sum of several layers: each keeps what the embedding has."""

    class Embedding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.inner = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 1)
            self.outer = nn.Conv2d(12, 8, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.stem(x)
            return (y + self.outer(self.inner(y).relu())).mean((2, 3))

    module = Embedding().requires_grad_(False)
    student, _ = derived(module, width=0.5)
    assert channels(student) == {"stem": (3, 8), "inner": (8, 6), "outer": (6, 8)}
    assert not any(parameter.requires_grad for parameter in student.parameters())


def test_training_flags_stay(nets: Nets, derived: Derive) -> None:
    teacher = nets["resnet"][0]().train()
    teacher.get_submodule("stem").eval()
    student, _ = derived(teacher, width=0.5)
    assert student.training
    assert not student.get_submodule("stem.1").training


@settings(max_examples=12, deadline=None)
@given(
    widths=st.lists(st.integers(1, 12), min_size=2, max_size=4),
    classes=st.integers(1, 5),
    norm=st.booleans(),
    flat=st.booleans(),
    width=st.sampled_from([0.25, 0.5, 0.75]),
)
def test_any_small_network(
    widths: list[int], classes: int, norm: bool, flat: bool, width: float
) -> None:
    layers: list[nn.Module] = []
    for before, after in zip([2, *widths], widths, strict=False):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        layers += [nn.BatchNorm2d(after)] if norm else []
    pool = nn.AdaptiveAvgPool2d(2 if flat else 1)
    size = widths[-1] * (4 if flat else 1)
    net = nn.Sequential(*layers, pool, nn.Flatten(), nn.Linear(size, classes))
    model = DeviceModel(net, None, [TensorSpec("x", "float32", (None, 2, 4, 4))])
    expected = [max(1, int(count * width + 0.5)) for count in widths]
    if expected == widths:
        with pytest.raises(ModelError, match=f"^width: {width:g} leaves every layer as it is. "):
            derive(model, [torch.rand(2, 2, 4, 4)], 1, width)
        return
    derive(model, [torch.rand(2, 2, 4, 4)], 1, width)
    found = [layer.out_channels for layer in net if isinstance(layer, nn.Conv2d)]
    assert found == expected
    assert net.train()(torch.rand(3, 2, 4, 4)).shape == (3, classes)


class Written(nn.Module):
    """A number of channels stands in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8 * 36, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).reshape(-1, 288))  # type: ignore[no-any-return]


class Weighted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.gamma = nn.Conv2d(3, 8, 3), nn.Parameter(torch.ones(8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * self.gamma


class Matched(nn.Module):
    """Positions are compared with each other."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3), nn.Linear(36, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x).flatten(2)
        return self.head(y.transpose(1, 2) @ y)  # type: ignore[no-any-return]


class Mixing(nn.Module):
    """A linear layer over positions."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.mix, self.head = nn.Conv2d(3, 8, 3), nn.Linear(36, 36), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.mix(self.body(x).flatten(2)).mean(2))  # type: ignore[no-any-return]


class Twice(nn.Module):
    """One layer on the image and on what it made of it."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.body(x)))  # type: ignore[no-any-return]


def _tied() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 2, 1))
    net[1].weight = net[0].weight
    return net


def _normalised() -> nn.Module:
    return nn.Sequential(weight_norm(nn.Conv2d(3, 4, 1)), nn.Conv2d(4, 2, 1))


NETWORKS = "^width is for convolutional and fully connected networks; "
ALONE = r"\. Use depth: alone, or give the student a model: of its own$"
ANOTHER = r"\. Try another width, or give the student a model: of its own$"
REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a weight of its own": (
        Weighted,
        NETWORKS + rf"the model \(Weighted\) has weights of its own: gamma{ALONE}",
    ),
    "a product": (
        Matched,
        NETWORKS + "forward multiplies activations with each other, as attention does "
        rf"\((__)?r?matmul(__)?\){ALONE}",
    ),
    "a shared weight": (_tied, f"^0 and 1 share a weight{ALONE}"),
    "a computed weight": (_normalised, f"^the weight of 0 is computed from others{ALONE}"),
    "called twice": (Twice, f"^body is called several times, and other channels reach it{ALONE}"),
    "another axis": (
        Mixing,
        f"^mix takes parts of channels for channels, or another axis for them{ANOTHER}",
    ),
    "a number in forward": (
        Written,
        r"test_width.py:\d+: with width: 0.5, head does not fit its input any more \(RuntimeError: "
        r"mat1 and mat2 shapes cannot be multiplied \(1x288 and 144x2\)\). Look for sizes that "
        f"forward has as numbers{ANOTHER}",
    ),
    "more than channels": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.LayerNorm((4, 8, 8)), nn.Conv2d(4, 2, 1)),
        f"^1 normalises over more than the channels{ALONE}",
    ),
    "nothing between": (
        lambda: nn.Conv2d(3, 4, 1),
        f"^width: 0.5 leaves every layer as it is{ANOTHER}",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_made_narrower(derived: Derive, case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(ModelError, match=message):
        derived(make(), (3, 8, 8), width=0.5)


def test_transformers_have_no_width(nets: Nets, derived: Derive) -> None:
    message = r"self_attn \(MultiheadAttention\) has weights of its own: in_proj_weight"
    with pytest.raises(ModelError, match=NETWORKS + "encoder.layers.0." + message):
        derived(nets["encoder"][0](), nets["encoder"][1], width=0.5)
    with pytest.raises(ModelError, match=NETWORKS + "forward multiplies activations"):
        derived(nets["vit"][0](), nets["vit"][1], width=0.5)


def test_groups_that_a_concatenation_does_not_fill(derived: Derive) -> None:
    class Uneven(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 7, 1)
            self.norm, self.head = nn.GroupNorm(4, 12), nn.Conv2d(12, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(torch.cat([self.one(x), self.two(x)], 1)))  # type: ignore[no-any-return]

    message = "^7 channels would reach norm, unequally spread over its 4 groups" + ANOTHER
    with pytest.raises(ModelError, match=message):
        derived(Uneven(), (3, 8, 8), width=0.5)
