"""Texts and rows of tables: CSV, TSV, JSON Lines, Parquet, and text files."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from attribution_core.datasets import open_dataset
from attribution_core.datasets.features import describe, has_minilm, table_features, text_features, tfidf_features
from attribution_core.errors import InputError
from tests.support.encoders import make_sentence_encoder
from tests.support.tables import SENTENCES, make_table, make_texts, write_table


def named(splits):
    return {"train": splits.train, "validation": splits.validation, "test": splits.test}


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_is_the_same_in_every_form(tmp_path, suffix):
    splits = open_dataset(write_table(make_table(), tmp_path / f"t.{suffix}"))
    assert splits.train.kind == "table"
    assert splits.train.class_names == ["high", "low"]
    assert [len(split) for split in splits] == [28, 6, 6]
    row, label = splits.train[0]
    original = make_table().iloc[int(splits.train.ids[0].removeprefix("row-"))]
    assert row["age"] == pytest.approx(original["age"])
    assert (row["rooms"], row["city"], splits.train.class_names[label]) == tuple(original[["rooms", "city", "label"]])
    assert splits.train.groups["city"].tolist() == [splits.train[i][0]["city"] for i in range(28)]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_texts_are_the_same_in_every_form(tmp_path, suffix):
    splits = open_dataset(write_table(make_texts(), tmp_path / f"t.{suffix}"))
    assert splits.train.kind == "text"
    text, label = splits.train[0]
    assert text == f"{SENTENCES[splits.train.class_names[label]]} {int(splits.train.ids[0].removeprefix('row-'))}"
    assert splits.train.groups.columns.tolist() == ["source"]


def test_the_digest_changes_with_a_cell(tmp_path):
    before = open_dataset(write_table(make_table(), tmp_path / "a.csv")).fingerprint()
    assert open_dataset(write_table(make_table(), tmp_path / "b.csv")).fingerprint() == before
    changed = make_table()
    changed.loc[3, "city"] = "Trier"
    assert open_dataset(write_table(changed, tmp_path / "c.csv")).fingerprint() != before


def test_files_named_after_splits_and_a_split_column(tmp_path):
    frame = make_table()
    folder = tmp_path / "d"
    folder.mkdir()
    for name, rows in (("train", slice(0, 24)), ("val", slice(24, 32)), ("test", slice(32, 40))):
        write_table(frame.iloc[rows], folder / f"{name}.csv")
    by_file = open_dataset(folder)
    assert [len(split) for split in by_file] == [24, 8, 8]
    by_column = open_dataset(
        write_table(frame.assign(split=["train"] * 24 + ["val"] * 8 + ["test"] * 8), tmp_path / "one.csv")
    )
    assert [len(split) for split in by_column] == [24, 8, 8]
    assert "split" not in by_column.train[0][0]
    assert by_file.train.ids[0] == "train-000000"


def test_ids_and_original_labels_are_not_features(tmp_path):
    frame = make_table().assign(id=[f"x{i}" for i in range(40)], original_label=make_table()["label"])
    splits = open_dataset(write_table(frame, tmp_path / "t.csv"))
    assert set(splits.train[0][0]) == {"age", "rooms", "city"}
    assert splits.train.ids[0].startswith("x")
    assert "original_label" in splits.train.groups


def test_another_column_can_be_the_target(tmp_path):
    splits = open_dataset(write_table(make_table(), tmp_path / "t.csv"), target="city")
    assert splits.train.class_names == ["Bonn", "Köln", "Ulm"]
    assert set(splits.train[0][0]) == {"age", "rooms", "label"}


def test_numbers_are_standardized_and_words_are_columns(tmp_path):
    splits = open_dataset(write_table(make_table(), tmp_path / "t.csv"))
    vectors = table_features(named(splits))
    assert vectors["train"].shape == (28, 2 + 3)
    assert torch.allclose(vectors["train"][:, :2].mean(0), torch.zeros(2), atol=1e-6)
    assert torch.allclose(vectors["train"][:, :2].std(0, correction=0), torch.ones(2), atol=1e-5)
    assert torch.equal(vectors["test"][:, 2:].sum(1), torch.ones(6))


def test_empty_cells_and_words_never_seen(tmp_path):
    frame = make_table().assign(split=["train"] * 24 + ["val"] * 8 + ["test"] * 8)
    frame.loc[[0, 25], "age"] = None
    frame.loc[[1, 33], "city"] = None
    frame.loc[34, "city"] = "Trier"
    splits = open_dataset(write_table(frame, tmp_path / "t.csv"))
    vectors = table_features(named(splits))
    assert all(bool(torch.isfinite(each).all()) for each in vectors.values())
    median = float(np.median(frame["age"][:24].dropna()))
    filled = frame["age"][:24].fillna(median)
    expected = (median - filled.mean()) / filled.std(ddof=0)
    assert float(vectors["train"][0, 0]) == pytest.approx(expected, abs=1e-5)
    assert describe(splits.train[0][0]).startswith("age: –\n")


def test_vectors_of_texts_are_fitted_to_the_training_texts_alone(tmp_path):
    splits = open_dataset(write_table(make_texts(), tmp_path / "t.csv"))
    vectors = text_features(named(splits))
    assert float(vectors["train"].square().mean()) == pytest.approx(1, abs=1e-5)
    again = text_features({"train": splits.train, "test": splits.validation})
    assert torch.equal(again["train"], vectors["train"])
    widest = vectors["train"].std(0).argmax()  # separates the two kinds of sentence
    sides = vectors["train"][:, widest] * torch.from_numpy(2.0 * splits.train.labels - 1)
    assert bool((sides > 0).all() or (sides < 0).all())


def test_all_of_tfidf_is_fitted_to_the_training_texts_alone(tmp_path):
    splits = open_dataset(write_table(make_texts(), tmp_path / "t.csv"))
    rows = tfidf_features(named(splits))
    train = [splits.train[i][0] for i in range(len(splits.train))]
    plain = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True).fit(train)
    for name, part in named(splits).items():
        expected = plain.transform([part[i][0] for i in range(len(part))])
        assert rows[name].shape == (len(part), len(plain.vocabulary_))
        np.testing.assert_allclose(rows[name].toarray(), expected.toarray())


def test_text_files_by_folder_and_by_line(tmp_path):
    for name, text in SENTENCES.items():
        (tmp_path / "folders" / name).mkdir(parents=True)
        for i in range(10):
            (tmp_path / "folders" / name / f"{i}.txt").write_text(f"{text} {i}\n")
    (tmp_path / "folders" / "good" / "empty.txt").write_text(" \n")
    (tmp_path / "folders" / "bad" / "latin.txt").write_bytes(b"caf\xe9")
    splits = open_dataset(tmp_path / "folders")
    assert splits.train.kind == "text"
    assert sorted(identity for split in splits for identity in split.ids)[0] == "bad/0.txt"
    assert [(each.where, each.why) for each in splits.unreadable] == [
        ("bad/latin.txt", "it is not UTF-8"),
        ("good/empty.txt", "it has no text"),
    ]
    lines = tmp_path / "lines"
    lines.mkdir()
    for name, text in SENTENCES.items():
        (lines / f"{name}.txt").write_text("\n".join(f"{text} {i}" for i in range(10)))
    splits = open_dataset(lines)
    assert splits.train.class_names == ["bad", "good"]
    assert "good.txt:1" in {identity for split in splits for identity in split.ids}


def test_a_link_out_of_the_dataset_is_skipped(tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    for name, text in SENTENCES.items():
        (tmp_path / "d" / name).mkdir(parents=True)
        for i in range(10):
            (tmp_path / "d" / name / f"{i}.txt").write_text(f"{text} {i}")
    (tmp_path / "d" / "good" / "link.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "d" / "good" / "loop.txt").symlink_to(tmp_path / "d" / "good" / "loop.txt")
    splits = open_dataset(tmp_path / "d")
    assert {each.where for each in splits.unreadable} == {"good/link.txt", "good/loop.txt"}


@pytest.mark.parametrize(
    ("frame", "target", "sentence"),
    [
        (make_table().drop(columns="label"), None, "need a column called label, target, class or y"),
        (make_table(), "price", "There is no column price; the columns are age, rooms, city, label"),
        (make_table().assign(label=None), None, "training rows need labels, but all 40 are empty"),
        (make_table()[["label"]], None, "needs columns beside label"),
        (make_table().assign(age=np.inf), None, "column age must hold finite numbers, but that of row 0 is not"),
        (make_table().assign(age=None), None, "The column age needs values"),
        (make_table().assign(label="one"), None, "there is only one class: one"),
        (make_table().assign(split="other"), None, "but it holds 'other'"),
        (make_table().assign(id=["a"] * 40), None, "two of the train examples are called a"),
        (
            make_texts().assign(text=[" "] + ["words here"] * 39),
            None,
            "needs a text in the column text, but row 0 has none",
        ),
        (make_table().head(0), None, "needs rows, but has none"),
    ],
)
def test_faulty_tables_are_refused_in_one_sentence(tmp_path, frame, target, sentence):
    with pytest.raises(InputError) as error:
        open_dataset(write_table(frame, tmp_path / "t.csv"), target=target)
    assert sentence in str(error.value)


def test_damaged_files(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"a": 1, "label": "x"}) + "\n{broken\n")
    with pytest.raises(InputError, match=r"a\.jsonl must hold JSON in line 2"):
        open_dataset(tmp_path / "a.jsonl")
    (tmp_path / "b.csv").write_bytes(b"a,label\n\xff\xfe,x\n")
    with pytest.raises(InputError, match=r"b\.csv cannot be read"):
        open_dataset(tmp_path / "b.csv")
    (tmp_path / "c.csv").write_text("a,a,label\n1,2,x\n")
    with pytest.raises(InputError, match="two are called 'a': rename one"):
        open_dataset(tmp_path / "c.csv")


def test_texts_without_a_word_in_common(tmp_path):
    frame = pd.DataFrame({"text": [f"w{i}" for i in range(20)], "label": ["a", "b"] * 10})
    with pytest.raises(InputError, match="no word occurs in two of the training texts"):
        text_features(named(open_dataset(write_table(frame, tmp_path / "t.csv"))))


def test_a_sentence_encoder_from_a_folder(tmp_path):
    splits = open_dataset(write_table(make_texts(), tmp_path / "t.csv"))
    folder = make_sentence_encoder(tmp_path / "encoder")
    vectors = text_features(named(splits), str(folder))
    assert vectors["train"].shape == (28, 16)
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    direct = torch.from_numpy(model.encode([splits.train[i][0] for i in range(28)]))
    centred = direct - direct.mean(0)
    assert torch.allclose(vectors["train"], centred / centred.square().mean().sqrt(), atol=1e-4)


@pytest.mark.skipif(not has_minilm(), reason="needs the extra text")
def test_the_sentence_encoder_of_a_package_puts_sentences_of_one_meaning_together(tmp_path):
    pairs = ["a great film", "a wonderful movie", "the soup was cold", "dinner arrived chilled"] * 6
    frame = pd.DataFrame({"text": pairs, "label": ["film", "film", "meal", "meal"] * 6})
    splits = open_dataset(write_table(frame, tmp_path / "t.csv"))
    vectors = text_features(named(splits), "minilm")["train"]
    texts = [splits.train[i][0] for i in range(len(splits.train))]
    film, movie, soup, dinner = (torch.nn.functional.normalize(vectors[texts.index(text)], dim=0) for text in pairs[:4])
    assert film @ movie > film @ soup
    assert soup @ dinner > soup @ movie


def test_a_missing_package_of_the_encoder_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("attribution_core.datasets.features._MINILM_PACKAGE", "no_such_package")
    splits = open_dataset(write_table(make_texts(), tmp_path / "t.csv"))
    with pytest.raises(
        InputError, match=r"encoder minilm is not on this machine: run pip install 'samplescope\[text\]'"
    ):
        text_features(named(splits), "minilm")


def test_a_missing_encoder(tmp_path):
    splits = open_dataset(write_table(make_texts(), tmp_path / "t.csv"))
    with pytest.raises(InputError, match=r"nowhere must be a folder of a sentence-transformers model"):
        text_features(named(splits), str(tmp_path / "nowhere"))


def test_files_in_one_folder_below_are_found(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("train", "test"):
        write_table(make_texts(), tmp_path / "data" / f"{name}.jsonl")
    assert [len(split) for split in open_dataset(tmp_path)] == [34, 6, 40]
