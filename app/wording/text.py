"""How the app writes numbers, names and texts from the data."""

from __future__ import annotations

import math
import re

from attribution_core.runs import Measure

# Markdown turns these into links even when escaped; an invisible character after them prevents it.
_LINK = re.compile(r"https?:|www|@", re.IGNORECASE)
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")

NOUNS = {"image": "image", "text": "text", "table": "row"}  # kind of dataset -> noun for an example


def plain(text: object) -> str:
    """Escape text from the data for Markdown, where a class name could load a remote image or set a link."""
    one_line = " ".join(str(text).split())
    return _PUNCTUATION.sub(r"\\\1", _LINK.sub("\\g<0>\u2060", one_line))


def format_score(value: float) -> str:
    """Return a score in three significant digits, with a true minus sign; tiny values in scientific notation."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    text = f"{size:.1e}" if 0 < size < 1e-4 else f"{size:.3g}"
    return f"−{text}" if value < 0 else text


def format_percentile(percentile: float) -> str:
    """Return a percentile such as "p97": 97% of the training examples have this score or less."""
    return f"p{math.floor(percentile):d}" if math.isfinite(percentile) else ""


def score_title(measure: Measure) -> str:
    """Return the measure's title with its unit."""
    return f"{measure.title}, {measure.unit}" if measure.unit else measure.title


def score_help(measure: Measure) -> str:
    """Return the definition, formula and source of a measure, as Markdown."""
    parts = [plain(measure.definition), f"${measure.equation}$" if measure.equation else "", measure.paper]
    return "\n\n".join(part for part in parts if part)
