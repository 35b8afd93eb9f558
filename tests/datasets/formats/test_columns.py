"""What each column of a table is taken as: cells stay as they are written, and whatever is decided is said."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from attribution_core.datasets import open_dataset
from attribution_core.errors import InputError
from tests.support.tables import make_table, write_table

N = 40
SUFFIXES = ("csv", "tsv", "jsonl", "parquet")


def write(path, columns, suffix="csv"):
    """Write columns of texts (or in JSON and Parquet of other plain values) as they are."""
    path = path / f"d.{suffix}"
    names, rows = list(columns), list(zip(*columns.values(), strict=True))
    if suffix == "parquet":
        pq.write_table(pa.table({name: list(cells) for name, cells in columns.items()}), path)
    elif suffix == "jsonl":
        path.write_text("\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows))
    else:
        separator = "\t" if suffix == "tsv" else ","
        cells = [names, *([("" if cell is None else str(cell)) for cell in row] for row in rows)]
        path.write_text("\n".join(map(separator.join, cells)))
    return path


def numbers(seed=0):
    return [round(float(value), 4) for value in np.random.default_rng(seed).normal(size=N)]


def features_of(splits):
    return set(splits.train[0][0])


def row_of(splits, number):
    return next(part[i] for part in splits for i, each in enumerate(part.ids) if each == f"row-{number:06d}")


def note_of(splits, start):
    found = [note for note in splits.notes if note.startswith(start)]
    assert len(found) == 1, splits.notes
    return found[0]


# -- classes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "classes",
    [
        ["007", "012", "100"],
        ["AS", "EU", "NA"],
        ["N/A", "None", "mild"],
        ["nan", "null", "x"],
        ["False", "True"],
        ["1e5", "2e3"][::-1],
        ["12345678901234567890123", "12345678901234567890124"],
        ["0", "1", "NA"],
        ["2", "10"],
        ["-1", "1"],
        ["1.0", "2.0"],
        ["inf", "x"],
        ["01", "1"],
    ],
)
def test_a_class_is_the_text_of_its_cell(tmp_path, classes, suffix):
    labels = [classes[i % len(classes)] for i in range(N)]
    splits = open_dataset(write(tmp_path, {"a": numbers(), "label": labels}, suffix))
    assert splits.train.class_names == classes
    for i, identity in enumerate(splits.train.ids):
        assert splits.train.class_names[splits.train.labels[i]] == labels[int(identity.removeprefix("row-"))]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_other_plain_values_are_classes_too(tmp_path, suffix):
    floats = ["1", "2"] if suffix == "parquet" else ["1.0", "2.0"]  # numbers of Parquet have no text of their own
    for values, names in (([True, False], ["False", "True"]), ([1, 0], ["0", "1"]), ([1.0, 2.0], floats)):
        splits = open_dataset(write(tmp_path, {"a": numbers(), "label": values * (N // 2)}, suffix))
        assert splits.train.class_names == names


def test_numbers_and_texts_of_json_are_the_same_class(tmp_path):
    splits = open_dataset(write(tmp_path, {"a": numbers(), "label": [1, "1", 2, "2"] * 10}, "jsonl"))
    assert splits.train.class_names == ["1", "2"]
    splits = open_dataset(write(tmp_path, {"a": numbers(), "label": [1, 1.0, 2, 2] * 10}, "jsonl"))
    assert splits.train.class_names == ["1", "1.0", "2"]
    assert "1 and 1.0 are two classes" in splits.notes[0]


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_only_an_empty_cell_has_no_class(tmp_path, suffix):
    labels = ["x", "NA"] * (N // 2)
    labels[3] = None
    splits = open_dataset(write(tmp_path, {"a": numbers(), "label": labels}, suffix))
    assert splits.train.class_names == ["NA", "x"]
    line = 4 if suffix == "jsonl" else 5
    assert (
        note_of(splits, "1 of") == f"1 of the 40 rows has no label in the column label and was left out: line {line}."
    )


def test_spaces_around_a_class_do_not_count_and_are_mentioned(tmp_path):
    splits = open_dataset(write(tmp_path, {"a": numbers(), "label": ["x", "y ", " x", "y"] * 10}))
    assert splits.train.class_names == ["x", "y"]
    assert note_of(splits, "Spaces").startswith("Spaces around the classes of the column label do not count; 20 cells")


def test_values_with_infinity_among_them_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"must hold finite numbers, but that of row 1 is not finite \(it is inf\)"):
        open_dataset(write(tmp_path, {"a": numbers(), "label": ["NA", "inf", *numbers(1)[2:]]}))


# -- features --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_features_are_numbers_if_all_their_cells_are(tmp_path, suffix):
    columns = {
        "a": [str(value) for value in numbers()],
        "code": ["1e5", "2e3", None, "007"] * 10,
        "marked": ["NA", "1", "2", "n/a"] * 10,
        "basement": ["NA", "Gd", "TA", "Gd"] * 10,
        "label": ["x", "y", "y", "x", "y"] * 8,
    }
    splits = open_dataset(write(tmp_path, columns, suffix))
    assert row_of(splits, 0)[0] == {"a": numbers()[0], "code": 100000.0, "marked": None, "basement": "NA"}
    assert note_of(splits, "The column marked") == (
        "The column marked holds numbers and NA, n/a in 20 cells, which count as empty."
    )
    assert "rows of a table with the numbers a, code, marked and the categories basement" in splits.opened


def test_decimal_commas(tmp_path):
    text = "a;b;label\n" + "\n".join(f"{i % 7},5;1.{i:03},25;{i % 5},5" for i in range(N))
    (tmp_path / "d.csv").write_text(text)
    splits = open_dataset(tmp_path / "d.csv")
    assert splits.train.values is not None
    assert row_of(splits, 3) == ({"a": 3.5, "b": 1003.25}, 3.5)
    assert note_of(splits, "The column a") == "The column a was read as numbers: 0,5 is 0.5."


def test_decimal_commas_with_exponents(tmp_path):
    rows = "".join(f"{number},5e-05;{number};{'xy'[number % 2]}\n" for number in range(N))
    (tmp_path / "d.csv").write_text(f"tiny;b;label\n{rows}")
    splits = open_dataset(tmp_path / "d.csv")
    assert row_of(splits, 3)[0]["tiny"] == 3.5e-05


def test_commas_between_thousands(tmp_path):
    text = "a\tlabel\n" + "\n".join(f"{i},{i:03}.5\t{'xy'[i % 2]}" for i in range(1, N))
    (tmp_path / "d.tsv").write_text(text)
    splits = open_dataset(tmp_path / "d.tsv")
    assert row_of(splits, 6)[0] == {"a": 7007.5}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["Unnamed: 0", "index", "n", "__index_level_0__"])
@pytest.mark.parametrize("first", [0, 1])
def test_a_running_number_is_no_feature(tmp_path, suffix, name, first):
    order = np.random.default_rng(1).permutation(N)
    columns = {name: [int(first + i) for i in order], "a": numbers(), "label": ["x", "y"] * (N // 2)}
    splits = open_dataset(write(tmp_path, columns, suffix))
    assert features_of(splits) == {"a"}
    assert note_of(splits, "Not used") == f"Not used as features: {name} (a running number)."


def test_a_running_number_that_begins_again_in_each_split(tmp_path):
    (tmp_path / "d").mkdir()
    for split, size in (("train", 20), ("test", 10), ("val", 10)):
        frame = make_table(size).assign(n=range(size))
        write_table(frame, tmp_path / "d" / f"{split}.csv")
    assert features_of(open_dataset(tmp_path / "d")) == {"age", "rooms", "city"}


def test_an_index_without_a_name_is_no_feature(tmp_path):
    frame = make_table().sort_values("label").reset_index(drop=True)
    frame.to_csv(tmp_path / "d.csv")
    splits = open_dataset(tmp_path / "d.csv")
    assert "Unnamed: 0" not in features_of(splits)
    frame.iloc[::2].to_csv(tmp_path / "half.csv")
    assert "Unnamed: 0" not in features_of(open_dataset(tmp_path / "half.csv"))
    (tmp_path / "end.csv").write_text("a,label,\n" + "\n".join(f"{a},{'xy'[i % 2]}," for i, a in enumerate(numbers())))
    splits = open_dataset(tmp_path / "end.csv")
    assert features_of(splits) == {"a"}
    assert note_of(splits, "Not used") == "Not used as features: Unnamed: 2 (neither a name nor cells)."


@pytest.mark.parametrize("name", ["PassengerId", "customer_id", "uuid", "Id", "ID"])
def test_ids_are_no_features(tmp_path, name):
    ids = [3 * i + 1000 for i in range(N)]
    splits = open_dataset(write(tmp_path, {name: ids, "a": numbers(), "label": ["x", "y"] * (N // 2)}))
    assert features_of(splits) == {"a"}
    if name.lower() == "id":
        assert splits.train.ids[0].startswith("1")


def test_words_that_hardly_repeat_are_no_feature(tmp_path):
    names = [f"name{i}" for i in range(N)]
    splits = open_dataset(write(tmp_path, {"who": names, "a": numbers(), "label": ["x", "y"] * (N // 2)}))
    assert features_of(splits) == {"a"}
    assert "who (a value of its own in each row)" in note_of(splits, "Not used")


def test_years_and_other_whole_numbers_stay_features(tmp_path):
    columns = {"year": [1980 + i for i in range(N)], "paid": numbers(), "label": ["x", "y"] * (N // 2)}
    assert features_of(open_dataset(write(tmp_path, columns))) == {"year", "paid"}


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"n": list(range(N))}, "n: a running number"),
        ({"who": [f"name{i}" for i in range(N)]}, "who: a value of its own in each row"),
        ({"a": [5] * N, "b": ["x"] * N}, "a: the same value in each row; b: the same value in each row"),
    ],
)
def test_a_table_with_nothing_to_learn_from_is_refused(tmp_path, columns, reason):
    with pytest.raises(InputError) as caught:
        open_dataset(write(tmp_path, {**columns, "label": ["x", "y"] * (N // 2)}))
    assert f"this one has none ({reason})" in str(caught.value)


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_two_columns_of_one_name_are_refused(tmp_path, suffix):
    path = tmp_path / f"d.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_arrays([pa.array(["x"] * 3)] * 2, names=["label", "label"]), path)
    elif suffix == "jsonl":
        path.write_text('{"a": 1, "label": "x", "label": "x"}\n')
    else:
        path.write_text("a,label,label\n1,x,x\n".replace(",", "\t" if suffix == "tsv" else ","))
    with pytest.raises(InputError, match=r"two (are|values) called 'label'"):
        open_dataset(path)


@pytest.mark.parametrize("name", ["Label", "LABEL", " label ", "Target", "Class"])
def test_the_target_column_is_found_in_any_case(tmp_path, name):
    splits = open_dataset(write(tmp_path, {"a": numbers(), name: ["x", "y"] * (N // 2)}))
    assert (splits.train.class_names, features_of(splits)) == (["x", "y"], {"a"})


# -- leaks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "leak",
    [
        lambda labels: ["p" if label == "x" else "q" for label in labels],
        lambda labels: [i + 1000 * (label == "x") for i, label in enumerate(labels)],
    ],
)
def test_a_column_that_alone_predicts_the_class_is_pointed_out(tmp_path, leak, suffix):
    labels = [("x", "y", "y")[i % 3] for i in range(N)]
    splits = open_dataset(write(tmp_path, {"a": numbers(), "copy": leak(labels), "label": labels}, suffix))
    assert note_of(splits, "The column copy alone predicts label in 100.0% of the rows (5-fold cross-validation)")


def test_a_column_that_predicts_the_value_is_pointed_out(tmp_path):
    values = numbers(1)
    columns = {"a": numbers(), "copy": [2 * value + 1 for value in values], "label": values}
    assert "copy has a correlation of 1.0000 with label" in note_of(
        open_dataset(write(tmp_path, columns)), "The column"
    )


def test_strong_features_and_rare_classes_are_no_leaks(tmp_path):
    rng = np.random.default_rng(0)
    label = np.arange(400) % 2
    frame = pd.DataFrame({"a": 3.0 * label + rng.normal(size=400), "b": rng.normal(size=400), "label": label})
    assert not any("alone predicts" in note for note in open_dataset(write_table(frame, tmp_path / "a.csv")).notes)
    frame = frame.assign(a=rng.normal(size=400), label=(np.arange(400) % 20 == 0).astype(int))
    assert not any("alone predicts" in note for note in open_dataset(write_table(frame, tmp_path / "b.csv")).notes)


# -- texts -----------------------------------------------------------------------------------------------------------

WORDS = {"neg": "poor boring boring film number", "pos": "lovely lovely great film number"}


def texts():
    labels = ["neg", "pos"] * (N // 2)
    return [f"{WORDS[label]} {i}" for i, label in enumerate(labels)], labels


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["Text", "tweet", "REVIEW", "v2", "comment"])
def test_long_texts_are_texts_whatever_their_column_is_called(tmp_path, suffix, name):
    written, labels = texts()
    splits = open_dataset(write(tmp_path, {name: written, "label": labels}, suffix))
    assert splits.train.kind == "text"
    assert f"texts in the column {name}" in splits.opened


@pytest.mark.parametrize("sentence", ["这部电影非常好看我很喜欢", "この映画はとても面白かった", "ภาพยนตร์เรื่องนี้ดีมาก"])
def test_texts_without_spaces_are_texts(tmp_path, sentence):
    columns = {"item": [f"{sentence}{chr(0x4E00 + i)}" for i in range(N)], "label": ["x", "y"] * (N // 2)}
    assert open_dataset(write(tmp_path, columns)).train.kind == "text"


def test_other_columns_beside_texts_are_named(tmp_path):
    written, labels = texts()
    columns = {"n": list(range(N)), "tweet": written, "likes": numbers(), "label": labels}
    splits = open_dataset(write(tmp_path, columns))
    assert splits.train.kind == "text"
    assert note_of(splits, "The features") == "The features are the texts in tweet alone; not used: n, likes."
    assert splits.train.groups.columns.tolist() == ["likes"]


def test_names_and_addresses_do_not_make_a_table_a_text(tmp_path):
    columns = {
        "Name": [f"Braund{i}; Mr. Owen Harris" for i in range(N)],
        "address": [f"{i} Main Street Springfield IL 62704" for i in range(N)],
        "fare": numbers(),
        "label": ["x", "y"] * (N // 2),
    }
    splits = open_dataset(write(tmp_path, columns))
    assert (splits.train.kind, features_of(splits)) == ("table", {"fare"})
    assert "Name (a value of its own in each row), address" in note_of(splits, "Not used")


def test_a_column_of_numbers_called_review_is_no_text(tmp_path):
    columns = {"review": [1, 2, 3, 4] * 10, "a": numbers(), "label": ["x", "y"] * (N // 2)}
    assert features_of(open_dataset(write(tmp_path, columns))) == {"review", "a"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_texts_that_pandas_would_take_as_empty(tmp_path, suffix):
    columns = {"text": ["good word", "None", "bad thing", "N/A"] * 10, "label": ["pos", "neg"] * (N // 2)}
    splits = open_dataset(write(tmp_path, columns, suffix))
    assert {splits.train[i][0] for i in range(28)} == {"good word", "None", "bad thing", "N/A"}
