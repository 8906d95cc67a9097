"""Adapters bring features of any two forms to one grid, and say what they did."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from edgestill.errors import ModelError
from edgestill.train.adapters import Adapter, channels_last, one_grid, pooled


def image(height: int, width: int, channels: int = 2) -> Tensor:
    """`[3, h, w, c]`; every number differs."""
    numbers = torch.arange(3 * height * width * channels, dtype=torch.float32)
    return numbers.reshape(3, height, width, channels)


def sequence(grid: Tensor, class_token: bool = False) -> Tensor:
    """An image's positions, row by row."""
    flat = grid.flatten(1, 2)
    return torch.cat([torch.full_like(flat[:, :1], 1e6), flat], dim=1) if class_token else flat


def halved(grid: Tensor) -> Tensor:
    height, width = grid.shape[1:3]
    return grid.reshape(3, height // 2, 2, width // 2, 2, -1).mean((2, 4))


# Channels


@pytest.mark.parametrize(
    ("shape", "channels", "expected"),
    [
        ((2, 5, 3, 4), None, (2, 3, 4, 5)),
        ((2, 5, 3, 4), "first", (2, 3, 4, 5)),
        ((2, 3, 4, 5), "last", (2, 3, 4, 5)),
        ((2, 5, 3, 4, 6), None, (2, 3, 4, 6, 5)),
        ((2, 7, 5), None, (2, 7, 5)),
        ((2, 5, 7), "first", (2, 1, 7, 5)),
        ((2, 5), None, (2, 5)),
        ((2, 5), "first", (2, 5)),
    ],
)
def test_channels_come_last(
    shape: tuple[int, ...], channels: str | None, expected: tuple[int, ...]
) -> None:
    found = channels_last(torch.zeros(shape), channels)  # type: ignore[arg-type]
    assert tuple(found.shape) == expected


# Grids


def test_features_of_one_grid_stay_as_they_are() -> None:
    first, second = one_grid(image(4, 6), 2 * image(4, 6))
    assert torch.equal(first, image(4, 6).flatten(1, 2))
    assert torch.equal(second, 2 * first)


@pytest.mark.parametrize("swap", [False, True])
def test_the_finer_image_is_averaged_down(swap: bool) -> None:
    pair = (image(4, 6), image(2, 3))
    found = one_grid(*reversed(pair)) if swap else one_grid(*pair)
    fine, coarse = reversed(found) if swap else found
    torch.testing.assert_close(fine, halved(image(4, 6)).flatten(1, 2))
    assert torch.equal(coarse, image(2, 3).flatten(1, 2))


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=3))
def test_means_are_those_of_adaptive_pooling(axes: list[tuple[int, int]]) -> None:
    lengths, grid = [max(axis) for axis in axes], [min(axis) for axis in axes]
    feature = torch.rand(2, *lengths, 3, dtype=torch.float64, requires_grad=True)
    pool = getattr(functional, f"adaptive_avg_pool{len(axes)}d")
    expected = pool(feature.movedim(-1, 1), grid).movedim(1, -1)
    found = pooled(feature, grid)
    torch.testing.assert_close(found, expected)
    weights = torch.rand_like(expected)
    slopes = [torch.autograd.grad(means, feature, weights)[0] for means in (found, expected)]
    torch.testing.assert_close(*slopes)


def test_each_axis_meets_at_its_coarser_grid() -> None:
    first, second = one_grid(image(4, 2), image(2, 4))
    torch.testing.assert_close(first, image(4, 2).reshape(3, 2, 2, 2, 2).mean(2).flatten(1, 2))
    torch.testing.assert_close(second, image(2, 4).reshape(3, 2, 2, 2, 2).mean(3).flatten(1, 2))


@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize("size", [(4, 4), (2, 8)])
def test_a_sequence_beside_an_image_is_read_row_by_row(
    class_token: bool, size: tuple[int, int]
) -> None:
    found, other = one_grid(sequence(image(*size), class_token), image(*size))
    assert torch.equal(found, other)


@pytest.mark.parametrize("class_token", [False, True])
def test_a_square_sequence_beside_a_coarser_image_is_averaged_down(class_token: bool) -> None:
    found, other = one_grid(sequence(image(8, 8), class_token), image(4, 4))
    torch.testing.assert_close(found, halved(image(8, 8)).flatten(1, 2))
    assert other.shape == (3, 16, 2)


@pytest.mark.parametrize("tokens", [(False, True), (True, False), (True, True), (False, False)])
def test_sequences_of_other_lengths_are_images_without_their_class_tokens(
    tokens: tuple[bool, bool],
) -> None:
    first, second = one_grid(sequence(image(8, 8), tokens[0]), sequence(image(4, 4), tokens[1]))
    torch.testing.assert_close(first, halved(image(8, 8)).flatten(1, 2))
    assert torch.equal(second, image(4, 4).flatten(1, 2))


@pytest.mark.parametrize("class_token", [False, True])
def test_sequences_of_one_length_keep_every_token(class_token: bool) -> None:
    whole = sequence(image(4, 4), class_token)
    first, second = one_grid(whole, whole)
    assert torch.equal(first, whole)
    assert torch.equal(second, whole)


def test_the_class_token_that_only_one_has_is_left_out() -> None:
    with_token = sequence(image(4, 4), class_token=True)
    first, second = one_grid(with_token, sequence(image(4, 4)))
    assert torch.equal(first, second)


def test_sequences_that_are_no_images_are_averaged_in_line() -> None:
    line = torch.arange(36.0).reshape(3, 6, 2)
    first, second = one_grid(line, torch.zeros(3, 3, 2))
    torch.testing.assert_close(first, line.reshape(3, 3, 2, 2).mean(2))
    assert second.shape == (3, 3, 2)


def test_signals_are_averaged_in_line_though_their_lengths_are_squares() -> None:
    signal = torch.arange(96.0).reshape(3, 2, 16)
    pair = (channels_last(x, "first") for x in (signal, torch.zeros(3, 2, 4)))
    first, _ = one_grid(*pair)
    torch.testing.assert_close(first, signal.reshape(3, 2, 4, 4).mean(3).transpose(1, 2))


@pytest.mark.parametrize("other", [image(4, 6), sequence(image(4, 6)), image(4, 6)[:, 0, 0]])
def test_a_vector_meets_the_mean_of_the_others_positions(other: Tensor) -> None:
    first, second = one_grid(torch.ones(3, 2), other)
    assert torch.equal(first, torch.ones(3, 1, 2))
    torch.testing.assert_close(second, other.reshape(3, -1, 2).mean(1, keepdim=True))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_any_two_images_meet(h1: int, w1: int, h2: int, w2: int) -> None:
    first, second = one_grid(torch.ones(1, h1, w1, 2), torch.ones(1, h2, w2, 3))
    assert first.shape == (1, min(h1, h2) * min(w1, w2), 2)
    assert second.shape == (1, min(h1, h2) * min(w1, w2), 3)
    torch.testing.assert_close(first, torch.ones_like(first))


@pytest.mark.parametrize(
    ("first", "second"), [((3, 7, 2), (3, 4, 4, 2)), ((3, 4, 4, 2), (3, 7, 2))]
)
def test_a_sequence_that_is_no_image_beside_one_is_refused(
    first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    with pytest.raises(ModelError) as error:
        one_grid(torch.zeros(first), torch.zeros(second))
    assert str(error.value) == (
        f"features of {list(first[1:])} and {list(second[1:])} a sample (channels last) cannot be "
        "brought together. Compare layers with alike positions, or say where channels lie with "
        "channels:"
    )


# Adapters


def test_an_adapter_of_equal_shapes_learns_nothing_and_says_nothing() -> None:
    adapter = Adapter(image(4, 4), image(4, 4))
    assert adapter.words is None
    assert not list(adapter.parameters())


@pytest.mark.parametrize(
    ("student", "teacher", "words"),
    [
        ((3, 4, 4, 2), (3, 2, 2, 2), "[4, 4, 2] and the teacher's [2, 2, 2] meet at 4 positions"),
        (
            (3, 16, 2),
            (3, 17, 5),
            "[16, 2] and the teacher's [17, 5] meet at 16 positions, a linear map takes 2 channels "
            "to 5",
        ),
        (
            (3, 2),
            (3, 4, 4, 5),
            "[2] and the teacher's [4, 4, 5] meet at 1 position, a linear map takes 2 channels "
            "to 5",
        ),
    ],
)
def test_an_adapter_says_what_it_brings_together(
    student: tuple[int, ...], teacher: tuple[int, ...], words: str
) -> None:
    assert Adapter(torch.zeros(student), torch.zeros(teacher)).words == words


@pytest.mark.parametrize("channels", ["first", "last"])
def test_an_adapter_maps_the_students_channels_and_leaves_the_teachers(channels: str) -> None:
    student = channels_last(torch.randn(3, 4, 4, 4), channels)  # type: ignore[arg-type]
    teacher = torch.randn(3, 2, 2, 6)
    adapter = Adapter(student, teacher)
    mapped, same = adapter(student, teacher)
    (weight,) = adapter.parameters()
    pooled = torch.nn.functional.avg_pool2d(student.movedim(-1, 1), 2).movedim(1, -1).flatten(1, 2)
    torch.testing.assert_close(mapped, pooled @ weight.T)
    assert torch.equal(same, teacher.flatten(1, 2))
