"""Arrow files as caches and other programs hold them, without what save_to_disk writes beside them."""

import json

import pyarrow as pa
import pytest
from pyarrow import feather

from attribution_core.datasets import list_examples, open_dataset
from attribution_core.errors import InputError
from attribution_core.export.export import export_run
from tests.support.arrow import IMAGE, images, named
from tests.support.builders import encoded
from tests.support.exports import unzipped, write_run
from tests.support.hugging_face import save_dataset, save_splits


def texts(count, first=0):
    return named(
        {"text": [f"some words {first + row}" for row in range(count)], "label": [row % 2 for row in range(count)]},
        label=["neg", "pos"],
    )


def write(table, path, is_file=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    with (pa.ipc.new_file if is_file else pa.ipc.new_stream)(str(path), table.schema) as writer:
        writer.write_table(table)
    return path


def read(path, is_file=False):
    return (pa.ipc.open_file if is_file else pa.ipc.open_stream)(pa.memory_map(str(path))).read_all()


@pytest.mark.parametrize("gone", [["state.json"], ["dataset_info.json"], ["state.json", "dataset_info.json"]])
def test_a_saved_dataset_without_its_state_is_read(tmp_path, gone):
    folder = save_dataset(tmp_path / "d", 20, shards=2)
    whole = open_dataset(folder)
    for name in gone:
        (folder / name).unlink()
    splits = open_dataset(folder)
    assert sum(map(len, splits)) == 20
    found = {split.source(i) for split in splits for i in range(len(split))}
    assert found == {encoded(row) for row in range(20)}
    if "dataset_info.json" not in gone:
        assert splits.train.class_names == whole.train.class_names


def test_saved_splits_without_their_states_are_read(tmp_path):
    folder = save_splits(tmp_path / "d", train=20, test=4)
    for file in folder.rglob("*.json"):
        file.unlink()
    assert {name: len(part.ids) for name, part in list_examples(folder).parts.items()} == {"train": 20, "test": 4}


def test_a_cache_of_the_library_is_read(tmp_path):
    write(texts(20), tmp_path / "imdb-train.arrow")
    write(texts(6, 20), tmp_path / "imdb-test.arrow")
    write(texts(3, 30), tmp_path / "imdb-unsupervised.arrow")
    write(texts(2, 40), tmp_path / "cache-0123456789abcdef.arrow")
    listing = list_examples(tmp_path)
    assert {name: len(part.ids) for name, part in listing.parts.items()} == {"train": 20, "test": 6}
    assert (listing.kind, listing.class_names) == ("text", ["neg", "pos"])
    assert listing.notes == ["imdb-unsupervised is not a train, validation or test split and was skipped."]


@pytest.mark.parametrize("name", ["d.arrow", "d.feather"])
@pytest.mark.parametrize("is_file", [True, False])
def test_a_file_alone_in_either_form(tmp_path, name, is_file):
    listing = list_examples(write(texts(20), tmp_path / name, is_file))
    assert [example.text for example in listing.parts["train"].images][:2] == ["some words 0", "some words 1"]


def test_a_compressed_feather_file(tmp_path):
    feather.write_feather(texts(20), str(tmp_path / "d.feather"), compression="lz4")
    assert len(list_examples(tmp_path / "d.feather").parts["train"].ids) == 20


def test_names_of_classes_beside_the_file(tmp_path):
    table = pa.table({"image": images(20), "label": [0, 1] * 10})
    write(table, tmp_path / "data-00000-of-00001.arrow")
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"features": features}))
    assert table.schema.field("image").type == IMAGE
    assert open_dataset(tmp_path).train.class_names == ["cat", "dog"]
    (tmp_path / "dataset_info.json").write_text("[]")
    assert open_dataset(tmp_path).train.class_names == ["0", "1"]


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "d.arrow").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"d\.arrow cannot be read as an Arrow file"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("is_file", [True, False])
def test_an_export_changes_what_was_decided_alone(tmp_path, is_file):
    table = texts(24).append_column("tags", [[["a", "b"]] * 24]).append_column("n", pa.array(range(24), pa.int8()))
    write(table, tmp_path / "d" / "train.arrow", is_file)
    write(texts(6, 30).append_column("tags", [[["a"]] * 6]).append_column("n", pa.array(range(6), pa.int8())),
          tmp_path / "d" / "test.arrow", is_file)  # fmt: skip
    run = write_run(tmp_path / "run", tmp_path / "d")
    ids, labels = run.examples["id"], run.examples["label"]
    run.decisions.record([ids[0]], "drop")
    run.decisions.record([ids[1]], "relabel", int(1 - labels[1]))
    folder = unzipped(export_run(run, "same", tmp_path / "out.zip").path)
    assert (folder / "test.arrow").read_bytes() == (tmp_path / "d" / "test.arrow").read_bytes()
    after = read(folder / "train.arrow", is_file)
    assert after.schema.equals(table.schema, check_metadata=True)
    rows = {row["n"]: row for row in table.to_pylist()}
    dropped, changed = (int(id_.removeprefix("train-")) for id_ in ids[:2])
    rows.pop(dropped)
    rows[changed]["label"] = 1 - rows[changed]["label"]
    assert after.to_pylist() == list(rows.values())


def test_an_export_of_a_file_alone(tmp_path):
    data = write(texts(24), tmp_path / "d.arrow")
    run = write_run(tmp_path / "run", data)
    out = export_run(run, "same", tmp_path / "out.arrow").path
    assert out.read_bytes() == data.read_bytes()
