"""Views are functions of the sample, the view's number and the seed, and of nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from edgestill.errors import ModelError
from edgestill.train.config import AugmentConfig
from edgestill.train.views import View, Views, require_whole_labels

CPU = torch.device("cpu")
COUNT, SIZE = 40, 6

# Each pixel of each image says where it is from: image, channel, row and column.
IMAGES: NDArray[np.float32] = (
    np.arange(COUNT)[:, None, None, None] * 1000
    + np.arange(3)[None, :, None, None] * 100
    + np.arange(SIZE)[None, None, :, None] * 10
    + np.arange(SIZE)[None, None, None, :]
    + 1
).astype(np.float32)
IDS = np.random.default_rng(3).integers(0, 2**64, COUNT, dtype=np.uint64)
EVERYTHING = AugmentConfig(crop=2, flip=True, mixup=0.4, cutmix=1.0)
CONFIGS = [
    AugmentConfig(),
    AugmentConfig(crop=2),
    AugmentConfig(flip=True),
    AugmentConfig(mixup=0.4),
    AugmentConfig(cutmix=1.0),
    EVERYTHING,
]


def views(config: AugmentConfig | None, images: NDArray[Any] = IMAGES, ids: Any = IDS) -> Views:
    return Views(config, {"image": images}, ids)


def seen(config: AugmentConfig, rows: Any, view: int, **given: Any) -> View:
    return views(config, **given).of(np.asarray(rows, dtype=np.int64), view, CPU)


# What a view depends on


@settings(max_examples=60)
@given(
    st.sampled_from(CONFIGS),
    st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=20),
    st.integers(0, 1000),
)
def test_a_view_does_not_depend_on_its_place_in_a_batch(
    config: AugmentConfig, rows: list[int], view: int
) -> None:
    """Any batch, in any order, with any rows twice, has what the whole split has of its rows."""
    whole, part = seen(config, range(COUNT), view), seen(config, rows, view)
    assert torch.equal(part.inputs[0], whole.inputs[0][rows])
    if config.mixup or config.cutmix:
        assert part.partners is not None and whole.partners is not None
        assert part.share is not None and whole.share is not None
        assert list(part.partners) == list(whole.partners[rows])
        assert torch.equal(part.share, whole.share[rows])
    else:
        assert part.partners is part.share is None


def test_a_view_belongs_to_the_id_of_a_sample_and_not_to_its_row() -> None:
    config = AugmentConfig(crop=2, flip=True)
    order = np.random.default_rng(0).permutation(COUNT)
    moved = seen(config, range(COUNT), 5, images=IMAGES[order], ids=IDS[order])
    assert torch.equal(moved.inputs[0], seen(config, range(COUNT), 5).inputs[0][order])
    renamed = seen(config, range(COUNT), 5, ids=IDS[order])
    assert not torch.equal(renamed.inputs[0], seen(config, range(COUNT), 5).inputs[0])


@pytest.mark.parametrize("config", CONFIGS[1:])
def test_other_views_and_other_seeds_look_otherwise(config: AugmentConfig) -> None:
    from dataclasses import replace

    first = seen(config, range(COUNT), 0).inputs[0]
    assert torch.equal(first, seen(config, range(COUNT), 0).inputs[0])
    assert not torch.equal(first, seen(config, range(COUNT), 1).inputs[0])
    assert not torch.equal(first, seen(replace(config, seed=1), range(COUNT), 0).inputs[0])


def test_without_augmentation_samples_are_as_they_are() -> None:
    arrays = {"image": IMAGES, "size": np.arange(COUNT)}
    found = Views(None, arrays, IDS).of(np.array([4, 2]), 9, CPU)
    assert torch.equal(found.inputs[0], torch.from_numpy(IMAGES[[4, 2]]))
    assert found.inputs[1].tolist() == [4, 2]


def test_only_the_image_is_changed() -> None:
    arrays = {"size": np.arange(COUNT), "image": IMAGES, "mask": np.ones((COUNT, 5))}
    found = Views(EVERYTHING, arrays, IDS).of(np.array([4, 2]), 9, CPU).inputs
    assert found[0].tolist() == [4, 2]
    assert torch.equal(found[1], seen(EVERYTHING, [4, 2], 9).inputs[0])
    assert torch.equal(found[2], torch.ones(2, 5, dtype=torch.float64))


# Crop and flip


def test_a_crop_is_a_window_of_the_padded_image_and_all_windows_occur() -> None:
    padded = np.pad(IMAGES, ((0, 0), (0, 0), (2, 2), (2, 2)))
    offsets = set()
    for view in range(30):
        for row, found in enumerate(seen(AugmentConfig(crop=2), range(COUNT), view).inputs[0]):
            windows = {
                (down, right): padded[row, :, down : down + SIZE, right : right + SIZE]
                for down in range(5)
                for right in range(5)
            }
            (where,) = (at for at, window in windows.items() if np.array_equal(window, found))
            offsets.add(where)
    assert len(offsets) == 25


def test_half_of_all_views_are_flipped_left_to_right() -> None:
    flipped = 0
    for view in range(50):
        for row, found in enumerate(seen(AugmentConfig(flip=True), range(COUNT), view).inputs[0]):
            mirrored = np.array_equal(found, IMAGES[row, :, :, ::-1])
            assert mirrored or np.array_equal(found, IMAGES[row])
            flipped += mirrored
    assert stats.binomtest(flipped, 50 * COUNT).pvalue > 1e-3


@pytest.mark.parametrize("config", CONFIGS)
def test_channels_may_come_last(config: AugmentConfig) -> None:
    first = seen(config, range(COUNT), 3)
    last = seen(config, range(COUNT), 3, images=np.moveaxis(IMAGES, 1, -1))
    assert torch.equal(last.inputs[0].movedim(-1, 1), first.inputs[0])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_bytes_stay_bytes_where_nothing_is_mixed(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (COUNT, channels, 5, 7), dtype=np.uint8)
    moved = seen(AugmentConfig(crop=1, flip=True), range(COUNT), 0, images=images).inputs[0]
    assert moved.dtype == torch.uint8
    mixed = seen(AugmentConfig(mixup=1.0), range(COUNT), 0, images=images).inputs[0]
    assert mixed.dtype == torch.float32
    assert 0 <= mixed.min() < mixed.max() <= 255


# Mixing


def parts(config: AugmentConfig, view: int) -> tuple[View, torch.Tensor, torch.Tensor]:
    """A mixed view, and the views of its samples and of their partners before they were mixed."""
    from dataclasses import replace

    mixed = seen(config, range(COUNT), view)
    alone = seen(replace(config, mixup=0.0, cutmix=0.0), range(COUNT), view).inputs[0]
    assert mixed.partners is not None
    return mixed, alone, alone[mixed.partners]


def test_mixup_blends_a_samples_view_with_its_partners_own_view() -> None:
    mixed, own, partner = parts(AugmentConfig(crop=2, flip=True, mixup=0.4), 7)
    assert mixed.share is not None
    share = mixed.share[:, None, None, None]
    torch.testing.assert_close(mixed.inputs[0], share * own + (1 - share) * partner)


def test_cutmix_puts_a_box_of_the_partner_in_and_counts_its_area() -> None:
    for view in range(5):
        mixed, own, partner = parts(AugmentConfig(crop=2, flip=True, cutmix=1.0), view)
        assert mixed.share is not None and mixed.partners is not None
        for row in range(COUNT):
            if mixed.partners[row] == row:
                continue
            image = mixed.inputs[0][row]
            # Black borders of both may agree: a pixel of either is one of its own.
            is_own, is_partner = (image == own[row]).all(0), (image == partner[row]).all(0)
            assert (is_own | is_partner).all()
            surely_other, surely_own = ~is_own, ~is_partner
            if surely_other.any():
                rows, columns = surely_other.any(1).nonzero(), surely_other.any(0).nonzero()
                box = torch.zeros_like(is_own)
                box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
                assert not (box & surely_own).any(), "the box is whole"
    mixed, own, partner = parts(AugmentConfig(cutmix=1.0), 0)  # without borders it is exact
    assert mixed.share is not None
    area = (mixed.inputs[0] == partner).all(1).float().mean((1, 2))
    others = torch.from_numpy(mixed.partners != np.arange(COUNT))
    torch.testing.assert_close(1 - mixed.share[others], area[others])


def test_with_both_each_is_used_for_half_of_the_samples() -> None:
    blended = total = 0
    for view in range(30):
        mixed, own, partner = parts(AugmentConfig(mixup=1.0, cutmix=1.0), view)
        whole = ((mixed.inputs[0] == own) | (mixed.inputs[0] == partner)).flatten(1).all(1)
        different = torch.from_numpy(mixed.partners != np.arange(COUNT))
        blended += int((~whole & different).sum())
        total += int(different.sum())
    assert stats.binomtest(blended, total).pvalue > 1e-3


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_have_the_beta_distribution(alpha: float) -> None:
    ids = np.arange(4000, dtype=np.uint64)
    many = views(AugmentConfig(mixup=alpha), np.zeros((4000, 1, 2, 2), np.float32), ids)
    share = many.of(np.arange(4000), 0, CPU).share
    assert share is not None
    assert stats.kstest(share.double().numpy(), stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_areas_of_cutmix_are_those_of_boxes_that_the_border_cuts() -> None:
    ids = np.arange(3000, dtype=np.uint64)
    size = 64
    many = views(AugmentConfig(cutmix=1.0), np.zeros((3000, 1, size, size), np.float32), ids)
    share = many.of(np.arange(3000), 0, CPU).share
    assert share is not None
    # A box of area a, its centre uniform, keeps of each side s = sqrt(a) on average s - s^2 / 4.
    side = np.sqrt(np.linspace(0, 1, 100_001))
    expected = float(((side - side**2 / 4) ** 2).mean())
    assert float(1 - share.double().mean()) == pytest.approx(expected, abs=0.02)


# Chance


@pytest.mark.parametrize("consecutive", [True, False])
def test_numbers_are_uniform_over_ids_and_over_views(consecutive: bool) -> None:
    rng = np.random.default_rng(0)
    ids = (
        np.arange(5000, dtype=np.uint64)
        if consecutive
        else rng.integers(0, 2**64, 5000, dtype=np.uint64)
    )
    many = views(AugmentConfig(), np.zeros((5000, 1, 1, 1), np.float32), ids)
    rows = np.arange(5000)
    over_ids = many._uniform(rows, 0, "flip")
    over_views = np.array([many._uniform(rows[:1], view, "flip")[0] for view in range(2000)])
    for numbers in (over_ids, over_views):
        assert 0 <= numbers.min() < numbers.max() < 1
        counts = np.histogram(numbers, bins=50, range=(0, 1))[0]
        assert stats.chisquare(counts).pvalue > 1e-3


def test_numbers_of_two_uses_two_views_and_two_neighbours_are_unrelated() -> None:
    ids = np.arange(5000, dtype=np.uint64)
    many = views(AugmentConfig(), np.zeros((5000, 1, 1, 1), np.float32), ids)
    rows = np.arange(5000)
    one = many._uniform(rows, 0, "down")
    for other in (
        many._uniform(rows, 0, "right"),
        many._uniform(rows, 1, "down"),
        np.roll(one, 1),
    ):
        table = np.histogram2d(one, other, bins=10, range=[[0, 1], [0, 1]])[0]
        assert stats.chisquare(table.ravel()).pvalue > 1e-3


# What is no image


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": (4, 5)}, "0 of them are: x [5]"),
        ({"x": (4, 5, 6, 7)}, "0 of them are: x [5, 6, 7]"),
        ({"x": (4, 3, 6, 7), "y": (4, 6, 7, 1)}, "2 of them are: x [3, 6, 7], y [6, 7, 1]"),
    ],
)
def test_not_exactly_one_image_is_refused(arrays: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ModelError) as error:
        Views(AugmentConfig(), {name: np.zeros(shape) for name, shape in arrays.items()}, IDS[:4])
    assert str(error.value) == (
        f"augment: augment needs one image among the inputs, and {message}. An image is [channels, "
        "height, width] or [height, width, channels] with 1, 3 or 4 channels. Leave augment out "
        "for other data"
    )


def test_labels_of_pixels_do_not_go_with_moved_images() -> None:
    masks = np.zeros((4, 8, 8), dtype=np.int64)
    require_whole_labels(None, masks)
    require_whole_labels(AugmentConfig(flip=True), masks[:, 0])
    with pytest.raises(ModelError) as error:
        require_whole_labels(AugmentConfig(flip=True), masks)
    assert str(error.value) == (
        "augment: augment moves pixels, and the labels [8, 8] of a sample belong to positions. "
        "Leave augment out, or augment in the data that you bring"
    )


def test_a_crop_that_leaves_nothing_of_an_image_is_refused() -> None:
    images = {"image": np.zeros((2, 3, 8, 6), dtype=np.uint8)}
    with pytest.raises(ModelError, match=r"^augment.crop: crop adds 6 pixels to each side of"):
        Views(AugmentConfig(crop=6), images, np.arange(2, dtype=np.uint64))
