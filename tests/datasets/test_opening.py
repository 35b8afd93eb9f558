"""What is said once a dataset is open: what it was taken as, and what was left out."""

import pytest

from attribution_core.datasets import open_dataset
from attribution_core.datasets.listing import Unreadable
from attribution_core.datasets.opening import left_out_line, sentences_about
from tests.support.builders import encoded, write_folder


def test_the_opening_line_names_splits_with_their_sizes_and_the_classes(tmp_path):
    write_folder(tmp_path / "pets", {"train/a": 20, "train/b": 20, "test/a": 4, "test/b": 4})
    (tmp_path / "pets" / "train" / "a" / "broken.png").touch()
    opened = open_dataset(tmp_path / "pets")
    lines = sentences_about(opened)
    assert lines[0].startswith("Opened pets: images")
    assert lines[0].endswith("; splits train (34), validation (6 set aside), test (8); 2 classes.")
    assert "6 of the 40 training examples (15%) were set aside" in lines[1]
    assert lines[2] == "1 file was left out: train/a/broken.png (it is empty (zero bytes))."
    assert len(opened.train) + len(opened.validation) == 40


def test_notes_count_the_examples_that_are_used(tmp_path):
    write_folder(tmp_path, {"a": 20, "b": 20})
    for number in range(20):
        (tmp_path / "a" / f"empty {number}.png").touch()
    opened = open_dataset(tmp_path, max_train=20)
    assert len(opened.unreadable) > 0
    assert f"{len(opened.train)} of the" in opened.notes[-1]
    for name, split in (("test", opened.test), ("validation", opened.validation)):
        assert f"No {name} split was found: {len(split)} of the" in " ".join(opened.notes)
    assert f"train ({len(opened.train)}), validation ({len(opened.validation)} set aside)" in opened.opened


def test_values_and_rows_have_their_own_words(tmp_path):
    file = tmp_path / "houses.csv"
    file.write_text("size,label\n" + "".join(f"{i % 11 + 0.5},{i * 1.5}\n" for i in range(40)))
    assert open_dataset(file).opened.startswith("Opened houses.csv: ")
    assert open_dataset(file).opened.endswith("; values of label.")


def test_files_left_out_are_counted_and_one_of_each_reason_comes_first():
    many = [Unreadable(f"{i}.heic", "HEIC") for i in range(30)] + [Unreadable("a.pdf", "it is a PDF")]
    assert left_out_line(many, "image") == (
        "31 files were left out: 0.heic (HEIC), a.pdf (it is a PDF), 1.heic (HEIC), 2.heic (HEIC) and 27 more."
    )
    assert left_out_line([], "image") == ""


@pytest.mark.parametrize("command", ["score", "estimate"])
def test_the_command_line_says_it_before_anything_is_trained(tmp_path, monkeypatch, capsys, command):
    from attribution_core.cli.main import main
    from attribution_core.errors import InputError
    from attribution_core.preparation import prepare as prepare_module

    def stop(*_args, **_options):
        raise InputError("Stop.")

    monkeypatch.setattr(prepare_module, "model_source", stop)
    write_folder(tmp_path / "pets", {"a": 20, "b": 20})
    (tmp_path / "pets" / "a" / "broken.png").write_bytes(encoded(1)[:30])
    assert main([command, str(tmp_path / "pets")]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Opened pets: images")
    assert lines[-1].startswith("1 file was left out: a/broken.png (")
