"""Taps read what layers give, whatever they return and however their model runs them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from edgestill.errors import ModelError
from edgestill.train.taps import Part, Tap, Taps, attention_map

QKV: Part = "queries keys values"


def read(model: nn.Module, tap: Tap, *inputs: Tensor, role: str = "student") -> Tensor:
    taps = Taps(model, [tap], role)
    try:
        with taps:
            model(*inputs)
        return taps.collect(len(inputs[0]))[tap]
    finally:
        taps.close()


def error_of(call: Callable[[], object]) -> str:
    with pytest.raises(ModelError) as error:
        call()
    return str(error.value)


@pytest.fixture
def tokens() -> Tensor:
    return torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))


# What is read


def test_a_layer_is_read_each_time_the_model_runs_within() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    taps = Taps(model, [Tap("0"), Tap("1")], "student")
    for scale in (1.0, 2.0):
        inputs = torch.full((2, 3), scale)
        with taps:
            model(inputs)
        model(100 * inputs)  # not within
        found = taps.collect(2)
        assert torch.equal(found[Tap("0")], model[0](inputs))
        assert torch.equal(found[Tap("1")], model[0](inputs).relu())
    assert found[Tap("0")].requires_grad


def test_features_are_float32_and_not_kept_after_they_are_collected() -> None:
    model = nn.Sequential(nn.Linear(3, 4).bfloat16())
    taps = Taps(model, [Tap("0")], "student")
    with taps:
        model(torch.ones(2, 3, dtype=torch.bfloat16))
    assert taps.collect(2)[Tap("0")].dtype == torch.float32
    assert "did not run" in error_of(lambda: taps.collect(2))


def test_nothing_is_left_on_a_model_whose_taps_are_closed() -> None:
    model = nn.Sequential(nn.MultiheadAttention(8, 2), nn.Linear(3, 4))
    taps = Taps(model, [Tap("0", QKV), Tap("1"), Tap("1", "attention map")], "student")
    taps.close()
    for layer in model.modules():
        assert not layer._forward_hooks
        assert not layer._forward_pre_hooks


@dataclass
class Answer:
    hidden: Tensor
    attention: Tensor


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: x,
        lambda x: (x, x + 1),
        lambda x: [x],
        lambda x: ((x, x + 1), x + 2),
        lambda x: {"hidden": x, "attention": x + 1},
        lambda x: OrderedDict(hidden=x, attention=x + 1),
        lambda x: Answer(x, x + 1),
    ],
)
def test_of_several_tensors_the_first_is_read(wrap: Callable[[Tensor], object]) -> None:
    class Layer(nn.Module):
        def forward(self, x: Tensor) -> object:
            return wrap(2 * x)

    x = torch.ones(2, 3)
    assert torch.equal(read(nn.Sequential(OrderedDict(layer=Layer())), Tap("layer"), x), 2 * x)


@pytest.mark.parametrize(
    ("output", "kind"), [(None, "NoneType"), ((), "tuple"), ({}, "dict"), (3.0, "float")]
)
def test_a_layer_that_returns_no_tensor_is_refused(output: object, kind: str) -> None:
    class Layer(nn.Module):
        def forward(self, x: Tensor) -> object:
            return output

    model = nn.Sequential(OrderedDict(layer=Layer()))
    assert error_of(lambda: read(model, Tap("layer"), torch.ones(1))) == (
        f"layer layer of the student: it returns a {kind}, not a tensor. Name a layer that returns "
        "a tensor"
    )


# Names


def named() -> nn.Module:
    body = nn.Sequential(OrderedDict(first=nn.Linear(2, 2), second=nn.Linear(2, 2)))
    return nn.Sequential(OrderedDict(body=body, head=nn.Linear(2, 2)))


def test_a_wrong_name_is_refused_with_the_nearest() -> None:
    assert error_of(lambda: Taps(named(), [Tap("body.frist")], "teacher")) == (
        "layer body.frist of the teacher: there is no such layer. Did you mean 'body.first'?"
    )


def test_a_name_that_is_like_no_other_is_refused_with_all() -> None:
    assert error_of(lambda: Taps(named(), [Tap("x")], "student")) == (
        "layer x of the student: there is no such layer. Layers: body, body.first, "
        "body.second, head"
    )


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(3, 3)
        self.unused = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(self.used(x))  # type: ignore[no-any-return]


def test_a_layer_that_never_runs_is_refused() -> None:
    assert error_of(lambda: read(Unused(), Tap("unused"), torch.ones(2, 3))) == (
        "layer unused of the student: the layer did not run. Name a layer that forward calls as a "
        "module"
    )


def test_a_layer_that_runs_twice_is_refused() -> None:
    assert error_of(lambda: read(Unused(), Tap("used"), torch.ones(2, 3))) == (
        "layer used of the student: the layer ran 2 times in one forward. Name a layer that runs "
        "once, such as the block around it"
    )


def test_checkpointed_layers_that_run_again_in_backward_ran_once() -> None:
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.layer, x, use_reentrant=False)  # type: ignore[no-any-return]

    model = Checkpointed()
    taps = Taps(model, [Tap("layer")], "student")
    for _ in range(2):
        with taps:
            model(torch.ones(2, 3)).sum().backward()
        taps.collect(2)


# Attention maps


def test_an_attention_map_is_the_mean_of_squares_over_channels() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3))
    x = torch.randn(2, 3, 8, 8)
    found = read(model, Tap("0", "attention map"), x)
    feature = model[0](x)
    expected = sum(feature[:, channel] ** 2 for channel in range(6)) / 6
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(attention_map(feature[:, torch.randperm(6)]), expected)


def test_an_attention_map_is_refused_of_what_is_no_image() -> None:
    model = nn.Sequential(nn.Linear(3, 4))
    assert error_of(lambda: read(model, Tap("0", "attention map"), torch.ones(2, 3))) == (
        "layer 0 of the student: it gives [2, 4], and an attention map is made of [b, channels, "
        "height, width]. Name a convolutional layer, or use hint"
    )


# Queries, keys and values


class Separate(nn.Module):
    """As BERT's self-attention is built, and others under other names."""

    def __init__(self, names: Iterable[str], widths: Iterable[int] = (8, 8, 8)) -> None:
        super().__init__()
        self.names = list(names)
        for name, width in zip(self.names, widths, strict=True):
            self.add_module(name, nn.Linear(8, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.parts(x)[2]

    def parts(self, x: Tensor) -> list[Tensor]:
        return [self.get_submodule(name)(x) for name in self.names]


@pytest.mark.parametrize(
    "names",
    [
        ("query", "key", "value"),
        ("q_proj", "k_proj", "v_proj"),
        ("q_lin", "k_lin", "v_lin"),
        ("to_q", "to_k", "to_v"),
        ("q", "k", "v"),
    ],
)
def test_projections_are_known_by_their_usual_names(tokens: Tensor, names: tuple[str]) -> None:
    model = nn.Sequential(OrderedDict(attention=Separate(names)))
    found = read(model, Tap("attention", QKV), tokens)
    assert found.shape == (2, 3, 5, 8)
    for piece, expected in zip(found.unbind(1), model.attention.parts(tokens), strict=True):
        assert torch.equal(piece, expected)


@pytest.mark.parametrize("name", ["qkv", "c_attn"])
def test_one_layer_may_be_all_projections(tokens: Tensor, name: str) -> None:
    model = nn.Sequential(
        OrderedDict(attention=nn.Sequential(OrderedDict({name: nn.Linear(8, 24)})))
    )
    found = read(model, Tap("attention", QKV), tokens)
    projected = model.attention[0](tokens)
    for piece, start in zip(found.unbind(1), (0, 8, 16), strict=True):
        assert torch.equal(piece, projected[..., start : start + 8])


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("widths", [None, 6])
def test_projections_of_multihead_attention_give_its_own_output(
    batch_first: bool, bias: bool, widths: int | None
) -> None:
    """What is read is put through attention by hand, and has to give what the layer gives."""
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(
        8, 2, bias=bias, batch_first=batch_first, kdim=widths, vdim=widths
    )
    for parameter in attention.parameters():
        nn.init.normal_(parameter)
    query, memory = torch.randn(3, 5, 8), torch.randn(3, 5, widths or 8)
    given = [x if batch_first else x.transpose(0, 1) for x in (query, memory)]
    model = nn.ModuleDict({"attention": attention})
    taps = Taps(model, [Tap("attention", QKV)], "teacher")
    with taps:
        output, _ = attention(given[0], key=given[1], value=given[1])
    found = taps.collect(3)[Tap("attention", QKV)]
    assert found.shape == (3, 3, 5, 8)
    queries, keys, values = (part.reshape(3, 5, 2, 4).transpose(1, 2) for part in found.unbind(1))
    weights = (queries @ keys.transpose(2, 3) / 2).softmax(-1)
    joined = attention.out_proj((weights @ values).transpose(1, 2).reshape(3, 5, 8))
    torch.testing.assert_close(output if batch_first else output.transpose(0, 1), joined)


@pytest.mark.parametrize("tap", [Tap("layers.1.self_attn", QKV), Tap("layers.1"), Tap("layers.0")])
@pytest.mark.parametrize("padded", [False, True])
def test_pytorchs_fast_transformer_is_read_in_eval_mode(
    tokens: Tensor, tap: Tap, padded: bool
) -> None:
    """Frozen and in eval mode, PyTorch runs these layers in one piece, without inner layers."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, 2).eval().requires_grad_(False)
    padding = torch.zeros(2, 5, dtype=torch.bool)
    padding[0, 3:] = padded
    taps = Taps(model, [tap], "teacher")
    with torch.no_grad(), taps:
        output = model(tokens, src_key_padding_mask=padding if padded else None)
    found = taps.collect(2)[tap]
    taps.close()
    model.train()  # dropout is 0: only the fast path is left out
    inner = model.layers[0](tokens, src_key_padding_mask=padding)
    expected = {
        "layers.0": inner,
        "layers.1": model.layers[1](inner, src_key_padding_mask=padding),
        "layers.1.self_attn": torch.stack(
            nn.functional.linear(
                inner,
                model.layers[1].self_attn.in_proj_weight,
                model.layers[1].self_attn.in_proj_bias,
            ).chunk(3, -1),
            dim=1,
        ),
    }[tap.layer]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        output, model(tokens, src_key_padding_mask=padding), rtol=1e-4, atol=1e-5
    )
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_layer_without_known_projections_is_refused_with_those_that_are_known() -> None:
    model = nn.Sequential(OrderedDict(block=named()))
    assert error_of(lambda: Taps(model, [Tap("block", QKV)], "student")) == (
        "layer block of the student: no self-attention that is known: it holds body, head. Name "
        "the module that holds the projections (query/key/value, q_proj/k_proj/v_proj, "
        "q_lin/k_lin/v_lin, to_q/to_k/to_v, q/k/v, qkv, c_attn), or an nn.MultiheadAttention"
    )
    assert "it holds no layers" in error_of(
        lambda: Taps(model, [Tap("block.head", QKV)], "student")
    )


def test_grouped_keys_and_values_are_refused(tokens: Tensor) -> None:
    names = ("q_proj", "k_proj", "v_proj")
    model = nn.Sequential(OrderedDict(attention=Separate(names, (8, 2, 2))))
    assert error_of(lambda: read(model, Tap("attention", QKV), tokens)) == (
        "layer attention of the student: its queries, keys and values are [2, 5, 8], [2, 5, 2], "
        "[2, 5, 2], not three [b, tokens, width] alike. Name a self-attention with as many heads "
        "of keys and values as of queries"
    )


def test_an_output_that_is_changed_in_place_is_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True))
    assert error_of(lambda: read(model, Tap("0"), torch.randn(2, 3))) == (
        "layer 0 of the student: what follows the layer changes its output in place, so that it is "
        "gone. Name the block around it, or leave out inplace=True there"
    )
    assert read(model, Tap("1"), torch.randn(2, 3)).shape == (2, 4)


def test_an_output_whose_first_axis_is_not_the_batch_is_refused() -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x.transpose(0, 1)).transpose(0, 1)  # type: ignore[no-any-return]

    assert error_of(lambda: read(Turned(), Tap("inner"), torch.randn(2, 5, 3))) == (
        "layer inner of the student: it gives [5, 2, 3] for 2 samples: its first axis is not the "
        "batch. Name a layer whose output has the batch first"
    )
