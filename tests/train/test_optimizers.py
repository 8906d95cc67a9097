"""Learning rates follow their schedules, and averages are those of a plain loop."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgestill.errors import ModelError
from edgestill.train.config import TrainConfig
from edgestill.train.optimizers import learning_rate, make_average, make_optimizer


def rates(schedule: str, warmup: float, steps: int, highest: float = 0.2) -> list[float]:
    config = TrainConfig(learning_rate=highest, schedule=schedule, warmup=warmup)  # type: ignore[arg-type]
    return [learning_rate(config, step, steps) for step in range(steps)]


# Learning rates


@given(
    st.sampled_from(["cosine", "one_cycle", "step", "constant"]),
    st.floats(0, 0.99),
    st.integers(1, 200),
)
def test_rates_rise_to_the_highest_and_then_fall(schedule: str, warmup: float, steps: int) -> None:
    found = rates(schedule, warmup, steps)
    risen = round(warmup * steps)
    assert all(0 < rate <= 0.2 * (1 + 1e-12) for rate in found)
    assert found[:risen] == sorted(found[:risen])
    assert found[risen:] == sorted(found[risen:], reverse=True)
    if risen < steps:
        assert max(found) == found[risen] or max(found) == found[risen - 1]


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
def test_the_warm_up_is_a_line_that_arrives(schedule: str) -> None:
    found = rates(schedule, 0.25, 40)
    assert found[:10] == pytest.approx([0.2 * (step + 1) / 10 for step in range(10)])
    assert found[10] == pytest.approx(0.2)


def test_cosine_is_half_a_cosine_to_nothing() -> None:
    found = rates("cosine", 0.0, 50)
    expected = [0.1 * (1 + math.cos(math.pi * step / 50)) for step in range(50)]
    assert found == pytest.approx(expected)


def test_step_falls_tenfold_three_times() -> None:
    found = rates("step", 0.0, 80)
    assert found == pytest.approx([0.2] * 50 + [0.02] * 10 + [0.002] * 10 + [0.0002] * 10)


def test_constant_stays() -> None:
    assert rates("constant", 0.0, 9) == [0.2] * 9


def test_one_cycle_is_that_of_pytorch() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=0.1)
    # PyTorch's ends at its last step, ours one after, and its warm-up counts from 1.
    peer = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        0.2,
        total_steps=101,
        pct_start=31 / 101,
        cycle_momentum=False,
        final_div_factor=400,
    )
    expected = []
    for _ in range(100):
        expected.append(peer.get_last_lr()[0])
        optimizer.step()
        peer.step()
    assert rates("one_cycle", 0.3, 100) == pytest.approx(expected, rel=1e-6)


# Optimizers


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_only_weights_are_decayed(name: str, kind: type) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    model[2].weight.requires_grad_(False)
    config = TrainConfig(optimizer=name, weight_decay=0.3, learning_rate=0.1, momentum=0.8)  # type: ignore[arg-type]
    optimizer = make_optimizer(model, config)
    assert type(optimizer) is kind
    decayed, plain = optimizer.param_groups
    assert decayed["weight_decay"] == 0.3
    assert [id(p) for p in decayed["params"]] == [id(model[0].weight)]
    assert plain["weight_decay"] == 0
    expected = [model[0].bias, model[1].weight, model[1].bias, model[2].bias]
    assert [id(p) for p in plain["params"]] == [id(p) for p in expected]
    if kind is torch.optim.SGD:
        assert decayed["momentum"] == 0.8
        assert decayed["nesterov"]


def test_sgd_without_momentum_is_plain() -> None:
    config = TrainConfig(optimizer="sgd", momentum=0.0)
    assert not make_optimizer(nn.Linear(1, 1), config).param_groups[0]["nesterov"]


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(ModelError) as error:
        make_optimizer(nn.ReLU(), TrainConfig())
    assert str(error.value) == (
        "the model has no trainable parameters. Give it weights, or leave out train"
    )


# Moving averages


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_an_average_is_that_of_a_plain_loop(decay: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = make_average(model, decay)
    expected: dict[str, Any] = {}
    for update in range(30):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model(torch.randn(8, 3))  # moves the batch statistics, and counts the batches
        average.update_parameters(model)
        for name, value in model.state_dict().items():
            kept = min(decay, (1 + update) / (10 + update))
            if update == 0 or not value.is_floating_point():
                expected[name] = value.double().clone()
            else:
                expected[name] = kept * expected[name] + (1 - kept) * value.double()
    for name, value in average.module.state_dict().items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert average.module[1].num_batches_tracked == 30


def test_the_averaged_model_is_a_copy() -> None:
    model = nn.Linear(2, 2)
    average = make_average(model, 0.9)
    average.update_parameters(model)
    with torch.no_grad():
        model.weight.zero_()
    assert average.module.weight.abs().sum() > 0
