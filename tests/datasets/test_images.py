"""Every kind of image becomes 8-bit gray or RGB with the right values."""

import io

import numpy as np
import pytest
from PIL import Image

from attribution_core.datasets import open_dataset
from attribution_core.datasets.decoding import decode, is_gray
from tests.support.builders import encoded, write_folder


def saved(image, form="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def test_sixteen_bit_gray_is_scaled_not_clipped():
    values = np.array([[0, 255, 257, 32768, 65535]], dtype=np.uint16)
    for form in ("PNG", "TIFF"):
        image = decode(saved(Image.fromarray(values), form))
        assert image.mode == "L"
        assert np.asarray(image).tolist() == [[0, 1, 1, 128, 255]]


def test_sixteen_bit_pgm_is_scaled():
    values = np.array([0, 257, 65535], dtype=">u2")
    assert np.asarray(decode(b"P5 3 1 65535\n" + values.tobytes())).tolist() == [[0, 1, 255]]


def test_pixels_without_an_agreed_range_are_refused_by_themselves():
    with pytest.raises(ValueError, match="floating-point"):
        decode(saved(Image.new("F", (2, 2), 0.5), "TIFF"))
    with pytest.raises(ValueError, match="32-bit"):
        decode(saved(Image.new("I", (2, 2), 70000), "TIFF"))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_becomes_white(mode):
    image = Image.new(mode, (3, 1), 0)  # transparent black
    image.putpixel((1, 0), (100,) * (len(mode) - 1) + (255,))
    image.putpixel((2, 0), (0,) * (len(mode) - 1) + (128,))
    decoded = decode(saved(image))
    assert np.asarray(decoded.convert("L")).tolist() == [[255, 100, 127]]
    assert is_gray(decoded)


def test_palette_with_transparency():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.putpixel((1, 0), 1)
    assert np.asarray(decode(saved(image))).tolist() == [[[10, 20, 30], [200, 0, 0]]]
    assert np.asarray(decode(saved(image, transparency=0))).tolist() == [[[255] * 3, [200, 0, 0]]]


def test_one_bit():
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert np.asarray(decode(saved(image))).tolist() == [[0, 255]]


def test_cmyk():
    image = decode(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    red, green, blue = image.getpixel((4, 4))
    assert image.mode == "RGB"
    assert red > 200
    assert max(green, blue) < 60


def test_exif_orientation_turns_the_image():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("L", (3, 2))
    image.putpixel((0, 0), 255)
    turned = decode(saved(image, exif=exif))
    assert turned.size == (2, 3)
    assert turned.getpixel((1, 0)) == 255


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_animated_images_give_their_first_frame(form):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if form == "WEBP" else {}
    image = decode(saved(frames[0], form, save_all=True, append_images=frames[1:], **options))
    red, _, blue = image.getpixel((0, 0))
    assert red > 250
    assert blue < 5


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM"])
def test_formats(form):
    assert decode(encoded(1, "RGB", (6, 9), form)).size == (9, 6)


def test_formats_that_start_other_programs_are_refused():
    with pytest.raises(ValueError, match="known format"):
        decode(saved(Image.new("L", (2, 2)), "EPS"))


def test_the_mode_is_gray_only_if_every_image_is(tmp_path):
    write_folder(tmp_path, {"a": 5, "b": 5}, mode="L")
    (tmp_path / "a" / "stored as colour.png").write_bytes(saved(Image.new("RGB", (8, 8), (7, 7, 7))))
    for split in open_dataset(tmp_path):
        assert split.mode == "L"
        assert all(split[i][0].mode == "L" for i in range(len(split)))
    (tmp_path / "a" / "colour.png").write_bytes(saved(Image.new("RGB", (8, 8), (7, 7, 8))))
    for split in open_dataset(tmp_path):
        assert split.mode == "RGB"
        assert all(split[i][0].mode == "RGB" for i in range(len(split)))
