"""Writer of CSV, TSV and JSON Lines files as they came: only dropped rows and changed cells differ.

A file is copied row by row from its own text, so that quotes, line ends, spaces, numbers and the encoding of everything
else stay byte for byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from attribution_core.datasets.formats.delimited import DelimitedRows, Dialect, decode, split_lines, without_end
from attribution_core.datasets.formats.row_files import clean_columns
from attribution_core.errors import InputError
from attribution_core.export.changes import RowChanges, number_text

_Column = TypeVar("_Column", int, str)
Cells = Mapping[int, Mapping[_Column, str]]  # new texts by row and column


@dataclass(frozen=True, eq=False)
class JsonLines:
    """The text of a file of JSON Lines.

    Attributes:
        records: Text of each row, with its line end and empty lines that follow it.
        head: Empty lines before the first row.
        encoding: Codec of the bytes after ``bom``.
        bom: Byte-order mark at the beginning of the file; empty if there is none.
    """

    records: list[str]
    head: str
    encoding: str
    bom: bytes


def read_json_texts(path: Path) -> JsonLines:
    """Read the text of each row of a file of JSON Lines, unchanged."""
    text, encoding, bom = decode(path.read_bytes(), path)
    head, records = "", []
    for line in split_lines(text):
        if line.strip():
            records.append(line)
        elif records:
            records[-1] += line
        else:
            head += line
    return JsonLines(records, head, encoding, bom)


def write_delimited(rows: DelimitedRows, path: Path, dropped: frozenset[int], cells: Cells[int]) -> None:
    """Write a file with some rows left out and some cells replaced.

    Args:
        rows: The original file.
        path: File to write.
        dropped: Rows to leave out.
        cells: New texts by row and position of the column.

    Raises:
        InputError: A new text cannot be written in this file.
    """
    line_end = "\n" if "\n" in rows.head else "\r"
    with path.open("wb") as file:
        file.write(rows.dialect.bom + rows.head.encode(rows.dialect.encoding))
        for number, record in enumerate(rows.records):
            if number in dropped:
                continue
            for column, text in cells.get(number, {}).items():
                record = _with_cell(record, rows.dialect, line_end, column, text)
            file.write(record.encode(rows.dialect.encoding))


def write_json_lines(lines: JsonLines, path: Path, dropped: frozenset[int], cells: Cells[str]) -> None:
    """Write JSON Lines as :func:`write_delimited` writes cells; new values are given as JSON, by name."""
    with path.open("wb") as file:
        file.write(lines.bom + lines.head.encode(lines.encoding))
        for number, text in enumerate(lines.records):
            if number in dropped:
                continue
            for name, value in cells.get(number, {}).items():
                start, end = value_span(text, name)
                text = text[:start] + value + text[end:]
            file.write(text.encode(lines.encoding))


def delimited_labels(rows: DelimitedRows, column: int, changes: RowChanges) -> dict[int, str]:
    """Return the texts of the changed labels by row: each as a row of its class writes it."""
    found = {}
    for row, new in changes.labels.items():
        like = changes.writing(new)
        found[row] = as_text(new, rows.cells[row][column]) if like is None else rows.cells[like][column]
    return found


def json_labels(lines: JsonLines, name: str, changes: RowChanges) -> dict[int, str]:
    """Return the changed labels by row, as JSON: each as a row of its class writes it."""
    found = {}
    for row, new in changes.labels.items():
        like = changes.writing(new)
        text = lines.records[row if like is None else like]
        start, end = value_span(text, name)
        found[row] = _as_json(new, text[start:end]) if like is None else text[start:end]
    return found


def as_text(label: str | float, like: str) -> str:
    """Return a class name or a value as text, a value as ``like`` writes one."""
    return label if isinstance(label, str) else number_text(label, like)


def value_span(text: str, name: str) -> tuple[int, int]:
    """Return where the value under a name begins and ends in the text of a JSON object; the last one counts.

    Raises:
        InputError: The object has no such name.
    """
    decoder = json.JSONDecoder()
    found: tuple[int, int] | None = None
    at = _after_space(text, text.index("{") + 1)
    while text[at] != "}":
        key, at = decoder.raw_decode(text, at)
        start = _after_space(text, _after_space(text, at) + 1)  # beyond the colon
        _, at = decoder.raw_decode(text, start)
        if clean_columns([key], Path())[0] == name:
            found = start, at
        at = _after_space(text, at)
        if text[at] == ",":
            at = _after_space(text, at + 1)
    if found is None:
        raise InputError(
            f"Every row needs a value under {name}, but {text.strip()[:40]} has none: score the data again."
        )
    return found


def _after_space(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


def _as_json(label: str | float, before: str) -> str:
    """Return a class name or a value as JSON of the same kind as the value before."""
    if before.startswith('"'):
        return json.dumps(as_text(label, before), ensure_ascii=False)
    if isinstance(label, str):
        return label if re.fullmatch(r"-?(0|[1-9]\d*)", label) else json.dumps(label, ensure_ascii=False)
    return number_text(label, before)


def _with_cell(record: str, dialect: Dialect, line_end: str, column: int, text: str) -> str:
    """Return the text of a row with another text in one cell, in quotes if the cell was, or if it needs them."""
    start, end = _cell_spans(record, dialect, line_end)[column]
    special = any(each in text for each in (dialect.delimiter, "\n", "\r"))
    if not dialect.quoted and special:
        raise InputError(
            f"The file encloses no cells in quotes, so the label {text!r} cannot be written in it: relabel to another "
            "class, or write the data again with quotes and score them."
        )
    if dialect.quoted and (special or '"' in text or record.startswith('"', start)):
        text = '"' + text.replace('"', '""') + '"'
    return record[:start] + text + record[end:]


def _cell_spans(record: str, dialect: Dialect, line_end: str) -> list[tuple[int, int]]:
    """Return where each cell of a row begins and ends, with the quotes around it."""
    spans, start = [], 0
    while True:
        at = start
        if dialect.quoted and record.startswith('"', at):
            at = record.index('"', at + 1) + 1
            while record.startswith('"', at):  # two quotes stand for one
                at = record.index('"', at + 1) + 1
        end, last = record.find(dialect.delimiter, at), record.find(line_end, at)
        if end < 0 or 0 <= last < end:
            break
        spans.append((start, end))
        start = end + len(dialect.delimiter)
    rest = record[start : last + 1] if last >= 0 else record[start:]
    return [*spans, (start, start + len(without_end(rest)))]
