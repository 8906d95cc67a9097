"""Folders of images, in the modes and states that they come in."""

import os
import shutil

import numpy
import pytest
from PIL import Image

from edgestill.data.config import DataConfig, ImageConfig
from edgestill.data.sources import read
from edgestill.errors import DataError

RED, GREEN = (200, 0, 0), (0, 180, 0)


@pytest.fixture
def folder(tmp_path):
    for name, colour in (("cat", RED), ("ant", GREEN)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(2):
            Image.new("RGB", (6, 4), colour).save(tmp_path / "images" / name / f"{index}.png")
    return tmp_path / "images"


def read_images(folder, **image):
    config = DataConfig("images", image=ImageConfig(**image))
    return read("images", config, folder.parent, folder.parent / "work")


def pixel(folder, name, **image):
    """The first pixel and the height and width of one image, the others removed."""
    for file in folder.rglob("*"):
        if file.is_file() and file.name != name:
            file.unlink()
    for other in folder.iterdir():
        if not list(other.iterdir()):
            other.rmdir()
    array = read_images(folder, layout="NHWC", **image).inputs["image"]
    return array[0, 0, 0].tolist(), array.shape[1:3]


def test_a_folder_per_class(folder):
    raw = read_images(folder)
    assert raw.inputs["image"].shape == (4, 3, 4, 6)
    assert raw.inputs["image"].dtype == numpy.uint8
    assert raw.inputs["image"][:, :, 0, 0].tolist() == [[*GREEN]] * 2 + [[*RED]] * 2
    assert raw.labels.tolist() == ["ant", "ant", "cat", "cat"]


def test_layout_mode_and_size(folder):
    raw = read_images(folder, layout="NHWC", mode="L", size=(2, 3))
    assert raw.inputs["image"].shape == (4, 2, 3, 1)
    # ITU-R 601-2: L = 0.299 R + 0.587 G + 0.114 B
    assert raw.inputs["image"][:, 0, 0, 0].tolist() == [106, 106, 60, 60]


def test_grey_and_transparent_images_become_colour(folder):
    Image.new("L", (6, 4), 70).save(folder / "cat" / "grey.png")
    assert pixel(folder, "grey.png") == ([70, 70, 70], (4, 6))


def test_transparency_is_dropped(folder):
    Image.new("RGBA", (6, 4), (*RED, 10)).save(folder / "cat" / "rgba.png")
    assert pixel(folder, "rgba.png")[0] == [*RED]


def test_palette_with_transparency(folder):
    image = Image.new("P", (6, 4), 1)
    image.putpalette([0, 0, 0, *RED])
    image.save(folder / "cat" / "palette.png", transparency=b"\x00\x80")
    assert pixel(folder, "palette.png")[0] == [*RED]


def test_cmyk(folder):
    Image.new("CMYK", (6, 4), (0, 255, 255, 0)).save(folder / "cat" / "print.jpg", quality=100)
    red, green, blue = pixel(folder, "print.jpg")[0]
    assert red > 245
    assert max(green, blue) < 10


def test_sixteen_bits_are_scaled_not_clipped(folder):
    Image.fromarray(numpy.full((4, 6), 25700, numpy.uint16)).save(folder / "cat" / "deep.png")
    assert pixel(folder, "deep.png", mode="L") == ([100], (4, 6))


def test_float_images_are_refused(folder):
    Image.new("F", (6, 4), 0.5).save(folder / "cat" / "float.tif")
    with pytest.raises(DataError, match=r"cat/float.tif \(F pixels are neither 8 nor 16 bits\)"):
        read_images(folder)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_turned_images_are_set_upright(folder, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    Image.new("RGB", (6, 4), RED).save(folder / "cat" / f"turned.{suffix}", exif=exif)
    assert pixel(folder, f"turned.{suffix}")[1] == (6, 4)


def test_broken_images_are_named_all_at_once(folder):
    whole = (folder / "cat" / "0.png").read_bytes()
    (folder / "cat" / "cut.png").write_bytes(whole[:50])
    (folder / "ant" / "empty.jpg").touch()
    (folder / "ant" / "text.jpg").write_text("hello")
    with pytest.raises(DataError, match=r"3 of 7 images cannot be read: ant/empty.jpg \(") as error:
        read_images(folder)
    assert "ant/text.jpg (" in str(error.value)
    assert "cat/cut.png (" in str(error.value)


def test_differing_sizes(folder):
    Image.new("RGB", (5, 5)).save(folder / "cat" / "square.png")
    with pytest.raises(
        DataError,
        match=r"differ in size: 4x6 \(4\), 5x5 \(1\) \(height x width\). "
        r"Resize them: data.image.size: \[4, 6\]",
    ):
        read_images(folder)
    assert read_images(folder, size=(4, 6)).inputs["image"].shape == (5, 3, 4, 6)


def test_large_images_are_decoded_in_threads_in_order(folder):
    noise = numpy.random.default_rng(0)
    for index in range(8):
        pixels = noise.integers(0, 256, (90, 90, 3), numpy.uint8)
        pixels[0, 0] = index
        Image.fromarray(pixels).save(folder / "cat" / f"{index}.png")
    for file in (folder / "ant").iterdir():
        Image.fromarray(pixels).save(file)
    image = read_images(folder).inputs["image"]
    assert image[2:, 0, 0, 0].tolist() == list(range(8))


def test_other_files_are_mentioned(folder):
    (folder / "cat" / "notes.txt").touch()
    notes = read_images(folder).notes
    assert len(notes) == 1
    assert notes[0].endswith("1 file left out, no images by ending: cat/notes.txt")


def test_images_beside_the_folders_of_the_classes_are_mentioned(folder):
    shutil.copy(folder / "cat" / "0.png", folder / "9.png")
    raw = read_images(folder)
    assert len(raw) == 4
    assert raw.notes == (f"{folder}: 1 file left out, in no folder of a class: 9.png",)


@pytest.mark.parametrize("ending", ["jfif", "jpe", "JPG"])
def test_endings_that_cameras_and_browsers_give(folder, ending):
    Image.new("RGB", (6, 4), RED).save(folder / "cat" / f"2.{ending}", format="JPEG")
    assert len(read_images(folder)) == 5


def test_a_class_whose_name_is_no_text(folder):
    os.rename(bytes(folder / "cat"), bytes(folder) + b"/\xff")  # noqa: PTH104 - of bytes
    with pytest.raises(DataError) as error:
        read_images(folder)
    assert str(error.value) == (
        f"{folder}: the name of the class folder '\\udcff' is no text in UTF-8. Rename it"
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("empty/.keep",), r"class folder empty has no images. Remove it, or add images"),
        (("tables/a.csv",), r"class folder tables has no images, but tables \(tables/a.csv\)"),
    ],
)
def test_folders_that_are_no_classes(folder, files, message):
    for name in files:
        (folder / name).parent.mkdir()
        (folder / name).touch()
    with pytest.raises(DataError, match=message):
        read_images(folder)


def test_a_folder_of_splits(folder):
    (folder / "cat").rename(folder / "train")
    (folder / "ant").rename(folder / "val")
    with pytest.raises(DataError) as raised:
        read_images(folder)
    assert str(raised.value) == (
        f"{folder}: its folders look like splits, not like classes: train, val. Give each role its "
        f"source: data.source: {{train: {folder}/train, validation: {folder}/val}}"
    )


def test_a_folder_without_folders(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.png").touch()
    with pytest.raises(DataError, match=r"it holds no folders. Put the images into a folder for"):
        read_images(tmp_path / "images")


def test_hidden_files_are_no_images(folder):
    for name in (".git/0.png", "cat/.DS_Store", "cat/._0.png", "cat/.ipynb_checkpoints/0.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    for name in ("cat/Thumbs.db", "ant/desktop.ini", "__MACOSX/0.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    raw = read_images(folder)
    assert raw.labels.tolist() == ["ant", "ant", "cat", "cat"]
    assert raw.notes == ()


def test_linked_classes_and_images_are_read(folder, tmp_path):
    (folder / "cat").rename(tmp_path / "elsewhere")
    (folder / "cat").symlink_to(tmp_path / "elsewhere")
    (folder / "ant" / "2 linked.png").symlink_to(tmp_path / "elsewhere" / "0.png")
    raw = read_images(folder)
    assert raw.labels.tolist() == ["ant"] * 3 + ["cat"] * 2
    assert raw.inputs["image"][:, :, 0, 0].tolist() == [[*GREEN]] * 2 + [[*RED]] * 3


def test_names_with_spaces_and_letters_of_any_script(folder):
    (folder / "cat").rename(folder / "große Katze")
    (folder / "große Katze" / "0.png").rename(folder / "große Katze" / "猫 1.PNG")
    assert set(read_images(folder).labels) == {"ant", "große Katze"}


def test_an_image_that_is_gone_is_named(folder):
    (folder / "cat" / "1.png").unlink()
    (folder / "cat" / "1.png").symlink_to(folder / "nowhere")
    with pytest.raises(
        DataError, match=r"1 of 4 images cannot be read: cat/1.png \(.*No such file"
    ):
        read_images(folder)


def test_images_without_a_folder_per_class_have_no_labels(folder):
    flat = folder.parent / "flat"
    flat.mkdir()
    for number, file in enumerate(sorted(folder.rglob("*.png"))):
        file.rename(flat / f"{number}.png")
    (flat / "notes.txt").touch()
    config = DataConfig("flat")
    raw = read("flat", config, folder.parent, folder.parent / "work", optional=True)
    assert raw.labels is None
    assert raw.inputs["image"][:, :, 0, 0].tolist() == [[*GREEN]] * 2 + [[*RED]] * 2
    assert raw.notes == (f"{flat}: 1 file left out, no images by ending: notes.txt",)
    with pytest.raises(DataError, match=r"it holds no folders. Put the images into a folder for"):
        read("flat", config, folder.parent, folder.parent / "work")


def test_images_that_may_lack_labels_have_those_of_their_folders(folder):
    config = DataConfig("images")
    raw = read("images", config, folder.parent, folder.parent / "work", optional=True)
    assert raw.labels.tolist() == ["ant", "ant", "cat", "cat"]


def test_images_that_git_lfs_did_not_fetch(folder):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n"
    (folder / "cat" / "0.png").write_text(pointer)
    with pytest.raises(DataError, match=r"cat/0.png \(a pointer of Git LFS, not the file itself\)"):
        read("images", DataConfig("images"), folder.parent, folder.parent / "work")
