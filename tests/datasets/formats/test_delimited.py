"""Delimited text: every row is read as it was written, or refused with its line."""

import pytest

from attribution_core.datasets.formats.delimited import read_delimited, split_lines
from attribution_core.datasets.formats.row_files import clean_columns, read_column_names, read_json_lines
from attribution_core.errors import InputError

QUOTED = '"one, two"\t"said ""no"""\n'


def read(path, text, name="d.csv", encoding="utf-8"):
    (path / name).write_bytes(text.encode(encoding) if isinstance(text, str) else text)
    rows = read_delimited(path / name)
    whole = rows.head + "".join(rows.records)
    assert rows.dialect.bom + whole.encode(rows.dialect.encoding) == (path / name).read_bytes()
    return rows


def test_cells_are_the_texts_of_the_file(tmp_path):
    rows = read(tmp_path, "id,code,price\r\n00003,1e5,1.10\r\nNA,True, x \r\n")
    assert rows.columns == ["id", "code", "price"]
    assert rows.cells == [["00003", "1e5", "1.10"], ["NA", "True", " x "]]
    assert rows.lines == [2, 3]
    assert rows.records == ["00003,1e5,1.10\r\n", "NA,True, x \r\n"]
    assert rows.notes == []


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["d.csv", "d.tsv", "D.CSV"])
def test_the_delimiter_is_the_one_that_fits_every_row(tmp_path, delimiter, name):
    text = "\n".join(delimiter.join(cells) for cells in (("a", "b", "label"), ("1", "2", "x"), ("3", "4", "y")))
    rows = read(tmp_path, text, name)
    assert rows.cells == [["1", "2", "x"], ["3", "4", "y"]]
    usual = "\t" if name.endswith("tsv") else ","
    assert bool(rows.notes) == (delimiter != usual)
    assert read_column_names(tmp_path / name) == ["a", "b", "label"]


def test_commas_within_cells_of_a_semicolon_file(tmp_path):
    rows = read(tmp_path, "text;value;label\nwell, yes;0,5;x\nno;1;y\n")
    assert rows.cells == [["well, yes", "0,5", "x"], ["no", "1", "y"]]
    assert "separated by semicolons" in rows.notes[0]


def test_the_hint_of_a_spreadsheet_is_no_row(tmp_path):
    assert read(tmp_path, "sep=;\na;label\n1;x\n").columns == ["a", "label"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_encodings(tmp_path, encoding):
    rows = read(tmp_path, "place,label\nKöln,x\nΑθήνα,y\n" * 1, encoding=encoding)
    assert rows.columns == ["place", "label"]
    assert rows.cells[1] == ["Αθήνα", "y"]
    assert read_column_names(tmp_path / "d.csv") == ["place", "label"]


def test_another_encoding_is_named_with_its_line(tmp_path):
    with pytest.raises(InputError, match=r"must be UTF-8 or UTF-16, but byte 12 in line 2 is not.*Windows-1252"):
        read(tmp_path, "name,label\nJ\xe9,x\n", encoding="cp1252")


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
@pytest.mark.parametrize("name", ["d.csv", "d.tsv"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_separators_of_lines_within_a_text(tmp_path, separator, name, quote):
    delimiter = "\t" if name.endswith("tsv") else ","
    text = f"{quote}one{separator}two{quote}"
    rows = read(tmp_path, f"text{delimiter}label\n{text}{delimiter}x\nthree{delimiter}y\n", name)
    assert rows.cells == [[f"one{separator}two", "x"], ["three", "y"]]


def test_lines_that_end_with_carriage_returns_alone(tmp_path):
    assert read(tmp_path, 'a,label\r1,x\r"2",y\r').cells == [["1", "x"], ["2", "y"]]


def test_empty_lines_are_no_rows(tmp_path):
    rows = read(tmp_path, "\na,label\n1,x\n\n  \n2,y\n\n")
    assert rows.cells == [["1", "x"], ["2", "y"]]
    assert rows.lines == [3, 6]
    assert rows.records[0] == "1,x\n\n  \n"


def test_quotes_that_enclose_cells_are_taken_off(tmp_path):
    rows = read(tmp_path, 'text,label\n"one, ""two""\nthree",x\nplain,y\n')
    assert rows.cells == [['one, "two"\nthree', "x"], ["plain", "y"]]
    assert rows.lines == [2, 4]
    assert read(tmp_path, f"a\tb\n{QUOTED}", "d.tsv").cells == [["one, two", 'said "no"']]
    assert read(tmp_path, 'a\tb\n"one\nline"\tx\n', "d.tsv").cells == [["one\nline", "x"]]


@pytest.mark.parametrize("name", ["d.csv", "d.tsv"])
@pytest.mark.parametrize(
    "texts",
    [
        ['"rb good', "fine", '"oring', 'ed" bad'],
        ['"rb good', "fine", "poor", 'bad"'],
        ['"good" film', "fine", "poor", "bad"],
        ["fine", '"', "poor", "bad"],
    ],
)
@pytest.mark.parametrize("label_first", [True, False])
def test_a_text_that_only_begins_with_a_quote_keeps_it(tmp_path, name, texts, label_first):
    delimiter = "\t" if name.endswith("tsv") else ","
    cells = [[text, label] for text, label in zip(texts + ["good film"] * 16, ["pos", "neg"] * 10, strict=True)]
    lines = [delimiter.join(reversed(row) if label_first else row) for row in [["text", "label"], *cells]]
    rows = read(tmp_path, "\n".join(lines), name)
    assert [sorted(row) for row in rows.cells] == [sorted(row) for row in cells]
    assert "Quotes are part of the texts" in rows.notes[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,label\n1,x\n2\n", "Line 3 of .* must have 2 cells, as the first line has, but it has 1"),
        ("a,label\n1,x\n2,y,3\n", "Line 3 of .* must have 2 cells.* but it has 3"),
        ('text,label\n"a, b",x\n"c, d,y\n', "Line 3 of .* must close each quote"),
        ('text,label\n"a, b",x\nd,y\ne,x\nd,y\n"c,y\ne,x\ne",x\n', "quote in line 6 .* closes in line 8, after lines"),
    ],
)
def test_rows_that_do_not_fit_are_refused_with_their_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


def test_texts_longer_than_the_limit_of_the_csv_module(tmp_path):
    long = "word " * 50_000
    assert read(tmp_path, f'text,label\n"{long}, or",x\n').cells == [[f"{long}, or", "x"]]


@pytest.mark.parametrize(
    "columns", [["label", "label"], ["label", " label"], ["label", "\ufefflabel"], ["é", "e\u0301"]]
)
def test_names_that_differ_only_in_spaces_are_the_same(tmp_path, columns):
    with pytest.raises(InputError, match=r"needs its own name, but two are called"):
        clean_columns(columns, tmp_path)
    assert clean_columns(["", "a", ""], tmp_path) == ["Unnamed: 0", "a", "Unnamed: 2"]


def test_json_lines_keep_numbers_as_they_are_written(tmp_path):
    (tmp_path / "d.jsonl").write_bytes('{"a": 1.0, "b": "x\u2028y"}\r\n\n{"a": 1e5, "b": null}\n'.encode("utf-16"))
    columns, rows, lines = read_json_lines(tmp_path / "d.jsonl", exact=True)
    assert (columns, lines) == (["a", "b"], [1, 3])
    assert rows == [{"a": "1.0", "b": "x\u2028y"}, {"a": "1e5", "b": None}]
    assert read_column_names(tmp_path / "d.jsonl") == ["a", "b"]


def test_a_json_object_with_a_name_twice_is_refused(tmp_path):
    (tmp_path / "d.jsonl").write_text('{"label": "x", "label": "y"}\n')
    with pytest.raises(InputError, match=r"in line 1, but it does not .*two values called 'label'"):
        read_json_lines(tmp_path / "d.jsonl")


def test_lines():
    assert split_lines("a\r\nb\rc\n") == ["a\r\n", "b\rc\n"]
    assert split_lines("a\rb") == ["a\r", "b"]
    assert split_lines("") == []
