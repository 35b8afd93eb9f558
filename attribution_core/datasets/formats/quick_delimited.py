"""Read delimited text whose quotes leave no doubt, with Arrow's parser and a map of its lines and quotes.

Each quote must begin or end a cell, or be doubled inside one; then the parser, the csv module and counting quotes agree
on where rows end. Any other file, and any that the parser refuses, is left to the slow reader, which says why.
"""

import csv
import io
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

MOST_CATEGORIES = 50  # values of a column that tell lines of a table from lines of a text
_BLOCK = 1 << 24  # bytes; no row may be longer
_QUOTE, _RETURN, _NEWLINE = 34, 13, 10


@dataclass(frozen=True, eq=False)
class DelimitedTable:
    """The cells of a file.

    Attributes:
        columns: Names in the header.
        by_column: Cells of each column: texts ``[n]``.
        starts: Line on which each row begins, from 0, int64 ``[n]``.
        quoted: Whether quotes around cells were taken off.
    """

    columns: list[str]
    by_column: list[pa.ChunkedArray]
    starts: np.ndarray
    quoted: bool


@dataclass(frozen=True, eq=False)
class _Map:
    """Where the lines and rows of a file are.

    Attributes:
        data: The whole file.
        lines: First byte of each line, and the end of the file, ``[lines + 1]``.
        rows: Line on which each row begins, and the number of lines, ``[1 + n + 1]``; the first is the header.
        enclosed: Lines whose end is inside quotes.
        quoted: Whether there are quotes.
    """

    data: bytes
    lines: np.ndarray
    rows: np.ndarray
    enclosed: np.ndarray
    quoted: bool

    def text(self, first: int, end: int) -> str:
        """Return the text of lines ``first`` to ``end - 1``."""
        return self.data[self.lines[first] : self.lines[end]].decode()


def read_quickly(data: bytes, start: int, delimiter: str) -> DelimitedTable | None:
    """Read all rows of a file.

    Args:
        data: The file in UTF-8, without a byte-order mark.
        start: Line of the header, from 0.
        delimiter: Character between two cells.

    Returns:
        The rows; None if the slow reader must decide what they are.
    """
    found = _map(data, start, delimiter)
    if found is None:
        return None
    try:
        header = _header(found, delimiter)
        cells = _cells(found, delimiter, len(header))
    except (pa.ArrowException, csv.Error):
        return None
    if cells is None or _may_swallow(found, cells, delimiter):
        return None
    return DelimitedTable(header, cells.columns, found.rows[1:-1], found.quoted)


def _map(data: bytes, start: int, delimiter: str) -> _Map | None:
    """Find the lines and rows; None if a quote or a carriage return leaves doubt."""
    if data.count(b"\r") != data.count(b"\r\n"):
        return None  # Arrow ends a row at each
    codes = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(codes == _NEWLINE)
    lines = np.append(0, newlines + 1)
    lines = lines if lines[-1] == len(codes) else np.append(lines, len(codes))
    if start >= len(lines) - 1:
        return None
    quotes = np.flatnonzero(codes == _QUOTE)
    inside = np.zeros(len(newlines), dtype=bool)
    if len(quotes):
        if not _are_clear(codes, quotes, lines[start], ord(delimiter)):
            return None
        inside = np.searchsorted(quotes, newlines) % 2 == 1
        if delimiter == "\t" and (inside.any() or _any_inside(quotes, np.flatnonzero(codes == ord(delimiter)))):
            return None  # quotes of texts with tabs are characters more often than not
    count = len(lines) - 1
    begins = np.append(True, ~inside)[:count]
    lengths = np.diff(lines)
    first = codes[lines[:-1]]
    empty = (first == _NEWLINE) | ((first == _RETURN) & (lengths == 2))
    begins[:start] = False
    rows = np.append(np.flatnonzero(begins & ~empty), count)
    return _Map(data, lines, rows, np.flatnonzero(inside), bool(len(quotes)))


def _any_inside(quotes: np.ndarray, places: np.ndarray) -> bool:
    return bool((np.searchsorted(quotes, places) % 2).any())


def _are_clear(codes: np.ndarray, quotes: np.ndarray, start: int, delimiter: int) -> bool:
    """Return whether each quote begins or ends a cell or is one of two inside a cell."""
    if len(quotes) % 2 or quotes[0] < start:
        return False
    opening, closing = quotes[::2], quotes[1::2]
    before = codes[opening[opening > 0] - 1]
    after = codes[closing[closing + 1 < len(codes)] + 1]
    return bool(
        np.isin(before, (delimiter, _NEWLINE, _QUOTE)).all()
        and np.isin(after, (delimiter, _NEWLINE, _RETURN, _QUOTE)).all()
    )


def _header(found: _Map, delimiter: str) -> list[str]:
    text = found.text(found.rows[0], found.rows[1]).rstrip("\r\n")
    if not found.quoted:
        return text.split(delimiter)
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))


def _cells(found: _Map, delimiter: str, count: int) -> pa.Table | None:
    """Return the cells below the header as texts; None if Arrow finds other rows."""
    names = [str(number) for number in range(count)]
    body = pa.py_buffer(found.data).slice(int(found.lines[found.rows[1]]))
    if len(found.rows) == 2:
        return pa.table({name: pa.array([], pa.string()) for name in names})
    if count < 2 or body.slice(0, 3).to_pybytes() == b"\xef\xbb\xbf":
        return None  # a line of spaces would be a row; a mark would be lost
    table = arrow_csv.read_csv(
        pa.BufferReader(body),
        arrow_csv.ReadOptions(column_names=names, block_size=_BLOCK),
        arrow_csv.ParseOptions(
            delimiter=delimiter,
            quote_char='"' if found.quoted else False,
            newlines_in_values=bool(len(found.enclosed)),
        ),
        arrow_csv.ConvertOptions(check_utf8=False, column_types=dict.fromkeys(names, pa.string()), null_values=[]),
    )
    return table if len(table) == len(found.rows) - 2 else None


def _may_swallow(found: _Map, cells: pa.Table, delimiter: str) -> bool:
    """Return whether lines inside quotes look like rows: they have a value of a column of few values in its place."""
    if not len(found.enclosed):
        return False
    merged = np.searchsorted(found.rows, found.enclosed, side="right") - 1
    alone = np.ones(len(cells), dtype=bool)
    alone[merged[merged > 0] - 1] = False
    categories = [_categories(column.filter(pa.array(alone))) for column in cells.columns]
    last = dict(zip(merged.tolist(), found.enclosed.tolist(), strict=True))
    for row, line in last.items():
        text = found.text(int(found.rows[row]) + 1, line + 2)
        further = [each.removesuffix("\r").split(delimiter) for each in text.removesuffix("\n").split("\n")]
        if all(len(each) == len(categories) for each in further) and any(
            all(each[i] in known for each in further) for i, known in enumerate(categories) if known
        ):
            return True
    return False


def _categories(values: pa.ChunkedArray) -> set[str]:
    """Return the values of a column that repeats a few; none for another column."""
    distinct = pc.unique(values)
    return set(distinct.to_pylist()) if len(distinct) <= min(MOST_CATEGORIES, len(values) // 2) else set()
