"""Formats of images: read where a decoder is installed, by content and not by name, and otherwise named."""

import io

import pytest
from PIL import Image

from attribution_core.datasets import open_dataset
from attribution_core.datasets.decoding import _has_heic, _pillow_formats, decode
from attribution_core.datasets.file_kinds import image_format, is_junk
from tests.support.builders import encoded, write_folder

HEIC_HEAD = b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(60)


def saved(form: str, color: str = "red") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (32, 24), color).save(stream, form)
    return stream.getvalue()


def heic() -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    stream = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 64), "red")).save(stream, quality=90)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["AVIF", "JPEG2000", "WEBP", "TIFF"])
def test_formats_of_pillow_are_read_and_recognized_by_content(form):
    if form not in _pillow_formats():
        pytest.skip("Pillow was built without it")
    data = saved(form)
    assert image_format(data) == form
    red, green, blue = decode(data).getpixel((4, 4))
    assert red > 240
    assert max(green, blue) < 20


def test_heic_is_read_with_its_extra():
    data = heic()
    assert image_format(data) == "HEIC"
    assert decode(data).size == (64, 64)


def test_heic_without_its_extra_names_it(monkeypatch):
    monkeypatch.setattr("attribution_core.datasets.decoding._has_heic", lambda: False)
    with pytest.raises(ValueError, match=r"^HEIC needs the extra heic: pip install 'samplescope\[heic\]'$"):
        decode(HEIC_HEAD)


def test_a_format_that_pillow_was_built_without_is_named(monkeypatch):
    monkeypatch.setattr("attribution_core.datasets.decoding._pillow_formats", lambda: ("PNG",))
    with pytest.raises(ValueError, match="the installed Pillow cannot read AVIF"):
        decode(saved("AVIF"))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x93NUMPY\x01\x00", "it is a NumPy array, not an image"),
        (b"%PDF-1.7", "it is PDF, not an image"),
        (b"  <!DOCTYPE HTML><p>404", "it is a web page, not an image"),
        (bytes(128) + b"DICM", "it is DICOM, not an image"),
        (b"\xff\x0a\x00", "it is JPEG XL, not an image"),
        (b"\x89PNG\r\n\x1a\n", "it is a damaged PNG file"),
        (b"", "it is empty"),
    ],
)
def test_what_is_no_image_is_named(data, reason):
    with pytest.raises(ValueError, match=reason):
        decode(data)


def test_a_bomb_in_a_new_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 500)
    write_folder(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "a" / "big.jp2").write_bytes(saved("JPEG2000"))
    (tmp_path / "b" / "big.avif").write_bytes(saved("AVIF"))
    assert {each.where for each in open_dataset(tmp_path).unreadable} == {"a/big.jp2", "b/big.avif"}


def test_files_are_images_by_content_whatever_their_suffix(tmp_path):
    write_folder(tmp_path, {"cat": 4, "dog": 4}, mode="RGB")
    (tmp_path / "cat" / "no suffix").write_bytes(encoded(1, "RGB"))
    (tmp_path / "cat" / "photo.dat").write_bytes(saved("JPEG"))
    (tmp_path / "dog" / "IMG_1.JPG").write_bytes(saved("WEBP"))
    (tmp_path / "dog" / "phone.jpg").write_bytes(saved("AVIF"))
    (tmp_path / "dog" / "upper.TIFF").write_bytes(saved("TIFF"))
    splits = open_dataset(tmp_path)
    assert splits.unreadable == []
    assert sum(map(len, splits)) == 13


def test_every_other_file_is_listed_with_its_reason(tmp_path):
    write_folder(tmp_path, {"cat": 4, "dog": 4})
    for name, data in {
        "cat/a.npy": b"\x93NUMPY",
        "cat/notes.md": b"# cats",
        "dog/empty": b"",
        "dog/zero.png": b"",
        "dog/scan.dcm": bytes(128) + b"DICM",
        "README": b"read me",
    }.items():
        (tmp_path / name).write_bytes(data)
    splits = open_dataset(tmp_path)
    assert {each.where: each.why for each in splits.unreadable} == {
        "cat/a.npy": "it is a NumPy array, not an image",
        "cat/notes.md": "it is not an image (.md)",
        "dog/empty": "it is empty (zero bytes)",
        "dog/zero.png": "it is empty (zero bytes)",
        "dog/scan.dcm": "it is DICOM, not an image",
        "README": "it is not in a class folder",
    }
    assert splits.train.class_names == ["cat", "dog"]
    assert sum(map(len, splits)) == 8


def test_a_folder_of_avif_alone_opens(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(4):
            (tmp_path / name / f"{number}.avif").write_bytes(saved("AVIF", "red" if number % 2 else "blue"))
    assert sum(map(len, open_dataset(tmp_path))) == 8


@pytest.mark.parametrize("name", [".DS_Store", "._a.png", "Thumbs.db", "THUMBS.DB", "desktop.ini", "__MACOSX"])
def test_junk_of_the_system_is_no_part_of_a_dataset(tmp_path, name):
    assert is_junk(name)
    write_folder(tmp_path, {"cat": 4, "dog": 4, f"{name}x": 0})
    (tmp_path / "cat" / name).write_bytes(b"junk")
    if name != "__MACOSX":
        (tmp_path / name).write_bytes(b"junk")
    else:
        write_folder(tmp_path, {"__MACOSX/cat": 2})
    splits = open_dataset(tmp_path)
    assert splits.unreadable == []
    assert sum(map(len, splits)) == 8


def test_heic_loads_only_when_it_is_met():
    _has_heic.cache_clear()
    assert decode(encoded(1)).size
    assert _has_heic.cache_info().currsize == 0
