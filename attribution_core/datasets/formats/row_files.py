"""Read the columns of CSV, TSV and JSON Lines files, and the rows of JSON Lines; manifests and tables share this."""

import csv
import json
from pathlib import Path
from typing import Any

from attribution_core.errors import InputError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = ".jsonl"


def find_column(columns: list[str], names: tuple[str, ...]) -> str | None:
    """Return the column with the first of these names that exists, ignoring case; None if none does."""
    by_name = {column.strip().lower(): column for column in reversed(columns)}
    return next((by_name[name] for name in names if name in by_name), None)


def read_column_names(path: Path) -> list[str]:
    """Return the columns of a file's first line; none if it cannot be read, which the format's reader reports."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
            if path.suffix.lower() == JSON_LINES:
                first = json.loads(next((line for line in lines if line.strip()), "null"))
                return list(first) if isinstance(first, dict) else []
            return next(csv.reader(lines, delimiter=DELIMITERS[path.suffix.lower()]), [])
    except (OSError, ValueError, csv.Error):
        return []


def read_json_lines(path: Path) -> tuple[list[str], list[dict[str, Any]], list[int]]:
    """Read columns, rows (None where a row lacks a column), and the line of each row.

    Raises:
        InputError: A line is not a JSON object.
    """
    columns: dict[str, None] = {}
    rows, lines = [], []
    with path.open(encoding="utf-8-sig") as text:
        for number, line in enumerate(text, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"{path} must hold JSON in line {number}, but it does not ({error}): correct that line."
                ) from error
            if not isinstance(row, dict):
                raise InputError(
                    f"{path} must hold a JSON object in line {number}, but it holds {line.strip()[:40]}: correct that "
                    "line."
                )
            columns.update(dict.fromkeys(row))
            rows.append(row)
            lines.append(number)
    return list(columns), [{name: row.get(name) for name in columns} for row in rows], lines
