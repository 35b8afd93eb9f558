"""Random tables with cells that parsers rewrite, as files and as the records that they are written from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

_CELLS = [
    "", " ", "007", "02139", "1.10", "1e5", "2E-3", "NA", "N/A", "nan", "NULL", "None", "True", "false", "-0.0", "+5",
    "0.037719066328017990", "9007199254740995", "123456789012345678901234567890", "1,5", "3;4", " lead", "trail ",
    "\u00a0",
    'say "hi"', '"', '""', "two\nlines", "cr\rinside", "crlf\r\nin", "tab\there", "\ufeffbom", "\u2028sep",
    "e\u0301", "😀", "=1+1", "#x", "\\n", "'quoted'", "\x1f", "\x85",
]  # fmt: skip
_TEXTS = st.one_of(
    st.sampled_from(_CELLS), st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=8)
)
_CLASSES = [
    "x",
    "y",
    "007",
    "NA",
    "1e5",
    "True",
    "False",
    'a"b',
    "a,b",
    "c;d",
    "é",
    "None",
    "12345678901234567890",
    "=x",
]
_TOKENS = [
    "1.5e-13", "0.9603685410126095", "9007199254740995", "1E5", "-0.0", "1.0", "true", "false", "null", '""', '"007"',
    '"\\u00e9"', '"\\ud83d\\ude00"', '"a\\/b"', '"a, b}"', '"q\\"q"', '"\u2028"', '"cr\\rlf\\n"', "1e400", "0.10",
    "123456789012345678901234567890", '"{\\"label\\": 1}"',
]  # fmt: skip
_LABEL_TOKENS = [["1", "2", "3"], ['"x"', '"y"', '"z"'], ["true", "false"], ['"007"', '"7"'], ['"a\\"b"', '"\\u00e9"']]
_SPACES = ["", "", " ", "  ", "\t"]


@dataclass(frozen=True)
class TextTable:
    """A file of rows as text.

    Attributes:
        head: Text before the first row.
        rows: Text of each row before its label, the label as it is written, and the text after it.
        labels: Label of each row, as a parser reads it; as JSON in JSON Lines.
        encoding: Codec of the text, without its mark.
        bom: Byte-order mark.
        delimiter: Between two cells; empty for JSON Lines.
    """

    head: str
    rows: list[tuple[str, str, str]]
    labels: list[str]
    encoding: str = "utf-8"
    bom: bytes = b""
    delimiter: str = ""

    def content(self, dropped: frozenset[int] = frozenset(), written: dict[int, str] | None = None) -> bytes:
        """Return the bytes of the file without some rows, and with other labels as they are written."""
        kept = [row for row in range(len(self.rows)) if row not in dropped]
        text = self.head + "".join(
            self.rows[row][0] + (written or {}).get(row, self.rows[row][1]) + self.rows[row][2] for row in kept
        )
        return self.bom + text.encode(self.encoding)

    def writing(self, row: int, label_row: int) -> str:
        """Return how the label of ``label_row`` is written in ``row``: in quotes if its own is, or if it needs them."""
        if not self.delimiter:
            return self.rows[label_row][1]
        label = self.labels[label_row]
        special = any(each in label for each in (self.delimiter, '"', "\n", "\r"))
        return _in_quotes(label) if special or self.rows[row][1].startswith('"') else label


def _in_quotes(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


@st.composite
def delimited_tables(draw: st.DrawFn, suffix: str) -> TextTable:
    """Draw a CSV or TSV file with mixed quotes, line ends, empty lines, and any encoding that is read."""
    delimiter = "\t" if suffix == ".tsv" else draw(st.sampled_from([",", ",", ";"]))
    encoding, bom = draw(st.sampled_from([("utf-8", b""), ("utf-8", b"\xef\xbb\xbf"), ("utf-16-le", b"\xff\xfe")]))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    cells = draw(st.lists(_TEXTS, min_size=2, max_size=8))
    classes = draw(st.lists(st.sampled_from(_CLASSES), min_size=2, max_size=3, unique=True))
    names = ["a", *draw(st.lists(st.sampled_from(["b", "é", 'c"d', "e f", "g,h", "i;j"]), max_size=2, unique=True))]
    place = draw(st.integers(0, len(names)))
    count = draw(st.integers(14, 22))
    dice = iter(draw(st.binary(min_size=count * 12, max_size=count * 12)))

    def written(text: str) -> str:
        special = any(each in text for each in (delimiter, '"', "\n", "\r"))
        return _in_quotes(text) if special or next(dice) % 4 == 0 else text

    def row(values: list[str], label: str) -> tuple[str, str, str]:
        before = "".join(written(value) + delimiter for value in values[:place])
        after = "".join(delimiter + written(value) for value in values[place:])
        return before, written(label), after + end + (end if next(dice) % 16 == 0 else "")

    head = "".join(row(names, "label"))
    labels = [classes[number % len(classes)] for number in range(count)]
    values = [
        [f"{number}.5", *(cells[next(dice) % len(cells)] if number else "word" for _ in names[1:])]
        for number in range(count)
    ]
    rows = [row(each, label) for each, label in zip(values, labels, strict=True)]
    if draw(st.booleans()):
        rows[-1] = (*rows[-1][:2], rows[-1][2].rstrip("\r\n"))
    return TextTable(head, rows, labels, encoding, bom, delimiter)


@st.composite
def json_tables(draw: st.DrawFn) -> TextTable:
    """Draw a file of JSON Lines with numbers of many digits, missing keys, and any order and space."""
    tokens = draw(st.lists(st.one_of(st.sampled_from(_TOKENS), _TEXTS.map(json.dumps)), min_size=2, max_size=8))
    classes = draw(st.sampled_from(_LABEL_TOKENS))
    names = draw(st.lists(st.sampled_from(["b", "é", 'c"d', "e f", "g"]), max_size=2, unique=True))
    end, ascii_only = draw(st.sampled_from(["\n", "\r\n"])), draw(st.booleans())
    count = draw(st.integers(14, 22))
    dice = iter(draw(st.binary(min_size=count * 32, max_size=count * 32)))

    def space() -> str:
        return _SPACES[next(dice) % len(_SPACES)]

    rows, labels = [], []
    for number in range(count):
        label = classes[number % len(classes)]
        pairs = [("a", f"{number}.50"), ("label", label)]
        pairs += [(name, tokens[next(dice) % len(tokens)]) for name in names if next(dice) % 4]
        shift = next(dice) % len(pairs)
        pairs = pairs[shift:] + pairs[:shift]
        parts = [f"{space()}{json.dumps(name, ensure_ascii=ascii_only)}{space()}:{space()}" for name, _ in pairs]
        at = [name for name, _ in pairs].index("label")
        before = "{" + "".join(f"{parts[i]}{pairs[i][1]}{space()}," for i in range(at)) + parts[at]
        after = space() + "".join(f",{parts[i]}{pairs[i][1]}{space()}" for i in range(at + 1, len(pairs))) + "}"
        rows.append((before, label, after + end))
        labels.append(label)
    return TextTable("", rows, labels, bom=draw(st.sampled_from([b"", b"\xef\xbb\xbf"])))


@st.composite
def parquet_tables(draw: st.DrawFn) -> tuple[pa.Table, int]:
    """Draw a table whose types, nested columns and metadata a data frame would lose, and the size of its row groups."""
    count = draw(st.integers(14, 22))
    texts = draw(st.lists(_TEXTS, min_size=2, max_size=6))
    dice = draw(st.binary(min_size=count, max_size=count))
    numbers = [number * 7 - 40 for number in dice]
    words = [texts[number % len(texts)] for number in dice]
    possible: dict[str, tuple[pa.DataType, list[Any]]] = {
        "small": (pa.int8(), [number % 100 for number in dice]),
        "big": (pa.int64(), [9007199254740993 + number for number in numbers]),
        "float": (pa.float32(), [number / 3 for number in numbers]),
        "word": (pa.large_string(), words),
        "category": (pa.dictionary(pa.int8(), pa.string()), words),
        "maybe": (pa.int32(), [None if number % 3 == 0 else number for number in numbers]),
        "list": (pa.list_(pa.int16()), [[number, 1] if number % 2 else None for number in numbers]),
        "nested": (pa.struct([("u", pa.string()), ("v", pa.float64())]), [{"u": word, "v": 0.1} for word in words]),
        "time": (pa.timestamp("ms", "UTC"), [datetime(2020, 1, 1 + number % 28, tzinfo=UTC) for number in dice]),
        "money": (pa.decimal128(12, 2), [Decimal(number) / 4 for number in numbers]),
        "flag": (pa.bool_(), [number % 2 == 0 for number in dice]),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(possible)), min_size=1, max_size=4, unique=True))
    label_type, classes = draw(
        st.sampled_from([
            (pa.string(), ["x", "NA", "007"]), (pa.int8(), [3, 1]), (pa.bool_(), [True, False]),
            (pa.dictionary(pa.int8(), pa.string()), ["é", "y"]), (pa.large_string(), ["1e5", "z"]),
            (pa.int64(), [0, 1]),
        ])
    )  # fmt: skip
    fields = [pa.field("a", pa.float64(), nullable=False, metadata={"unit": "mm"})]
    columns: list[list[Any]] = [[number + 0.5 for number in range(count)]]
    for name in chosen:
        fields.append(pa.field(name, possible[name][0]))
        columns.append(possible[name][1])
    fields.insert(1, pa.field("label", label_type))
    columns.insert(1, [classes[number % len(classes)] for number in range(count)])
    metadata = {"made by": "a test"}
    if label_type == pa.int64():
        features = {"label": {"_type": "ClassLabel", "names": ["no", "yes"]}}
        metadata["huggingface"] = json.dumps({"info": {"features": features}})
    arrays = [pa.array(column, field.type) for column, field in zip(columns, fields, strict=True)]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata)), draw(st.integers(4, 30))


def write_parquet_table(path: Path, table: pa.Table, group: int) -> Path:
    """Write a table in row groups of this size."""
    pq.write_table(table, path, row_group_size=group)
    return path
