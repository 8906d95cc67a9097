"""Taps: what chosen layers of a model give, read while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgestill.errors import ModelError
from edgestill.spelling import nearest
from edgestill.train.losses.config import Part, Tap

# The names of a self-attention's projections in the usual libraries: three layers, or one for all.
_PROJECTIONS = (
    ("query", "key", "value"),
    ("q_proj", "k_proj", "v_proj"),
    ("q_lin", "k_lin", "v_lin"),
    ("to_q", "to_k", "to_v"),
    ("q", "k", "v"),
)
# Not `query_key_value`: where it is used, queries, keys and values alternate by heads.
_FUSED = ("qkv", "c_attn")


class Taps:
    """Reads layers of `model` while it runs within `with taps:`, each once for all that read it.

    Args:
        role: whose layers they are, for messages: `student` or `teacher`.

    Raises:
        ModelError: the model has no such layer, or the layer no such part.
    """

    def __init__(self, model: nn.Module, taps: Iterable[Tap], role: str) -> None:
        self._role = role
        self._fast_path = True
        self._readings: dict[Tap, _Reading] = {}
        for tap in taps:
            with _about(role, tap):
                self._readings[tap] = _READERS[tap.part](find_layer(model, tap.layer))

    def __enter__(self) -> None:
        # PyTorch's transformer layers have one that calls no inner layer, and that takes padding
        # out into nested tensors, which nothing here could read.
        self._fast_path = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(self._fast_path and not self._readings)
        for reading in self._readings.values():
            reading.begin()

    def __exit__(self, *_: object) -> None:
        torch.backends.mha.set_fastpath_enabled(self._fast_path)
        for reading in self._readings.values():
            reading.reads = False

    def collect(self, count: int) -> dict[Tap, Tensor]:
        """What was read within the last `with`, each `[b, ...] float32`.

        Raises:
            ModelError: a layer did not run, ran more than once, or gave no such part.
        """
        return {tap: self._take(tap, reading, count) for tap, reading in self._readings.items()}

    def close(self) -> None:
        """Stop reading."""
        for reading in self._readings.values():
            for handle in reading.handles:
                handle.remove()

    def _take(self, tap: Tap, reading: _Reading, count: int) -> Tensor:
        pieces = reading.pieces
        times = max(len(piece) for piece in pieces)
        with _about(self._role, tap):
            if min(len(piece) for piece in pieces) == 0:
                raise ModelError(
                    "the layer did not run", fix="Name a layer that forward calls as a module"
                )
            if times > 1:
                raise ModelError(
                    f"the layer ran {times} times in one forward",
                    fix="Name a layer that runs once, such as the block around it",
                )
            given = [piece[0] for piece in pieces]
            if any(isinstance(x, Tensor) and x._version != version for x, version in given):
                raise ModelError(
                    "what follows the layer changes its output in place, so that it is gone",
                    fix="Name the block around it, or leave out inplace=True there",
                )
            joined = reading.join([_tensor(output) for output, _ in given]).float()
            if len(joined) != count:
                raise ModelError(
                    f"it gives {list(joined.shape)} for {count} samples: its first axis is not the "
                    "batch",
                    fix="Name a layer whose output has the batch first",
                )
        reading.begin()  # features are large: they live no longer than their step
        reading.reads = False
        return joined


@contextmanager
def _about(role: str, tap: Tap) -> Iterator[None]:
    """Errors say which layer they are about."""
    try:
        yield
    except ModelError as error:
        error.where = f"layer {tap.layer} of the {role}"
        raise


@dataclass
class _Reading:
    """What the hooks of one tap put down, piece by piece, and how that becomes one tensor.

    With each output goes its version, which PyTorch counts up when a tensor is written to.
    """

    pieces: list[list[tuple[Any, int]]]
    join: Callable[[Sequence[Tensor]], Tensor]
    handles: list[Any] = field(default_factory=list)
    reads: bool = False

    def begin(self) -> None:
        self.pieces = [[] for _ in self.pieces]
        self.reads = True

    def put(self, output: Any, piece: int = 0) -> None:
        if self.reads:
            version = output._version if isinstance(output, Tensor) else 0
            self.pieces[piece].append((output, version))

    def hook(self, layer: nn.Module, piece: int = 0) -> None:
        def put_down(_: nn.Module, __: Any, output: Any) -> None:
            self.put(output, piece)

        self.handles.append(layer.register_forward_hook(put_down))


def attention_map(feature: Tensor) -> Tensor:
    """Where a feature `[b, c, h, w]` is strong: the mean of its squares over channels, `[b, h, w]`.

    (Zagoruyko and Komodakis, "Paying More Attention to Attention", 2017, section 3.1, p = 2.)

    Raises:
        ModelError: the feature has another rank.
    """
    if feature.ndim != 4:
        raise ModelError(
            f"it gives {list(feature.shape)}, and an attention map is made of "
            "[b, channels, height, width]",
            fix="Name a convolutional layer, or use hint",
        )
    return feature.float().pow(2).mean(dim=1)


def _output(layer: nn.Module) -> _Reading:
    reading = _Reading([[]], lambda pieces: pieces[0])
    reading.hook(layer)
    return reading


def _attention_map(layer: nn.Module) -> _Reading:
    reading = _Reading([[]], lambda pieces: attention_map(pieces[0]))
    reading.hook(layer)
    return reading


def _queries_keys_values(layer: nn.Module) -> _Reading:
    if isinstance(layer, nn.MultiheadAttention):
        return _of_multihead(layer)
    inner = dict(layer.named_children())
    for names in _PROJECTIONS:
        if all(name in inner for name in names):
            reading = _Reading([[], [], []], _stacked)
            for piece, name in enumerate(names):
                reading.hook(inner[name], piece)
            return reading
    for name in _FUSED:
        if name in inner:
            reading = _Reading([[]], lambda pieces: _stacked(pieces[0].chunk(3, -1)))
            reading.hook(inner[name])
            return reading
    known = ", ".join([*("/".join(names) for names in _PROJECTIONS), *_FUSED])
    raise ModelError(
        f"no self-attention that is known: it holds {', '.join(inner) or 'no layers'}",
        fix=f"Name the module that holds the projections ({known}), or an nn.MultiheadAttention",
    )


def _stacked(pieces: Sequence[Tensor]) -> Tensor:
    """Queries, keys and values, each `[b, t, d]`, as `[b, 3, t, d]`."""
    if len({piece.shape for piece in pieces}) > 1 or pieces[0].ndim != 3:
        shapes = ", ".join(str(list(piece.shape)) for piece in pieces)
        raise ModelError(
            f"its queries, keys and values are {shapes}, not three [b, tokens, width] alike",
            fix="Name a self-attention with as many heads of keys and values as of queries",
        )
    return torch.stack(list(pieces), dim=1)


def _of_multihead(layer: nn.MultiheadAttention) -> _Reading:
    """Its projections are no layers: they are computed again from what it is given."""
    reading = _Reading([[]], lambda pieces: pieces[0])

    def project(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        if not reading.reads:
            return
        given = dict(zip(("query", "key", "value"), args, strict=False)) | named
        # Of other widths for keys and values, it has three weights in place of one.
        weights: Any = layer.in_proj_weight
        if weights is None:
            weights = (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight)
        else:
            weights = weights.chunk(3)
        biases = (None,) * 3 if layer.in_proj_bias is None else layer.in_proj_bias.chunk(3)
        rows = [given[name] for name in ("query", "key", "value")]
        if not layer.batch_first:
            rows = [row.transpose(0, 1) for row in rows]
        projected = map(functional.linear, rows, weights, biases)
        reading.put(_stacked(list(projected)))

    reading.handles.append(layer.register_forward_pre_hook(project, with_kwargs=True))
    return reading


_READERS: Mapping[Part, Callable[[nn.Module], _Reading]] = {
    "output": _output,
    "attention map": _attention_map,
    "queries keys values": _queries_keys_values,
}


def find_layer(model: nn.Module, path: str) -> nn.Module:
    """The module at a path.

    Raises:
        ModelError: there is none.
    """
    try:
        return model.get_submodule(path)
    except AttributeError:
        layers = [name for name, _ in model.named_modules() if name]
        raise ModelError(
            "there is no such layer",
            fix=nearest(path, layers, "Layers"),
        ) from None


def _tensor(output: Any) -> Tensor:
    """The tensor that a layer returns; of several the first, as libraries put it."""
    while not isinstance(output, Tensor):
        if isinstance(output, Mapping):
            values: Sequence[Any] = list(output.values())
        elif is_dataclass(output):
            values = [getattr(output, item.name) for item in fields(output)]
        elif isinstance(output, (tuple, list)):
            values = output
        else:
            values = []
        if not values:
            raise ModelError(
                f"it returns a {type(output).__name__}, not a tensor",
                fix="Name a layer that returns a tensor",
            )
        output = values[0]
    return output
