"""The original of an example's picture: only images of the dataset's folder, and nothing that leads out of it."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from attribution_core.errors import InputError
from attribution_core.export import original
from attribution_core.runs import Run
from attribution_core.runs.schema import DatasetSummary
from attribution_core.runs.writer import RunWriter
from tests.support.builders import encoded


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder dataset beside a picture that is none of its."""
    folder = tmp_path / "data"
    (folder / "cat").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(encoded(9))
    return folder


def run_over(folder: Path, *ids: str, mode: str = "RGB") -> Run:
    path = folder.parent / "runs" / "one"
    with RunWriter.start(path, {}, "print", "one") as writer, writer.stage("dataset"):
        facts = {"name": "data", "class_names": ["cat"], "sizes": {}, "fingerprint": "print"}
        writer.update(dataset=DatasetSummary(location=str(folder), mode=mode, **facts))
        table = pd.DataFrame({"id": list(ids), "label": 0})
        writer.write_table("examples", table)
        writer.write_table("evaluation", table.assign(split="validation"))
    return Run.open(path)


@pytest.mark.parametrize(("form", "media_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
def test_a_picture_that_browsers_show_comes_as_it_is(folder: Path, form: str, media_type: str):
    data = encoded(1, size=(300, 200), form=form)
    (folder / "cat" / "one").write_bytes(data)
    run = run_over(folder, "cat/one")
    assert original.original_file(run, "train", 0) == folder.resolve() / "cat" / "one"
    assert original.original_picture(run, "train", 0) == (data, media_type)
    assert original.original_picture(run, "evaluation", 0) == (data, media_type)
    with pytest.raises(IndexError):
        original.original_picture(run, "train", 1)


def test_other_pictures_become_png(folder: Path):
    data = encoded(1, size=(30, 20), form="TIFF")
    (folder / "cat" / "1.tif").write_bytes(data)
    content, media_type = original.original_picture(run_over(folder, "cat/1.tif"), "train", 0)
    assert media_type == "image/png"
    with Image.open(io.BytesIO(content)) as shown, Image.open(io.BytesIO(data)) as kept:
        assert shown.format == "PNG"
        assert shown.tobytes() == kept.convert("RGB").tobytes()


@pytest.mark.parametrize(
    "name", ["../secret.png", "cat/../../secret.png", "{parent}/secret.png", "cat/link.png", "cat\0"]
)
def test_nothing_outside_the_folder_is_read(folder: Path, name: str):
    (folder / "cat" / "link.png").symlink_to(folder.parent / "secret.png")
    run = run_over(folder, name.format(parent=folder.parent))
    assert original.original_file(run, "train", 0) is None
    with pytest.raises(InputError, match="not in the dataset's folder"):
        original.original_picture(run, "train", 0)


def test_a_link_to_a_folder_outside_is_not_followed_but_one_within_is(folder: Path):
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "1.png").write_bytes(encoded(1))
    (folder / "dog").symlink_to(outside)
    (folder / "cat" / "1.png").write_bytes(encoded(2))
    (folder / "cat" / "2.png").symlink_to("1.png")
    run = run_over(folder, "dog/1.png", "cat/2.png")
    assert original.original_file(run, "train", 0) is None
    assert original.original_picture(run, "train", 1) == (encoded(2), "image/png")


@pytest.mark.parametrize(
    "data", [b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", b"<html></html>", b"", b"root:x:0"]
)
def test_what_is_no_image_is_refused_whatever_its_name(folder: Path, data: bytes):
    (folder / "cat" / "1.png").write_bytes(data)
    with pytest.raises(InputError, match="not an image in a known format"):
        original.original_picture(run_over(folder, "cat/1.png"), "train", 0)


def test_too_large_files_and_too_many_pixels_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "cat" / "1.png").write_bytes(encoded(1, size=(30, 20)))
    run = run_over(folder, "cat/1.png")
    monkeypatch.setattr(original, "_MOST_PIXELS", 599)
    with pytest.raises(InputError, match="20 x 30 pixels"):
        original.original_picture(run, "train", 0)
    monkeypatch.setattr(original, "_LARGEST", 100)
    with pytest.raises(InputError, match="too large to show"):
        original.original_picture(run, "train", 0)


def test_a_broken_picture_is_refused(folder: Path):
    (folder / "cat" / "1.tif").write_bytes(encoded(1, form="TIFF")[:60])
    with pytest.raises(InputError):
        original.original_picture(run_over(folder, "cat/1.tif"), "train", 0)


def test_there_is_no_original_of_texts_nor_in_a_folder_that_is_gone(folder: Path):
    (folder / "cat" / "1.png").write_bytes(encoded(1))
    assert original.original_file(run_over(folder, "cat/1.png", mode="text"), "train", 0) is None
    run = run_over(folder, "cat/1.png")
    shutil.rmtree(folder)
    assert original.original_file(run, "train", 0) is None
