"""Statistics of images, against slow and obvious ones."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from attribution_core.runs import RunWriter
from attribution_core.runs.image_statistics import image_statistics
from attribution_core.runs.tables import IMAGE_STATISTICS
from attribution_core.runs.thumbnails import encode_thumbnail


def noise(seed=0, shape=(20, 30)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def statistics(image):
    return image_statistics(image, image)


def test_the_statistics_are_those_of_their_definitions():
    image, found = noise(), statistics(noise())
    gray = np.asarray(image) / 255
    laplacian = [
        gray[y - 1, x] + gray[y + 1, x] + gray[y, x - 1] + gray[y, x + 1] - 4 * gray[y, x]
        for y in range(1, 19)
        for x in range(1, 29)
    ]
    assert (found.width, found.height) == (30, 20)
    assert found.brightness == pytest.approx(gray.mean(), rel=1e-5)
    assert found.contrast == pytest.approx(2 * gray.std(), rel=1e-5)
    assert found.sharpness == pytest.approx(np.var(laplacian) / gray.var(), rel=1e-4)


def test_sharpness_falls_with_blur_and_not_with_contrast():
    image = noise()
    blurred, faint = image.filter(ImageFilter.GaussianBlur(2)), image.point(lambda level: level // 4)
    assert statistics(blurred).sharpness < 0.1 * statistics(image).sharpness
    assert statistics(faint).sharpness == pytest.approx(statistics(image).sharpness, rel=0.01)
    assert statistics(faint).contrast == pytest.approx(statistics(image).contrast / 4, rel=0.05)


@pytest.mark.parametrize("image", [Image.new("L", (20, 20), 90), Image.new("RGB", (1, 1)), Image.new("L", (2, 9), 3)])
def test_a_flat_or_tiny_image_has_no_sharpness(image):
    assert np.isnan(statistics(image).sharpness)


def test_only_equal_pixels_have_the_same_hash():
    image, other = noise(), noise()
    other.putpixel((3, 3), (other.getpixel((3, 3)) + 1) % 256)
    turned = Image.frombytes("L", (20, 30), image.tobytes())
    hashes = [statistics(each).pixels for each in (image, noise(), other, turned, image.convert("RGB"))]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4


def test_a_large_image_is_hashed_in_full_and_measured_by_its_thumbnail():
    image = noise(shape=(400, 600))
    other = image.copy()
    other.putpixel((0, 0), 255 - other.getpixel((0, 0)))
    one, two = (encode_thumbnail(each)[1] for each in (image, other))
    assert (one.width, one.height) == (600, 400)
    assert one.contrast < 0.5 * statistics(image).contrast
    assert one.pixels != two.pixels


def test_a_run_keeps_them_by_table_and_row(tmp_path):
    with RunWriter.start(tmp_path / "run", {}, "print", "run") as writer:
        writer.write_thumbnails("train", [noise(seed) for seed in range(40)])
        writer.write_thumbnails("evaluation", [noise(99)])
        writer.write_thumbnails("train", [noise(seed) for seed in range(35)])
    found = IMAGE_STATISTICS.read(tmp_path / "run")
    assert found["split"].value_counts().to_dict() == {"train": 35, "evaluation": 1}
    train = found[found["split"] == "train"]
    assert train["row"].tolist() == list(range(35))
    assert train["pixels"].tolist() == [statistics(noise(seed)).pixels for seed in range(35)]
