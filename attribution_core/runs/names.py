"""Names from a dataset, made safe as names of files, and cells made safe for spreadsheets."""

from __future__ import annotations

import re
import unicodedata

import pandas as pd

# Files of a run, by their path in its directory.
LIVE_MODEL = "linearised/model.safetensors"

_FORBIDDEN = re.compile(r'[/\\:*?"<>|]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_LONGEST = 150  # bytes; file systems allow 255, and a suffix follows

# A spreadsheet runs a cell that begins with one of these as a formula.
_FORMULA = r"^[=+\-@\t\r]"


def safe_name(text: str) -> str:
    """One path component that no system reads as a path, a drive, a device or a hidden file; other letters are kept."""
    text = unicodedata.normalize("NFC", text)
    text = "".join("_" if unicodedata.category(letter) in ("Cc", "Cs") else letter for letter in text)
    text = _FORBIDDEN.sub("_", text)
    text = text.encode()[:_LONGEST].decode(errors="ignore").rstrip(". ")
    if not text or text.startswith(".") or _RESERVED.fullmatch(text):
        text = "_" + text.lstrip(".")
    return text


class UniqueNames:
    """Hands out safe names that stay apart on a file system that ignores case."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def take(self, text: str, suffix: str = "") -> str:
        """A safe name for ``text``, numbered when it is taken, with ``suffix`` at its end."""
        stem = safe_name(text)
        name = stem + suffix
        while name.casefold() in self._taken:
            number = self._next.get(stem.casefold(), 2)
            self._next[stem.casefold()] = number + 1
            name = f"{stem}-{number}{suffix}"
        self._taken.add(name.casefold())
        return name


def safe_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Puts an apostrophe before each text that a spreadsheet would run as a formula; numbers stay as they are."""
    safe = frame.copy()
    for column in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[column]):
            text = safe[column].astype("str")
            safe[column] = text.where(~text.str.match(_FORMULA, na=False), "'" + text)
    return safe
