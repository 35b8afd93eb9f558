"""What a dataset holds, told before and while its images are looked at."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from attribution_core.datasets.survey import survey
from attribution_core.errors import InputError
from tests.support.builders import write_folder


def test_counts_are_there_before_any_image_is_read(tmp_path, monkeypatch):
    write_folder(tmp_path, {"train/cat": 4, "train/dog": 3, "test/cat": 2, "test/dog": 1})
    found = survey(str(tmp_path))
    monkeypatch.setattr(
        "attribution_core.datasets.images.FileImage.encoded", lambda _: pytest.fail("an image was read")
    )
    first = next(found)
    assert first.counts == {"train": [4, 3], "test": [2, 1]}
    assert (first.class_names, first.looked, first.total, first.heights) == (["cat", "dog"], 0, 10, None)
    assert first.notes == ["No validation split was found: a run sets part of the training examples aside for it."]


def test_broken_and_equal_files_are_found_one_by_one(tmp_path):
    write_folder(tmp_path, {"train/cat": 4, "train/dog": 3, "test/cat": 2, "test/dog": 1})
    image = next((tmp_path / "train" / "cat").iterdir())
    for copy in ("train/dog/copy", "test/cat/copy"):
        shutil.copy(image, (tmp_path / copy).with_suffix(image.suffix))
    (tmp_path / "train" / "cat" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    looked = [(found.looked, len(found.unreadable), found) for found in survey(str(tmp_path))]
    assert [each for each, _, _ in looked] == list(range(14))
    *_, (_, unreadable, found) = looked
    assert unreadable == 1
    assert found.unreadable[0].where == "train/cat/broken.png"
    assert found.repeated == 2
    assert found.heights is not None


def test_values_are_counted_by_range_and_rows_have_no_images(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("x,target\n" + "".join(f"{(i * 37) % 50 + 0.5},{i / 7}\n" for i in range(50)))
    (found,) = survey(str(file), task="regression")
    assert (found.kind, found.values, found.total) == ("table", "target", 0)
    assert sum(found.counts["train"]) == 50
    assert len(found.class_names) == 5


def test_one_class_and_no_data_are_refused(tmp_path):
    with pytest.raises(InputError, match="There is no file or folder"):
        next(survey(str(tmp_path / "nowhere")))
    write_folder(tmp_path, {"only": 4})
    with pytest.raises(InputError, match="only one class"):
        next(survey(str(tmp_path)))


def test_a_survey_answers_without_torch(tmp_path):
    write_folder(tmp_path, {"cat": 4, "dog": 3})
    code = (
        "import sys; from attribution_core.datasets.survey import survey; list(survey(sys.argv[1])); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 0
