"""Read the columns of CSV, TSV and JSON Lines files, and the rows of JSON Lines; manifests and tables share this."""

import json
from pathlib import Path
from typing import Any

from attribution_core.datasets.formats.delimited import decode, read_header, split_lines
from attribution_core.datasets.listing import normalize_name
from attribution_core.errors import InputError

JSON_LINES = ".jsonl"


class JsonNumber(str):
    """A number of a JSON file as it is written there: ``1``, ``1.0`` or ``1e5``."""

    __slots__ = ()


def find_column(columns: list[str], names: tuple[str, ...]) -> str | None:
    """Return the column with the first of these names that exists, ignoring case; None if none does."""
    by_name = {column.strip().lower(): column for column in reversed(columns)}
    return next((by_name[name] for name in names if name in by_name), None)


def clean_columns(columns: list[str], path: Path) -> list[str]:
    """Return names of columns without spaces around them; one without a name is called by its number, from 0.

    Raises:
        InputError: Two columns have the same name.
    """
    names = [normalize_name(column).strip("\ufeff \t\r\n") for column in columns]
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"Each column of {path} needs its own name, but two are called {twice!r}: rename one.")
    return [name or f"Unnamed: {number}" for number, name in enumerate(names)]


def read_column_names(path: Path) -> list[str]:
    """Return the columns of a file's first line; none if it cannot be read, which the format's reader reports."""
    try:
        if path.suffix.lower() != JSON_LINES:
            return read_header(path)
        with path.open("rb") as lines:
            first = next((line for line in lines if line.strip()), b"null")
        row = json.loads(first.decode("utf-8-sig") if first[:2] not in (b"\xff\xfe", b"\xfe\xff") else _first(path))
        return list(row) if isinstance(row, dict) else []
    except (OSError, ValueError, InputError, RecursionError):
        return []


def _first(path: Path) -> str:
    text, _, _ = decode(path.read_bytes(), path)
    return next((line for line in split_lines(text) if line.strip()), "null")


def read_json_lines(path: Path, exact: bool = False) -> tuple[list[str], list[dict[str, Any]], list[int]]:
    """Read columns, rows (None where a row lacks a column), and the line of each row.

    Args:
        path: File.
        exact: Whether numbers are :class:`JsonNumber`, as they are written, rather than numbers.

    Raises:
        InputError: The file is neither UTF-8 nor UTF-16, or a line is not a JSON object or names a column twice.
    """
    text, _, _ = decode(path.read_bytes(), path)
    numbers: dict[str, Any] = dict.fromkeys(("parse_int", "parse_float", "parse_constant"), JsonNumber) if exact else {}
    columns: dict[str, None] = {}
    rows, lines = [], []
    for number, line in enumerate(split_lines(text), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_unique, **numbers)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{path} must hold JSON in line {number}, but it does not ({error}): correct that line."
            ) from error
        if not isinstance(row, dict):
            raise InputError(
                f"{path} must hold a JSON object in line {number}, but it holds {line.strip()[:40]}: correct that line."
            )
        columns.update(dict.fromkeys(row))
        rows.append(row)
        lines.append(number)
    return list(columns), [{name: row.get(name) for name in columns} for row in rows], lines


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it has two values called {twice!r}")
    return found
