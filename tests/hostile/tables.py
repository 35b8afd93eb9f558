"""Tables and texts that cannot be scored."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from tests.hostile.case import Case, score

_ROWS = [{"a": float(i), "b": "xyz"[i % 3], "label": "pq"[i % 2]} for i in range(20)]
_TEXTS = [{"text": f"some words here {i}", "label": "pq"[i % 2]} for i in range(20)]


def _csv(rows: list[dict] = _ROWS, options: tuple[str, ...] = (), **columns: object) -> Case.Make:
    def make(path: Path) -> list[str]:
        pd.DataFrame(rows).assign(**columns).to_csv(path / "d.csv", index=False)
        return score(path / "d.csv", *options)

    return make


def _file(name: str, data: bytes) -> Case.Make:
    def make(path: Path) -> list[str]:
        (path / name).write_bytes(data)
        return score(path / name)

    return make


def _lines(*rows: object) -> Case.Make:
    return _file("d.jsonl", "\n".join(json.dumps(row) for row in rows).encode())


def _several_files(path: Path) -> list[str]:
    (path / "d").mkdir()
    pd.DataFrame(_ROWS).to_csv(path / "d" / "train.csv", index=False)
    pd.DataFrame(_ROWS).drop(columns="a").to_csv(path / "d" / "test.csv", index=False)
    return score(path / "d")


def _text_files(**files: bytes) -> Case.Make:
    def make(path: Path) -> list[str]:
        (path / "d").mkdir()
        for name, data in files.items():
            (path / "d" / f"{name}.txt").write_bytes(data)
        return score(path / "d")

    return make


CASES = [
    Case("a table without a label", _csv([{"a": 1, "b": 2}] * 20), "a column called label, target, class or y"),
    Case("a table without any label", _csv(label=None), "training rows need labels, but all 20 are empty"),
    Case("a table of one class", _csv(label="p"), "must have at least two classes"),
    Case("a table of labels alone", _csv([{"label": "pq"[i % 2]} for i in range(20)]), "needs columns beside label"),
    Case("values that are all the same", _csv(label=0.5), "but all 14 training examples have 0.5"),
    Case("a value that is infinite", _csv(label=[np.inf, *range(19)]), "The column label must hold finite numbers"),
    Case("values that are all missing", _csv(label="NA"), "must have at least two classes"),
    Case("words as values", _csv(options=("--task", "regression")), "but row 0 holds 'p': choose another column"),
    Case(
        "numbers as classes",
        _csv(label=np.linspace(0, 1, 20), options=("--task", "classification")),
        "The column label must hold classes, but it holds numbers such as 0",
    ),
    Case(
        "values that were words before",
        _csv(label=np.linspace(0, 1, 20), original_label="p"),
        "needs a number in the column original_label, but row 0 has none",
    ),
    Case("an infinite number", _csv(a=np.inf), "The column a must hold finite numbers"),
    Case("an empty column", _csv(a=None), "The column a needs values"),
    Case("a label of every row its own", _csv(label=[f"c{i}" for i in range(20)]), "enough examples to set one aside"),
    Case("an unknown split", _csv(split="other"), "holds 'other'"),
    Case("one id twice", _csv(id="x"), "are called x"),
    Case("a target that is not there", _csv(options=("--target", "price")), "There is no column price"),
    Case("a column twice", _file("d.parquet", b""), "cannot be read"),
    Case("a CSV of no bytes", _file("d.csv", b""), "d.csv"),
    Case("a CSV with a head alone", _file("d.csv", b"a,label\n"), "needs rows"),
    Case("a CSV that is not UTF-8", _file("d.csv", b"a,label\n\xff\xfe,x\n"), "cannot be read"),
    Case("a CSV of null bytes", _file("d.csv", b"\0" * 100), "d.csv"),
    Case("a CSV with too many cells", _file("d.csv", b"a,label\n1,x\n1,2,3,4,x\n"), "Line 3 of"),
    Case("a CSV with an open quote", _file("d.csv", b'a,label\n1,"x\n2\n'), "Line 2 of"),
    Case("a workbook called csv", _file("d.csv", b"PK\x03\x04" + bytes(range(256))), "d.csv"),
    Case("broken JSON", _file("d.jsonl", b'{"a": 1, "label": "x"}\n{oops'), "must hold JSON in line 2"),
    Case("lists in JSON Lines", _lines([1, 2], [3, 4]), "d.jsonl"),
    Case("nested JSON", _lines({"a": {"b": 1}, "label": "x"}), "none beside a, of lists or structures"),
    Case("files of other columns", _several_files, "must have the same columns"),
    Case("an empty text", _csv([{"text": "", "label": "p"}, *_TEXTS]), "row 0 has none"),
    Case(
        "texts without a word in common",
        _csv([{"text": f"w{i}", "label": "pq"[i % 2]} for i in range(20)]),
        "no word occurs in two of the training texts",
    ),
    Case(
        "an encoder that is not there",
        _csv(_TEXTS, ("--encoder", "/nowhere")),
        "must be a folder of a sentence-transformers model",
    ),
    Case("an encoder for a table", _csv(options=("--encoder", "/nowhere")), "An encoder was given"),
    Case("an image size for a table", _csv(options=("--image-size", "32")), "An image size was given"),
    Case("a network of images for a table", _csv(options=("--model", "cnn4")), "cnn4 takes images"),
    Case("text files that are empty", _text_files(p=b"", q=b" \n"), "none were found"),
    Case("text files that are not UTF-8", _text_files(p=b"\xff", q=b"\xfe"), "it is not UTF-8"),
]
