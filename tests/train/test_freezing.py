"""Which part of a model learns."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgestill.artifact import TensorSpec
from edgestill.errors import ModelError
from edgestill.models.wrapper import DeviceModel
from edgestill.train.freezing import freeze_all_but, unreached
from edgestill.train.learner import Learner
from edgestill.train.losses import make_losses
from edgestill.train.losses.config import CeLoss


class Body(nn.Module):
    """Its first layer came frozen; the second is shared with the model around it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4).requires_grad_(False)
        self.norm = nn.BatchNorm1d(4)
        self.second = nn.Linear(4, 4)


class Net(nn.Module):
    """The body, and a head that nothing calls."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU())
        self.body = Body()
        self.shared = self.body.second
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.stem(x)
        return self.body.second(self.body.norm(self.body.first(y)))[:, :3]


@pytest.fixture
def model() -> DeviceModel:
    return DeviceModel(Net(), None, (TensorSpec("x", "float32", (None, 4)),))


def learning(model: DeviceModel) -> set[str]:
    return {name for name, p in model.module.named_parameters() if p.requires_grad}


def test_gradients_are_left_to_what_learns(model: DeviceModel) -> None:
    frozen = freeze_all_but(model, ("body", "stem.1"))
    # What came frozen stays so.
    names = ("body.norm", "body.second", "stem.1")
    assert learning(model) == {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}
    net = model.module
    assert set(frozen) == {model, net, net.stem, net.stem[0], net.stem[2], net.head}


def test_a_module_may_be_named_by_each_of_its_paths(model: DeviceModel) -> None:
    freeze_all_but(model, ("shared",))
    assert learning(model) == {"body.second.weight", "body.second.bias"}


def test_train_mode_is_for_what_learns(model: DeviceModel) -> None:
    learner = Learner(model, make_losses([CeLoss()], "classification"), only=("body",))
    for mode in (True, False, True):
        learner.train(mode)
        assert learner.losses.training is mode
        inner = model.module.body
        assert [inner.training, inner.norm.training, inner.first.training] == [mode] * 3
        assert not any(m.training for m in (model, model.module, *model.module.stem.modules()))


def test_where_no_gradient_arrives(model: DeviceModel) -> None:
    only = ("stem.0", "head", "body")
    freeze_all_but(model, only)
    assert list(unreached(model, only)) == list(only)
    model.prediction(torch.randn(2, 4)).sum().backward()
    assert list(unreached(model, only)) == ["head"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("stem.9", "only: stem.9: there is no such layer. Did you mean 'stem.2'?"),
        ("stem.2", "only: stem.2: ReLU has no trainable parameters. Leave it out, or name a layer"),
        ("body.first", "only: body.first: Linear has no trainable parameters. Leave it out, or"),
    ],
)
def test_what_cannot_learn(model: DeviceModel, path: str, message: str) -> None:
    with pytest.raises(ModelError) as error:
        freeze_all_but(model, ("body", path))
    assert str(error.value).startswith(message)
