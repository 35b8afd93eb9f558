"""Lists of images as other programs write them: other column names, other folders, no suffixes, another target."""

import pytest

from attribution_core.datasets import format_of, open_dataset
from attribution_core.datasets.formats.manifest import read_manifest
from attribution_core.errors import InputError
from attribution_core.export.manifest import _paths
from tests.support.builders import encoded, write_manifest

N = 20
LABELS = ["cat", "dog"] * 10


def images(folder, names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(number))


def table(**columns):
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def all_sources(splits):
    return {id_: part.source(i) for part in splits for i, id_ in enumerate(part.ids)}


NAMES = ["path", "file", "filename", "file_name", "image", "img", "image_id", "Image Index", "id_code", "imagePath"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
@pytest.mark.parametrize("column", [*NAMES, "whatever"])
def test_the_column_of_images_has_many_names(tmp_path, column, suffix):
    cells = [f"pictures/{i}.png" for i in range(N)]
    images(tmp_path, cells)
    path = write_manifest(tmp_path / f"list{suffix}", table(**{column: cells, "label": LABELS}))
    assert format_of(path) == "manifest"
    assert all_sources(open_dataset(path)) == {cell: encoded(i) for i, cell in enumerate(cells)}


@pytest.mark.parametrize(
    ("cell", "file"),
    [
        ("{}", "{}.jpg"),
        ("{}.png", "images/{}.png"),
        ("{}", "train_images/{}.jpeg"),
        ("/data/upload/1/{}.png", "media/{}.png"),
        ("/data/upload/1/abc-{}.png", "upload/1/abc-{}.png"),
        ("old\\place\\{}.png", "place/{}.png"),
        ("../elsewhere/{}.png", "{}.png"),
    ],
)
@pytest.mark.parametrize("column", ["image_id", "image"])
def test_images_are_found_below_the_lists_folder(tmp_path, column, cell, file):
    images(tmp_path, [file.format(f"x{i}") for i in range(N)])
    cells = [cell.format(f"x{i}") for i in range(N)]
    splits = open_dataset(write_manifest(tmp_path / "list.csv", table(**{column: cells, "label": LABELS})))
    assert all_sources(splits) == {each: encoded(i) for i, each in enumerate(cells)}
    assert any(f"{cells[0]} is {file.format('x0')}" in note for note in splits.notes)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("column", ["path", "picture of the animal"])
def test_lists_of_spreadsheets_open_with_their_images(tmp_path, column, delimiter, encoding):
    cells = [f"Köln/{i}.png" for i in range(N)]
    images(tmp_path, cells)
    rows = [(column, "label"), *zip(cells, LABELS, strict=True)]
    (tmp_path / "list.csv").write_text("".join(f"{delimiter.join(row)}\n" for row in rows), encoding=encoding)
    assert format_of(tmp_path / "list.csv") == "manifest"
    splits = open_dataset(tmp_path / "list.csv")
    assert all_sources(splits) == {cell: encoded(i) for i, cell in enumerate(cells)}
    found = {id_: part.class_names[label] for part in splits for id_, label in zip(part.ids, part.labels, strict=True)}
    assert found == dict(zip(cells, LABELS, strict=True))


def test_images_in_two_folders_are_found_by_name(tmp_path):
    images(tmp_path, [f"part_{i % 2}/ISIC_{i}.jpg" for i in range(N)])
    rows = table(image_id=[f"ISIC_{i}" for i in range(N)], label=LABELS, age=[40 + i for i in range(N)])
    splits = open_dataset(write_manifest(tmp_path / "HAM.csv", rows))
    assert sum(map(len, splits)) == N
    assert list(splits.train.groups) == ["age"]


def test_a_name_that_two_files_fit_is_refused(tmp_path):
    images(tmp_path, [f"{folder}/{i}.png" for i in range(N) for folder in ("train", "test")])
    path = write_manifest(tmp_path / "list.csv", table(image_id=[f"{i}.png" for i in range(N)], label=LABELS))
    with pytest.raises(InputError, match=r"names 0\.png, but test/0\.png and train/0\.png both fit"):
        open_dataset(path)


def test_paths_that_are_there_are_taken_as_they_are(tmp_path):
    images(tmp_path, [f"{i}.png" for i in range(N - 1)])
    images(tmp_path / "other", [f"{i}.png" for i in range(N)])
    splits = open_dataset(write_manifest(tmp_path / "list.csv", table(path=[f"{i}.png" for i in range(N)], y=LABELS)))
    assert [each.where for each in splits.unreadable] == ["19.png"]


@pytest.mark.parametrize(
    "rows",
    [
        table(image_id=[f"{1000000000 + i}.jpg" for i in range(N)], label=LABELS),
        table(image_id=[f"{i:05d}a" for i in range(N)], label=LABELS),
        table(filename=[f"{i}.png" for i in range(N)], label=LABELS, width=range(N)),
        table(picture=[f"{i}.png" for i in range(N)], label=LABELS, split=["train", "test"] * 10),
        table(anything=[f"{i}.png" for i in range(N)], label=LABELS),
    ],
    ids=["image_id", "without suffix", "with a feature", "with splits", "another name"],
)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_a_list_whose_images_are_not_there_is_refused_and_not_scored_as_a_table(tmp_path, rows, suffix):
    column = next(iter(rows[0]))
    with pytest.raises(InputError, match=rf"The column {column} must name images, but none of its 20 was found.*path"):
        open_dataset(write_manifest(tmp_path / f"q6{suffix}", rows))


@pytest.mark.parametrize(
    "rows",
    [
        table(filename=[f"blues.{i}.wav" for i in range(N)], tempo=[i % 7 / 2 for i in range(N)], label=LABELS),
        table(image_id=list(range(N)), age=[40 + i % 7 for i in range(N)], label=LABELS),
        table(size=[i % 7 / 2 for i in range(N)], label=LABELS),
    ],
    ids=["sounds", "a number of an image", "no names"],
)
def test_a_table_with_features_stays_a_table(tmp_path, rows):
    assert format_of(write_manifest(tmp_path / "rows.csv", rows)) == "rows"


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
@pytest.mark.parametrize("target", ["choice", "y", None])
def test_the_target_column_is_chosen(tmp_path, suffix, target):
    cells = [f"/data/upload/1/abc-{i}.png" for i in range(N)]
    images(tmp_path / "upload" / "1", [f"abc-{i}.png" for i in range(N)])
    rows = table(annotator=[1] * N, choice=LABELS, id=range(N), image=cells, y=["a", "a", "b", "b"] * 5)
    splits = open_dataset(write_manifest(tmp_path / f"export{suffix}", rows), target=target)
    assert splits.train.class_names == (["cat", "dog"] if target == "choice" else ["a", "b"])
    assert ("choice" in splits.train.groups) == (target != "choice")
    assert f"with the target column {target or 'y'}" in splits.opened


def test_a_target_that_is_not_there_is_refused(tmp_path):
    images(tmp_path, [f"{i}.png" for i in range(N)])
    path = write_manifest(tmp_path / "list.csv", table(path=[f"{i}.png" for i in range(N)], breed=LABELS))
    for target, message in (("race", "no column race"), ("path", "no column path"), (None, "choose it with --target")):
        with pytest.raises(InputError, match=message):
            open_dataset(path, target=target)


def test_an_export_into_another_folder_names_the_images_where_they_are(tmp_path):
    images(tmp_path, [f"images/{i}.png" for i in range(N)])
    path = write_manifest(tmp_path / "list.csv", table(image=[f"/data/up/{i}.png" for i in range(N)], breed=LABELS))
    manifest = read_manifest(path, "breed")
    assert dict(_paths(manifest, tmp_path)) == {}
    paths = dict(_paths(manifest, tmp_path / "elsewhere"))
    assert paths == {i: (tmp_path / f"images/{i}.png").as_posix() for i in range(N)}


def test_splits_have_every_usual_name(tmp_path):
    images(tmp_path, [f"{i}.png" for i in range(N)])
    split = ["Training"] * 12 + ["dev"] * 4 + ["TESTING"] * 4
    rows = table(path=[f"{i}.png" for i in range(N)], label=LABELS, split=split)
    splits = open_dataset(write_manifest(tmp_path / "list.csv", rows))
    assert "splits Training -> train (12), dev -> validation (4), TESTING -> test (4); 2 classes." in splits.opened


@pytest.mark.parametrize("column", ["image_id", "path"])
def test_a_folder_of_a_list_and_its_images_names_the_list_to_give(tmp_path, column):
    images(tmp_path / "cassava", [f"train_images/{i}.png" for i in range(N)])
    write_manifest(
        tmp_path / "cassava" / "train.csv", table(**{column: [f"{i}.png" for i in range(N)], "label": LABELS})
    )
    with pytest.raises(InputError, match=r"need a folder for each class, .* or give the path of a list"):
        open_dataset(tmp_path / "cassava")
