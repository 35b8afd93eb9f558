"""Images with more than 8 bits keep the levels that their dataset uses."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from attribution_core.datasets import open_dataset
from attribution_core.datasets.decoding import SIXTEEN_BITS, Levels, decode


def write(folder, name, image, form="PNG"):
    folder.mkdir(parents=True, exist_ok=True)
    image.save(folder / name, form)


def png(pixels):
    """Encode uint16 ``[h, w, c]`` as a 16-bit PNG, which Pillow writes in gray only."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def pixels_by_class(splits):
    found = {name: [] for name in splits.train.class_names}
    for split in splits:
        for index in range(len(split)):
            image, label = split[index]
            found[split.class_names[label]].append(np.asarray(image))
    return {name: np.concatenate([each.ravel() for each in images]) for name, images in found.items()}


def dataset(folder, values, form="PNG", dtype=np.uint16, count=6):
    """Write two classes with ``count`` images each: values [low, middle] and [middle, high]."""
    low, high = values
    middle = (low + high) / 2
    for name, (first, last) in {"a": (low, middle), "b": (middle, high)}.items():
        for number in range(count):
            row = np.linspace(first, last, 16).astype(dtype)
            write(folder / name, f"{number}.{form.lower()}", Image.fromarray(np.tile(row, (4, 1))), form)
    return folder


@pytest.mark.parametrize(
    ("values", "bounds"),
    [
        ((0, 1023), (0, 1023)),
        ((0, 1000), (0, 1023)),
        ((0, 4095), (0, 4095)),
        ((490, 550), (488, 551)),
        ((30000, 30100), (30000, 30111)),
        ((0, 65535), (0, 65535)),
        ((100, 40000), (0, 65535)),
        ((7, 7), (7, 8)),
        ((-1024, 3071), (-1024, 3071)),
    ],
)
def test_the_range_of_whole_numbers_is_rounded_outward(values, bounds):
    levels = Levels.of([values], whole=True)
    assert (levels.low, levels.high) == bounds


@pytest.mark.parametrize(("values", "bounds"), [((0.0, 1.0), (0, 1)), ((-0.9, 0.8), (-1, 1)), ((2.0, 3.9), (2, 4))])
def test_the_range_of_fractions_is_rounded_outward(values, bounds):
    levels = Levels.of([values], whole=False)
    assert (levels.low, levels.high) == bounds


def test_full_range_is_scaled_as_before():
    values = np.arange(65536, dtype=np.uint16)
    expected = (values.astype(np.uint32) * 255 + 32767) // 65535
    assert (SIXTEEN_BITS.to_eight_bits(values) == expected).all()


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_ten_bits_in_sixteen_keep_their_levels(tmp_path, form):
    splits = open_dataset(dataset(tmp_path, (490, 550), form))
    pixels = pixels_by_class(splits)
    assert pixels["a"].max() <= pixels["b"].min() + 1
    assert len(np.unique(np.concatenate(list(pixels.values())))) >= 30
    assert any("12 images have more than 8 bits for each channel: the values 488 to 551" in n for n in splits.notes)


def test_data_of_the_full_range_stays_as_it_was(tmp_path):
    splits = open_dataset(dataset(tmp_path, (0, 65535)))
    for split in splits:
        for index in range(len(split)):
            assert (np.asarray(split[index][0]) == np.asarray(decode(split.source(index)))).all()
    assert any("the values 0 to 65,535 become black to white" in note for note in splits.notes)


def test_one_range_holds_for_all_splits(tmp_path):
    dataset(tmp_path / "train", (0, 1000))
    dataset(tmp_path / "test", (2000, 4000))
    dataset(tmp_path / "val", (0, 1000))
    splits = open_dataset(tmp_path)
    brightest = [max(np.asarray(split[i][0]).max() for i in range(len(split))) for split in splits]
    assert brightest == [62, 62, 249]  # 1000 and 4000 of 4095


@pytest.mark.parametrize(
    ("values", "dtype", "kind"),
    [
        ((0.0, 1.0), np.float32, "floating-point pixels: the values 0 to 1"),
        ((-900, 3000), np.int32, "more than 8 bits for each channel: the values -1,024 to 3,071"),
        ((0, 200_000), np.int32, "the values 0 to 229,375"),
    ],
)
def test_other_pixels_take_the_range_of_the_dataset(tmp_path, values, dtype, kind):
    splits = open_dataset(dataset(tmp_path, values, "TIFF", dtype))
    pixels = pixels_by_class(splits)
    assert np.unique(np.concatenate(list(pixels.values()))).size >= 20
    assert pixels["a"].mean() < pixels["b"].mean() - 50
    assert any(kind in note for note in splits.notes)
    assert splits.unreadable == []


def test_pixels_that_are_not_finite_are_listed(tmp_path):
    dataset(tmp_path, (0.0, 1.0), "TIFF", np.float32)
    write(tmp_path / "a", "bad.tiff", Image.fromarray(np.full((4, 4), np.nan, dtype=np.float32)), "TIFF")
    assert [each.why for each in open_dataset(tmp_path).unreadable] == ["a pixel is not a finite number"]


def images_of_ten_bits(folder, channels):
    """Make a folder for each of two classes, and yield the path, without suffix, and the uint16 pixels of its images.

    An even number of channels ends in one of transparency, which is opaque.
    """
    random = np.random.default_rng(0)
    for name, low in {"a": 490, "b": 520}.items():
        (folder / name).mkdir()
        for number in range(6):
            pixels = random.integers(low, low + 30, (4, 5, channels)).astype(np.uint16)
            if channels in (2, 4):
                pixels[..., -1] = 65535
            yield folder / name / str(number), pixels


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_color_and_transparency_of_sixteen_bits_keep_their_levels(tmp_path, channels):
    for path, pixels in images_of_ten_bits(tmp_path, channels):
        path.with_suffix(".png").write_bytes(png(pixels))
    splits = open_dataset(tmp_path)
    found = pixels_by_class(splits)
    assert np.unique(np.concatenate(list(found.values()))).size >= 40
    assert found["b"].min() >= found["a"].max()
    assert splits.train.mode == ("L" if channels == 2 else "RGB")


def lzw(data):
    """Compress bytes by LZW without saving any: a code that clears the table before each byte."""
    codes = [code for byte in data for code in (256, byte)] + [257]
    bits = "".join(f"{code:09b}" for code in codes)
    return bytes(int(bits[start : start + 8].ljust(8, "0"), 2) for start in range(0, len(bits), 8))


def tiff(pixels):
    """Encode uint16 ``[h, w, 3]`` as a TIFF that is compressed by LZW, which Pillow does not write in 16 bits."""
    height, width, _ = pixels.shape
    data = lzw(pixels.astype("<u2").tobytes())
    data += b"\0" * (len(data) % 2)
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 8), (259, 3, 1, 5), (262, 3, 1, 2), (273, 4, 1, 14)]
    entries += [(277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, len(data))]
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"II*\0" + struct.pack("<I", 14 + len(data)) + struct.pack("<HHH", 16, 16, 16)
    return head + data + struct.pack("<H", len(entries)) + table + bytes(4)


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True},
        {"planarconfig": "separate"},
        {"tile": (16, 16)},
    ],
)
def test_color_tiff_of_sixteen_bits_keeps_its_levels(tmp_path, channels, options):
    kind = "rgb" if channels > 2 else "minisblack"
    extra = ["unassalpha"] if channels in (2, 4) else None
    given = {"photometric": kind, "extrasamples": extra, "planarconfig": "contig"} | options
    for path, pixels in images_of_ten_bits(tmp_path, channels):
        turned = np.moveaxis(pixels, 2, 0) if "planarconfig" in options else pixels
        tifffile.imwrite(path.with_suffix(".tiff"), turned, **given)
    splits = open_dataset(tmp_path)
    found = pixels_by_class(splits)
    assert np.unique(np.concatenate(list(found.values()))).size >= 40
    assert found["b"].min() >= found["a"].max()
    assert splits.train.mode == ("L" if channels == 2 else "RGB")
    assert not any("only the upper 8" in note for note in splits.notes)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_fractions_in_color_take_the_range_of_the_dataset(tmp_path, dtype):
    random = np.random.default_rng(0)
    for name, low in {"a": 0.0, "b": 0.5}.items():
        (tmp_path / name).mkdir()
        for number in range(6):
            pixels = (low + random.uniform(0, 0.5, (4, 5, 3))).astype(dtype)
            tifffile.imwrite(tmp_path / name / f"{number}.tiff", pixels, photometric="rgb")
    found = pixels_by_class(open_dataset(tmp_path))
    assert np.unique(np.concatenate(list(found.values()))).size >= 100
    assert found["b"].min() >= found["a"].max()


def test_orientation_of_a_deep_tiff_is_kept():
    pixels = np.arange(18, dtype=np.uint16).reshape(2, 3, 3) * 256
    for orientation in range(1, 9):
        stream = io.BytesIO()
        tifffile.imwrite(stream, pixels, photometric="rgb", extratags=[(0x0112, 3, 1, orientation, True)])
        upright = decode(stream.getvalue())
        eight = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray((pixels // 256).astype(np.uint8)).save(eight, "PNG", exif=exif)
        assert (np.asarray(upright) == np.asarray(decode(eight.getvalue()))).all()


def test_color_tiff_that_keeps_eight_bits_is_pointed_out(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(4):
            (tmp_path / name / f"{number}.tiff").write_bytes(tiff(np.full((4, 5, 3), 256 * number, dtype=np.uint16)))
    splits = open_dataset(tmp_path)
    assert splits.unreadable == []
    assert any("8 color images have 16 bits" in note for note in splits.notes)


def test_outliers_that_leave_few_levels_are_pointed_out(tmp_path):
    dataset(tmp_path, (490, 550))
    row = np.full((40, 40), 500, dtype=np.uint16)
    row[0, 0] = 65535
    write(tmp_path / "a", "hot pixel.png", Image.fromarray(row))
    note = next(note for note in open_dataset(tmp_path).notes if "more than 8 bits" in note)
    assert "98% of the pixels use only" in note


def test_a_sixteen_bit_image_of_one_value_opens(tmp_path):
    for name in ("a", "b"):
        for number in range(4):
            write(tmp_path / name, f"{number}.png", Image.fromarray(np.full((4, 4), 700, dtype=np.uint16)))
    assert open_dataset(tmp_path).unreadable == []


def test_orientation_of_a_deep_color_image_is_kept():
    from attribution_core.datasets.decoding import _turned

    pixels = np.arange(6).reshape(2, 3, 1)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        stream = io.BytesIO()
        Image.fromarray(pixels[..., 0].astype(np.uint8)).save(stream, "PNG", exif=exif)
        assert (np.asarray(decode(stream.getvalue())) == _turned(pixels, orientation)[..., 0]).all()
