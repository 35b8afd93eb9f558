"""Rows of several Arrow tables as one: names of classes, types, rows without a label, and which column is what."""

import datetime
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from attribution_core.datasets.formats.arrow_rows import join_parts
from attribution_core.datasets.formats.tables import list_rows, table_of
from attribution_core.errors import InputError
from tests.support.arrow import named, part

TEXTS = [f"a text {i}" for i in range(4)]


def labels_by_split(rows, task="auto"):
    """Return the class of each row, by split, as it is listed."""
    listing = list_rows(table_of(rows), task)
    return {split: [listing.class_names[i] for i in each.labels] for split, each in listing.parts.items()}


def test_each_file_names_its_own_classes():
    train = named({"text": TEXTS, "label": [0, 1, 0, 1]}, label=["neg", "pos"])
    test = named({"text": TEXTS, "label": [0, 1, 2, 1]}, label=["pos", "neg", "mixed"])
    rows = join_parts([part(test, "test"), part(train)], None)
    assert rows.class_names["label"] == ["neg", "pos", "mixed"]  # the order of the training rows
    assert labels_by_split(rows) == {"train": ["neg", "pos", "neg", "pos"], "test": ["pos", "neg", "mixed", "neg"]}


def test_files_of_one_split_may_order_their_classes_differently():
    first = named({"text": TEXTS, "label": [0, 0, 1, 1]}, label=["a", "b"])
    second = named({"text": TEXTS, "label": [0, 0, 1, 1]}, label=["b", "a"])
    rows = join_parts([part(first), part(second)], None)
    assert labels_by_split(rows) == {"train": ["a", "a", "b", "b", "b", "b", "a", "a"]}


def test_numbers_and_names_of_classes_are_put_together():
    numbers = named({"text": TEXTS, "label": [0, 1, 0, 1]}, label={"1": "pos", "0": "neg"})
    words = pa.table({"text": TEXTS, "label": pa.array(["pos", "neg", "pos", "pos"]).dictionary_encode()})
    assert labels_by_split(join_parts([part(numbers), part(words, "test")], None))["test"] == [
        "pos",
        "neg",
        "pos",
        "pos",
    ]
    bare = pa.table({"text": TEXTS, "label": [1, 0, 1, 1]})
    with pytest.raises(InputError, match=r"label of test\.parquet need the names of their classes"):
        join_parts([part(numbers), part(bare, "test")], None)


def test_groups_are_named_by_their_own_file_too():
    first = named({"text": TEXTS, "label": list("abab"), "source": [0, 1, 0, -1]}, source=["web", "book"])
    second = named({"text": TEXTS, "label": list("abab"), "source": [0, 1, 0, 7]}, source=["book", "web"])
    source = join_parts([part(first), part(second, "test")], None).table["source"].to_pylist()
    assert source == ["web", "book", "web", None, "book", "web", "book", None]


@pytest.mark.parametrize(
    ("train", "test", "names"),
    [
        ([0, 1, 0, 1], [-1, -1, -1, -1], ["a", "b"]),
        ([0, 1, 0, 1], [-1, -1, -1, -1], None),
        ([0, 1, 0, 1], None, None),
        (["a", "b", "a", "b"], [None] * 4, None),
        ([0.5, 1.5, 0.5, 1.5], pa.nulls(4, pa.float64()), None),
    ],
)
def test_a_split_without_labels_is_left_out_and_said(train, test, names):
    stated = {"label": names} if names else {}
    first = named({"text": TEXTS, "label": train}, **stated)
    second = named({"text": TEXTS} if test is None else {"text": TEXTS, "label": test}, **stated if test else {})
    rows = join_parts([part(second, "test"), part(first)], None)
    assert rows.notes == ["All 4 test rows have no label in the column label and were left out."]
    assert rows.splits.tolist() == ["train"] * 4
    assert rows.rows.tolist() == [4, 5, 6, 7]
    assert rows.ids[0] == "train-000000"


def test_rows_without_a_label_are_left_out_and_counted():
    table = named({"text": TEXTS, "label": [0, None, -1, 1]}, label=["a", "b"])
    rows = join_parts([part(table, "row")], None)
    assert rows.notes == ["2 of the 4 rows have no label in the column label and were left out: row 1 and row 2."]
    assert (rows.ids, rows.rows.tolist()) == (["row-000000", "row-000003"], [0, 3])
    assert labels_by_split(rows) == {"train": ["a", "b"]}
    numbers = join_parts([part(pa.table({"text": TEXTS, "label": [1, None, 2, 1]}))], None)
    assert labels_by_split(numbers) == {"train": ["1", "2", "1"]}  # not 1.0
    with pytest.raises(
        InputError, match="The training rows need labels, but all 4 are empty or -1 in the column label"
    ):
        join_parts([part(pa.table({"text": TEXTS, "label": pa.nulls(4)}))], None)


def test_minus_one_is_a_class_where_others_have_it_too():
    rows = join_parts(
        [
            part(pa.table({"text": TEXTS, "label": [-1, 1, -1, 1]})),
            part(pa.table({"text": TEXTS, "label": [-1] * 4}), "test"),
        ],
        None,
    )
    assert labels_by_split(rows) == {"train": ["-1", "1", "-1", "1"], "test": ["-1"] * 4}


def test_numbers_beyond_the_names_are_refused():
    table = named({"text": TEXTS, "label": [0, 1, 5, 1]}, label=["a", "b"])
    with pytest.raises(InputError, match="Labels must be 0 to 1, but row 2 has 5"):
        join_parts([part(table)], None)


@pytest.mark.parametrize(
    ("label", "names"),
    [
        (pa.array(["x", "y", "x", "y"], pa.large_string()), ["x", "y", "x", "y"]),
        (pa.array(["x", "y", "x", "y"], pa.string_view()), ["x", "y", "x", "y"]),
        (pa.array(["x", "y", "x", "y"]).dictionary_encode(), ["x", "y", "x", "y"]),
        (pa.array([True, False, True, False]), ["True", "False", "True", "False"]),
        (pa.array([Decimal("1"), Decimal("2"), Decimal("1"), Decimal("2")], pa.decimal128(5, 0)), ["1", "2", "1", "2"]),
        (pc.run_end_encode(pa.array([1, 1, 2, 2])), ["1", "1", "2", "2"]),
        (pa.array([1, 2, 1, 2], pa.uint8()), ["1", "2", "1", "2"]),
        (pa.array([1.0, 2.0, 1.0, 2.0]), ["1", "2", "1", "2"]),
        (pa.array(["007", "7", "NA", "None"]), ["007", "7", "NA", "None"]),
    ],
)
def test_labels_of_every_type_are_classes(label, names):
    assert labels_by_split(join_parts([part(pa.table({"text": TEXTS, "label": label}))], None)) == {"train": names}


def test_features_of_every_type_are_read():
    table = pa.table(
        {
            "label": list("abab"),
            "price": pa.array([Decimal("1.25")] * 4),
            "day": [datetime.date(2024, 1, 2)] * 4,
            "time": pa.array([datetime.datetime(2024, 1, 2, 3)] * 4, pa.timestamp("us", "UTC")),
            "seen": [True, False, True, None],
            "count": pa.array([1, None, 2, 3], pa.int32()),
            "city": pa.array(["Ulm", "Bonn", None, "Ulm"]).dictionary_encode(),
        }
    )
    row = list_rows(table_of(join_parts([part(table)], None))).parts["train"].images[1].decoded()
    assert row == {
        "price": 1.25, "day": "2024-01-02", "time": "2024-01-02 03:00:00+00:00", "seen": "False", "count": None,
        "city": "Bonn",
    }  # fmt: skip


def test_lists_structures_and_bytes_are_left_aside_and_named():
    table = pa.table(
        {
            "text": TEXTS,
            "label": list("abab"),
            "tokens": [["a"]] * 4,
            "meta": [{"x": 1}] * 4,
            "where": pa.array([[("a", 1)]] * 4, pa.map_(pa.string(), pa.int64())),
            "vector": pa.array([[1.0, 2.0]] * 4, pa.list_(pa.float32(), 2)),
            "key": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16] * 4, pa.binary(16))),
        }
    )
    rows = join_parts([part(table)], None)
    assert rows.table.column_names == ["text", "label"]
    assert rows.notes == [
        "The columns tokens, meta, where and vector hold lists or structures and were left aside.",
        "The column key holds bytes and was left aside.",
    ]


def test_the_index_of_pandas_is_no_feature():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "label": list("xyxy")}, index=[5, 9, 2, 7])
    rows = join_parts([part(pa.Table.from_pandas(frame))], None)
    assert rows.table.column_names == ["a", "label"]
    assert rows.notes == ["The column __index_level_0__ holds the index of pandas and was left aside."]
    named_index = frame.set_index(pd.Index(list("abcd"), name="key"))
    assert join_parts([part(pa.Table.from_pandas(named_index))], None).table.column_names == ["a", "label"]
    assert join_parts([part(pa.Table.from_pandas(frame.rename_axis("id")))], None).ids == ["5", "9", "2", "7"]


@pytest.mark.parametrize(
    ("columns", "classes", "target", "label"),
    [
        ({"text": TEXTS, "Label": list("abab")}, (), None, "Label"),
        ({"text": TEXTS, "labels": list("abab")}, (), None, "labels"),
        ({"text": TEXTS, "topic": [0, 1, 0, 1]}, ("topic",), None, "topic"),
        ({"text": TEXTS, "label": [0, 1, 0, 1], "topic": [0, 1, 0, 1]}, ("label", "topic"), None, "label"),
        ({"text": TEXTS, "label": [0, 1, 0, 1], "topic": [0, 1, 0, 1]}, ("label", "topic"), "topic", "topic"),
    ],
)
def test_the_target_is_chosen_requested_or_the_only_one(columns, classes, target, label):
    table = named(columns, **{name: ["a", "b"] for name in classes})
    assert join_parts([part(table)], target).label == label


@pytest.mark.parametrize(
    ("columns", "target", "message"),
    [
        (
            {"fine": [0] * 4, "coarse": [0] * 4},
            None,
            "but fine and coarse hold classes: choose one, such as --target fine",
        ),
        ({"fine": [0] * 4, "coarse": [0] * 4}, "label", "There is no column label; the columns are fine, coarse"),
        ({"text": TEXTS}, None, r"the columns are text: choose the target column with --target"),
        (
            {"text": TEXTS, "tags": [["a"]] * 4},
            "tags",
            "The column tags must hold numbers or strings, but it holds lists",
        ),
        (
            {"text": TEXTS, "label": [["a"]] * 4},
            None,
            "The column label must hold numbers or strings, but it holds lists",
        ),
    ],
)
def test_a_missing_target_is_refused_with_the_choices(columns, target, message):
    classes = {name: ["a", "b"] for name in ("fine", "coarse") if name in columns}
    with pytest.raises(InputError, match=message) as caught:
        join_parts([part(named(columns, **classes))], target)
    assert str(caught.value).count(". ") == 0


def test_parts_that_do_not_fit_are_refused():
    words, numbers = pa.table({"a": [1] * 4, "label": list("abab")}), pa.table({"a": [1] * 4, "label": [0, 1, 0, 1]})
    with pytest.raises(InputError, match=r"label holds string in train\.parquet and int64 in test\.parquet"):
        join_parts([part(words), part(numbers, "test")], None)
    twice = pa.table([pa.array([1] * 4), pa.array([2] * 4), pa.array(list("abab"))], ["a", "a", "label"])
    with pytest.raises(InputError, match="two are called 'a'"):
        join_parts([part(twice)], None)


def test_rows_need_the_same_features_in_each_part():
    first, second = {"a": [1] * 4, "b": [2] * 4, "label": list("abab")}, {"b": [2] * 4, "label": list("abab")}
    with pytest.raises(InputError, match=r"same columns, but test\.parquet has no column a"):
        join_parts([part(pa.table(first)), part(pa.table(second), "test")], None)
    again = pa.table({name: first[name] for name in ("label", "b", "a")})  # another order
    assert join_parts([part(pa.table(first)), part(again, "test")], None).table["a"].to_pylist() == [1] * 8


def test_parts_with_and_without_a_split_are_refused():
    table = pa.table({"a": [1] * 4, "label": list("abab")})
    with pytest.raises(InputError, match=r"must name their split, but row\.parquet does not"):
        join_parts([part(table), part(table, "row")], None)
