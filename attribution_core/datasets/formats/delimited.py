"""Read CSV, TSV and other delimited text as it was written: each cell is a string, each row keeps its own text.

    rows = read_delimited(Path("flowers.csv"))
    rows.columns                   # ["width", "label"]
    rows.cells[0]                  # ["1.10", "007"]: nothing is turned into a number
    rows.by_column[1]              # the labels, as an Arrow array
    rows.head + "".join(rows.records)  # the whole file, decoded

The delimiter is the first of the suffix's own, comma, semicolon, tab and pipe that gives every row as many cells as the
header. Quotes around a cell are taken off, unless that would not fit: a text that only begins with a quote keeps it.
Most files are read by :mod:`quick_delimited` in a tenth of the time; those about which it is not sure are read here.
"""

import csv
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from attribution_core.datasets.formats.quick_delimited import MOST_CATEGORIES, DelimitedTable, read_quickly
from attribution_core.errors import InputError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
ANY_DELIMITER = (",", ";", "\t", "|")
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}
_LONGEST_CELL = 2**31 - 1  # the csv module's own limit is 128 KiB
_HEAD = 1 << 16  # bytes that show what a file holds; a multiple of every codec's unit
_BOMS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a file writes its rows.

    Attributes:
        encoding: Codec of the bytes after ``bom``.
        bom: Byte-order mark at the beginning of the file; empty if there is none.
        delimiter: Character between two cells.
        quoted: Whether quotes around a cell do not belong to it, and two quotes inside stand for one.
    """

    encoding: str
    bom: bytes
    delimiter: str
    quoted: bool


@dataclass(frozen=True, eq=False)
class DelimitedRows:
    """The ``n`` rows of a file.

    Attributes:
        columns: Names in the header, as they are written there.
        by_column: Cells of each column, without the quotes around them: texts ``[n]``, which Arrow keeps, since making
            Python's of them takes longer than reading them.
        starts: Line of the file on which each row begins, counted from 0, int64 ``[n]``.
        text: The whole file, without its byte-order mark.
        dialect: How to write such rows.
        notes: Sentences that a user should read.
    """

    columns: list[str]
    by_column: list[pa.ChunkedArray]
    starts: np.ndarray
    text: str
    dialect: Dialect
    notes: list[str] = field(default_factory=list)

    @cached_property
    def cells(self) -> list[list[str]]:
        """Cells of each row, one for each column."""
        return [list(row) for row in zip(*(column.to_pylist() for column in self.by_column), strict=True)]

    @property
    def lines(self) -> list[int]:
        """Line of the file on which each row begins, counted from 1."""
        found: list[int] = (self.starts + 1).tolist()
        return found

    @cached_property
    def records(self) -> list[str]:
        """Text of each row, with its line end and empty lines that follow it."""
        ends = [*self.starts.tolist()[1:], len(self._lines)]
        return ["".join(self._lines[start:end]) for start, end in zip(self.starts, ends, strict=False)]

    @cached_property
    def head(self) -> str:
        """Text before the first row: the header, with its line end."""
        return "".join(self._lines[: self.starts[0]]) if len(self.starts) else self.text

    @cached_property
    def _lines(self) -> list[str]:
        return split_lines(self.text)


@dataclass(frozen=True, slots=True)
class _Record:
    cells: list[str]
    first: int  # its first line, from 0
    end: int  # the line after its last

    @property
    def is_merged(self) -> bool:
        return self.end - self.first > 1


class _UnevenError(ValueError):
    """The rows do not fit the header; the message says where and what to do."""


def read_delimited(path: Path) -> DelimitedRows:
    """Read all rows of a file.

    Raises:
        InputError: The file is neither UTF-8 nor UTF-16, or a row has other cells than the header.
        OSError: The file cannot be read.
    """
    data = path.read_bytes()
    text, encoding, bom = decode(data, path)
    start, header = _header_line(text)
    usual = DELIMITERS.get(path.suffix.lower(), ",")
    tried = [each for each in dict.fromkeys((usual, *ANY_DELIMITER)) if each in header] or [usual]
    coded = data[len(bom) :] if encoding == "utf-8" else text.encode()
    table, delimiter = read_quickly(coded, start, tried[0]), tried[0]
    notes: list[str] = []
    if table is None:
        table, delimiter, notes = _read_slowly(text, start, tried, path)
    if delimiter != usual:
        notes.append(f"The cells of {path.name} are separated by {_NAMES[delimiter]}.")
    if encoding != "utf-8":
        notes.append(f"{path.name} was read as {encoding.upper()}.")
    dialect = Dialect(encoding, bom, delimiter, table.quoted)
    return DelimitedRows(table.columns, table.by_column, table.starts, text, dialect, notes)


def _header_line(text: str) -> tuple[int, str]:
    """Return the number of the header's line, from 0, and the line; the number of all lines if there is none."""
    number, at, hinted, end = 0, 0, False, line_end(text)
    while at < len(text):
        stop = text.find(end, at) + 1 or len(text)
        line = text[at:stop]
        if line.strip("\r\n "):
            if hinted or not _is_hint(line):
                return number, line
            hinted = True
        number, at = number + 1, stop
    return number, ""


def read_header(path: Path) -> list[str]:
    """Return the columns of a file from its first lines alone; none if they cannot be read."""
    lines = [line for line in read_first_lines(path)[0] if line.strip("\r\n ")]
    if lines and _is_hint(lines[0]):
        lines = lines[1:]
    if not lines:
        return []
    usual = DELIMITERS.get(path.suffix.lower(), ",")
    delimiter = next((each for each in dict.fromkeys((usual, *ANY_DELIMITER)) if each in lines[0]), usual)
    return next(csv.reader([lines[0]], delimiter=delimiter), [])


def read_first_lines(path: Path) -> tuple[list[str], bool]:
    """Return the lines at the beginning of a file, and whether the last may be cut off.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    text, _, _ = decode(head, path, errors="ignore")
    return split_lines(text), len(head) == _HEAD


def _is_hint(line: str) -> bool:
    """Return whether a line is a spreadsheet's hint at the delimiter, such as sep=; which the rows show as well."""
    return line.lower().startswith("sep=") and len(line.strip()) <= 5


def decode(data: bytes, path: Path, errors: str = "strict") -> tuple[str, str, bytes]:
    """Return a file's text without its byte-order mark, its codec, and the mark.

    Raises:
        InputError: The bytes are neither UTF-8 nor UTF-16.
    """
    bom, encoding = next(((bom, codec) for bom, codec in _BOMS if data.startswith(bom)), (b"", _without_bom(data)))
    try:
        return data[len(bom) :].decode(encoding, errors), encoding, bom
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start + len(bom)) + 1
        raise InputError(
            f"{path} cannot be read: it must be UTF-8 or UTF-16, but byte {error.start + len(bom):,} in line {line} is "
            f"not; if it is Windows-1252 or Latin-1, save it as UTF-8 (in a spreadsheet: CSV UTF-8)."
        ) from error


def _without_bom(data: bytes) -> str:
    """Tell UTF-16 without a mark from UTF-8: every other byte of Latin letters and delimiters is zero."""
    start = data[:4096]
    zeros = [start[i::2].count(0) / max(1, len(start) // 2) for i in (0, 1)]
    if len(data) % 2 == 0 and max(zeros) > 0.4 and min(zeros) < 0.1:
        return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    return "utf-8"


def split_lines(text: str) -> list[str]:
    r"""Split a text at line ends, which stay at the end of each line.

    A line ends with ``\n`` or ``\r\n``; with ``\r`` only in a file that has no ``\n``. Other separators, such as U+2028
    or a carriage return inside a line, belong to the line.
    """
    end = line_end(text)
    lines = text.split(end)
    return [line + end for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def line_end(text: str) -> str:
    """Return the last character of the lines of a text."""
    return "\n" if "\n" in text or "\r" not in text else "\r"


def without_end(line: str) -> str:
    """Return a line of :func:`split_lines` without its line end."""
    if line.endswith("\n"):
        line = line[:-1]
    return line.removesuffix("\r")


# -- rows ------------------------------------------------------------------------------------------------------------


def _read_slowly(text: str, start: int, tried: list[str], path: Path) -> tuple[DelimitedTable, str, list[str]]:
    """Read rows by the first delimiter that fits; return it and notes too."""
    lines = split_lines(text)
    problems = []
    for delimiter in tried:
        try:
            records, quoted, notes = _records(lines, start, delimiter)
        except _UnevenError as problem:
            problems.append(str(problem))
            continue
        header, rows = (records[0].cells, records[1:]) if records else ([], [])
        starts = np.array([record.first for record in rows], dtype=np.int64)
        by_column = [pa.chunked_array([[row.cells[i] for row in rows]], pa.string()) for i in range(len(header))]
        return DelimitedTable(header, by_column, starts, quoted), delimiter, notes
    raise InputError(problems[0].format(path=path))


def _records(lines: list[str], start: int, delimiter: str) -> tuple[list[_Record], bool, list[str]]:
    """Return the header and the rows, whether quotes are taken off, and notes.

    Raises:
        _UnevenError: Neither way fits.
    """
    first_quote = next((number for number, line in enumerate(lines[start:], start + 1) if '"' in line), None)
    if first_quote is None:
        return _even(_plain(lines, start, delimiter)), False, []
    try:
        plain = _even(_plain(lines, start, delimiter))
    except _UnevenError:
        plain = None
    try:
        quoted = _even(_quoted(lines, start, delimiter))
        swallowed = _swallowed(quoted, lines, delimiter)
        if swallowed is not None:
            raise _UnevenError(
                f"The quote in line {swallowed.first + 1} of {{path}} must close in its row, but it closes in line "
                f"{swallowed.end}, after lines that look like rows: write the quote twice, inside quotes."
            )
    except _UnevenError:
        if plain is None:
            raise
        return plain, False, [_stray_quotes(first_quote)]
    if plain is None or delimiter != "\t" or _are_wrapped(plain):
        return quoted, True, []
    return plain, False, [_stray_quotes(first_quote)]


def _stray_quotes(line: int) -> str:
    return f"Quotes are part of the texts: they do not enclose cells throughout (the first is in line {line})."


def _plain(lines: list[str], start: int, delimiter: str) -> list[_Record]:
    """Split each line at the delimiters; quotes are characters like any other."""
    return [
        _Record(text.split(delimiter), number, number + 1)
        for number in range(start, len(lines))
        if (text := without_end(lines[number])).strip(" ")
    ]


def _quoted(lines: list[str], start: int, delimiter: str) -> list[_Record]:
    """Split the lines by the rules of CSV."""
    csv.field_size_limit(_LONGEST_CELL)
    # The csv module ends a row at a carriage return, wherever it is; a character that no line has takes its place.
    stand_in = next(each for each in map(chr, range(0xE000, 0xF8FF)) if not any(each in line for line in lines))
    fed = ((text := without_end(line)).replace("\r", stand_in) + (line[len(text) :] or "\n") for line in lines[start:])
    reader = csv.reader(fed, delimiter=delimiter, strict=True)
    records: list[_Record] = []
    first = start
    try:
        for cells in reader:
            if cells and (len(cells) > 1 or cells[0].strip(" ")):
                records.append(
                    _Record([cell.replace(stand_in, "\r") for cell in cells], first, start + reader.line_num)
                )
            first = start + reader.line_num
    except csv.Error as error:
        raise _UnevenError(
            f"Line {first + 1} of {{path}} must close each quote before the next {_NAMES[delimiter][:-1]}, but it does "
            "not: write a quote inside a text twice, and put quotes around the text."
        ) from error
    return records


def _even(records: list[_Record]) -> list[_Record]:
    """Return the records if each has as many cells as the first."""
    for record in records:
        if len(record.cells) != len(records[0].cells):
            raise _UnevenError(
                f"Line {record.first + 1} of {{path}} must have {len(records[0].cells)} cells, as the first line has, "
                f"but it has {len(record.cells)}: put quotes around texts that contain the delimiter."
            )
    return records


def _are_wrapped(records: list[_Record]) -> bool:
    """Return whether each cell with a quote is enclosed by quotes, and has only doubled ones inside."""
    with_quotes = (cell for record in records for cell in record.cells if '"' in cell)
    return all(
        len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', "") for cell in with_quotes
    )


def _swallowed(records: list[_Record], lines: list[str], delimiter: str) -> _Record | None:
    """Return the first record whose further lines are rows of their own: a stray quote has swallowed them.

    A line is a row if it has as many cells as the header, and a value of a column of few values in its place.
    """
    merged = [record for record in records[1:] if record.is_merged]
    if not merged:
        return None
    single = [record.cells for record in records[1:] if not record.is_merged]
    categories = [_categories([cells[i] for cells in single]) for i in range(len(records[0].cells))]
    for record in merged:
        further = [without_end(line).split(delimiter) for line in lines[record.first + 1 : record.end]]
        if all(len(cells) == len(categories) for cells in further) and any(
            all(cells[i] in known for cells in further) for i, known in enumerate(categories) if known
        ):
            return record
    return None


def _categories(values: list[str]) -> set[str]:
    """Return the values of a column that repeats a few; none for another column."""
    counts = Counter(values)
    return set(counts) if len(counts) <= min(MOST_CATEGORIES, len(values) // 2) else set()
