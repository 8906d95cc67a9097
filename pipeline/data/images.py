"""Encoded images become one `uint8` array: upright, in one mode, one size and one layout."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy
from numpy.typing import NDArray

from edgestill.data.config import DataConfig, ImageConfig
from edgestill.data.origin import IMAGES, below
from edgestill.data.raw import RawData, checked, choose_columns, with_ignored
from edgestill.data.shards import SPLIT_NAMES, TABLES, give_each_role, suffix
from edgestill.errors import DataError
from edgestill.extras import require
from edgestill.user_files import POINTER, counts, is_pointer, reading

Pixels = NDArray[numpy.uint8]
# An image's bytes, its path, or None where the source has a gap.
Encoded = bytes | Path | None

_SHOWN = 10
_BATCH = 1024
_SMALL_BYTES = 16_000


def read_folder(path: Path, config: DataConfig, work: Path, *, optional: bool = False) -> RawData:
    """A folder with a folder per class, `image` `[n, c, h, w]` or `[n, h, w, c] uint8`.

    Args:
        optional: whether it may hold the images themselves, which have no labels then.

    Raises:
        DataError: no classes, a class without images, images that cannot be read or differ in size.
    """
    where = str(path)
    choose_columns(["image", "label"], config, where, optional=optional)
    found = below(path)
    with reading(path):
        classes = sorted(item.name for item in path.iterdir() if item.is_dir())
    in_class: dict[str, list[tuple[str, Path]]] = {name: [] for name in classes if counts(name)}
    for name, file in found:
        if "/" in name:
            in_class.setdefault(name.partition("/")[0], []).append((name, file))
    labelled = bool(in_class) or not optional
    if labelled:
        _require_classes(in_class, path)
    files = [item for items in in_class.values() for item in items] if labelled else found
    images = [item for item in files if suffix(item[0]) in IMAGES]
    pixels = decode_all(images, len(images), config.image, where, work)
    labels = numpy.array([name.partition("/")[0] for name, _ in images]) if labelled else None
    raw = checked({"image": pixels}, labels, (), where)
    others = [name for name, _ in files if suffix(name) not in IMAGES]
    raw = with_ignored(raw, others, "no images by ending")
    loose = [name for name, _ in found if "/" not in name and suffix(name) in IMAGES]
    return with_ignored(raw, loose if labelled else [], "in no folder of a class")


def _require_classes(in_class: Mapping[str, Sequence[tuple[str, Path]]], path: Path) -> None:
    where = str(path)
    if not in_class:
        raise DataError(
            "it holds no folders", where=where, fix="Put the images into a folder for each class"
        )
    if in_class.keys() <= SPLIT_NAMES.keys():
        raise DataError(
            f"its folders look like splits, not like classes: {', '.join(in_class)}",
            where=where,
            fix=give_each_role({SPLIT_NAMES[name]: str(path / name) for name in in_class}),
        )
    for name, items in in_class.items():
        if name != name.encode(errors="replace").decode():
            raise DataError(
                f"the name of the class folder {name!a} is no text in UTF-8",
                where=where,
                fix="Rename it",
            )
        if any(suffix(file) in IMAGES for file, _ in items):
            continue
        tables = [file for file, _ in items if suffix(file) in TABLES]
        raise DataError(
            f"the class folder {name} has no images"
            + (f", but tables ({tables[0]})" if tables else ""),
            where=where,
            fix="Remove it, or add images",
        )


def decode_all(
    encoded: Iterable[tuple[str, Encoded]], count: int, config: ImageConfig, where: str, work: Path
) -> Pixels:
    """All images, named for messages, as one array on disk (in `work`, gone when it is closed).

    Raises:
        DataError: every image that cannot be read, by name; or images of differing sizes.
    """
    require("PIL.Image", extra="build")
    pixels: Pixels | None = None
    broken: list[str] = []
    shapes: Counter[tuple[int, ...]] = Counter()
    at = 0
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for batch in _batches(encoded):
            images = [item for _, item in batch]
            # Of small images most is Python's work, which threads only get in the way of.
            mapped = pool.map if _mean_bytes(images) > _SMALL_BYTES else map
            decoded = mapped(partial(_decode, config=config), images)
            for (name, _), result in zip(batch, decoded, strict=True):
                if isinstance(result, str):
                    broken.append(f"{name} ({result})")
                else:
                    shapes[result.shape] += 1
                    if pixels is None:
                        pixels = _on_disk((count, *result.shape), work)
                    if result.shape == pixels.shape[1:]:
                        pixels[at] = result
                at += 1
    if broken:
        more = f" and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
        raise DataError(
            f"{len(broken)} of {count} images cannot be read: {', '.join(broken[:_SHOWN])}{more}",
            where=where,
            fix="Replace or remove them",
        )
    if len(shapes) > 1:
        raise _differing(shapes, config, where)
    if pixels is None:
        raise DataError("it has no images", where=where)
    return pixels


def _batches(
    encoded: Iterable[tuple[str, Encoded]],
) -> Iterator[list[tuple[str, Encoded]]]:
    items = iter(encoded)
    while batch := list(islice(items, _BATCH)):
        yield batch


def _on_disk(shape: tuple[int, ...], work: Path) -> Pixels:
    """An array whose pages the system may write out, in a file that vanishes with it."""
    work.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=work) as file:
        return numpy.memmap(file, dtype=numpy.uint8, mode="w+", shape=shape)


def _differing(shapes: Counter[tuple[int, ...]], config: ImageConfig, where: str) -> DataError:
    rows, columns = (1, 2) if config.layout == "NCHW" else (0, 1)
    sizes = [f"{shape[rows]}x{shape[columns]} ({n})" for shape, n in shapes.most_common(5)]
    more = f" and {len(shapes) - 5} more sizes" if len(shapes) > 5 else ""
    height, width = (shapes.most_common(1)[0][0][axis] for axis in (rows, columns))
    return DataError(
        f"the images differ in size: {', '.join(sizes)}{more} (height x width)",
        where=where,
        fix=f"Resize them: data.image.size: [{height}, {width}]",
    )


def _mean_bytes(images: Sequence[Encoded]) -> float:
    sizes = [len(i) if isinstance(i, bytes) else _size(i) for i in images if i is not None]
    return sum(sizes) / max(1, len(sizes))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # it is gone: decoding says so, by its name
        return 0


def _decode(encoded: Encoded, config: ImageConfig) -> Pixels | str:
    """One image as `[c, h, w]` or `[h, w, c]`, or why it cannot be read."""
    from PIL import Image, ImageOps

    if encoded is None:
        return "no image"
    try:
        with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as image:
            image.load()
            upright = ImageOps.exif_transpose(image) if _may_be_turned(image) else image
            pixels: Pixels = numpy.asarray(_converted(_eight_bits(upright), config))
    # Broken files make the decoders raise nearly anything.
    except Exception as error:  # noqa: BLE001
        if isinstance(encoded, Path) and encoded.is_file() and is_pointer(encoded):
            return POINTER
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    return pixels.transpose(2, 0, 1) if config.layout == "NCHW" else pixels


def _may_be_turned(image: Any) -> bool:
    """Whether the file can say an orientation: reading it costs as much as decoding."""
    keys = [str(key) for key in image.info]
    return image.format == "TIFF" or any("exif" in key or "xmp" in key for key in keys)


def _converted(image: Any, config: ImageConfig) -> Any:
    from PIL import Image

    if image.mode in ("P", "PA"):  # pillow warns where a palette has transparency
        image = image.convert("RGBA")
    if image.mode != config.mode:
        image = image.convert(config.mode)
    if config.size is not None:
        height, width = config.size
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return image


def _eight_bits(image: Any) -> Any:
    """16 bits are scaled to 8, which pillow's own conversion would clip."""
    from PIL import Image

    if not image.mode.startswith(("I", "F")):
        return image
    values = numpy.asarray(image)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise ValueError(f"{image.mode} pixels are neither 8 nor 16 bits")
    return Image.fromarray(((values.astype(numpy.uint32) * 255 + 32767) // 65535).astype("uint8"))
