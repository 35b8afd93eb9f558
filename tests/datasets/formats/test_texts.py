"""Folders of text files: every file is read or listed with its reason."""

import pytest

from attribution_core.datasets import open_dataset
from attribution_core.datasets.features import text_features
from attribution_core.errors import InputError
from tests.support.tables import SENTENCES


def class_folders(path, suffix=".txt", n=10):
    for name, text in SENTENCES.items():
        (path / name).mkdir(parents=True)
        for i in range(n):
            (path / name / f"{i}{suffix}").write_text(f"{text} {i}")
    return path


def left_out(splits):
    return {each.where: each.why for each in splits.unreadable}


def ids(splits):
    return {identity for part in splits for identity in part.ids}


def test_suffixes_in_capitals_are_read(tmp_path):
    splits = open_dataset(class_folders(tmp_path / "d", ".TXT"))
    assert sum(map(len, splits)) == 20
    (tmp_path / "lines").mkdir()
    for name, text in SENTENCES.items():
        (tmp_path / "lines" / f"{name}.Txt").write_text("\n".join(f"{text} {i}" for i in range(10)))
    assert sum(map(len, open_dataset(tmp_path / "lines"))) == 20


def test_other_files_are_listed_with_their_reasons(tmp_path):
    path = class_folders(tmp_path / "d")
    (path / "good" / "page.html").write_text("<p>a warm film")
    (path / "good" / "noext").write_text("a warm film")
    (path / "good" / ".hidden").write_text("a warm film")
    (path / "README.txt").write_text("About these films\nand more")
    (path / "vocabulary.txt").write_text("warm\nclever\n")
    splits = open_dataset(path)
    assert splits.train.class_names == ["bad", "good"]
    assert left_out(splits) == {
        "good/page.html": "it is no .txt file",
        "good/noext": "it is no .txt file",
        "README.txt": "it is beside the class folders",
        "vocabulary.txt": "it is beside the class folders",
    }


def test_a_file_about_the_data_is_no_class(tmp_path):
    for name, text in SENTENCES.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(f"{text} {i}" for i in range(10)))
    (tmp_path / "README.txt").write_text("one\ntwo\nthree")
    splits = open_dataset(tmp_path)
    assert splits.train.class_names == ["bad", "good"]
    assert left_out(splits) == {"README.txt": "its name is that of no class"}


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1e", "\r"])
def test_separators_within_a_text_do_not_break_it(tmp_path, separator):
    for name, text in SENTENCES.items():
        lines = [f"{text}{separator}{i}" for i in range(10)]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines), newline="")
    splits = open_dataset(tmp_path)
    assert ids(splits) == {f"{name}.txt:{line}" for name in SENTENCES for line in range(1, 11)}
    assert separator in splits.train[0][0]


@pytest.mark.parametrize("end", ["\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lines_and_encodings_of_other_systems(tmp_path, end, encoding):
    for name, text in SENTENCES.items():
        (tmp_path / f"{name}.txt").write_bytes(end.join(f"{text} é{i}" for i in range(10)).encode(encoding))
    splits = open_dataset(tmp_path)
    assert sum(map(len, splits)) == 20
    assert splits.train[0][0].startswith(("a warm", "a dull"))


@pytest.mark.parametrize("names", [("Training", "Testing", "dev"), ("train", "test", "validation")])
def test_folders_of_splits_in_other_spellings(tmp_path, names):
    for split in names:
        class_folders(tmp_path / split, n=5)
    (tmp_path / "more" / "good").mkdir(parents=True)
    (tmp_path / "more" / "good" / "x.txt").write_text("a warm film")
    (tmp_path / "notes.txt").write_text("notes")
    splits = open_dataset(tmp_path)
    assert [len(part) for part in splits] == [10, 10, 10]
    assert splits.train.class_names == ["bad", "good"]
    assert left_out(splits) == dict.fromkeys(
        ("more/good/x.txt", "notes.txt"), "it is outside the folders of the splits"
    )


def test_texts_without_class_folders_are_refused(tmp_path):
    for i in range(101):
        (tmp_path / f"{i}.txt").write_text("a text\n")
    with pytest.raises(InputError, match=r"must have a folder of text files for each class.* 101 files"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    "sentences",
    [
        ("这部电影非常好看我很喜欢", "这部电影太无聊了浪费时间"),
        ("この映画はとても面白かった", "この映画はつまらなかった"),
        ("ภาพยนตร์เรื่องนี้ดีมาก", "ภาพยนตร์เรื่องนี้น่าเบื่อ"),
        ("good 电影好看", "bad 电影无聊"),
    ],
)
def test_texts_of_languages_without_spaces_have_features_that_tell_them_apart(tmp_path, sentences):
    for name, text in zip("ab", sentences, strict=True):
        (tmp_path / f"{name}.txt").write_text("\n".join(f"{text}{chr(0x4E00 + i)}" for i in range(10)))
    splits = open_dataset(tmp_path)
    vectors = text_features(splits.by_name)
    centers = [vectors["train"][splits.train.labels == label].mean(0) for label in (0, 1)]
    nearest = vectors["test"] @ (centers[1] - centers[0]) > (centers[1] + centers[0]) @ (centers[1] - centers[0]) / 2
    assert nearest.int().tolist() == splits.test.labels.tolist()
