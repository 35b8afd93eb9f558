"""How numbers and names are written, so that a page and a tile say the same."""

from __future__ import annotations

import math
import re

from attribution_core.runs import Measure

# What Markdown makes a link of by itself, escaped or not; an invisible character behind it prevents that.
_LINK = re.compile(r"https?:|www|@", re.IGNORECASE)
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")


NOUNS = {"image": "image", "text": "text", "table": "row"}  # what an example is, for people


def plain(text: object) -> str:
    """Escapes text from the data for Markdown: there, a class name could load an image from elsewhere or set a link."""
    one_line = " ".join(str(text).split())
    return _PUNCTUATION.sub(r"\\\1", _LINK.sub("\\g<0>\u2060", one_line))


def format_score(value: float) -> str:
    """Three significant digits; tiny values in scientific form."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.1e}" if 0 < abs(value) < 1e-4 else f"{value + 0.0:.3g}"  # + 0: there is no minus zero to people


def format_percentile(percentile: float) -> str:
    """For example "p97": 97% of the training examples have a lower or equal score."""
    return f"p{math.floor(percentile):d}" if math.isfinite(percentile) else ""


def score_title(measure: Measure) -> str:
    """The measure's name with its unit."""
    return f"{measure.title} ({measure.unit})" if measure.unit else measure.title


def score_help(measure: Measure) -> str:
    """Definition, formula and source of a measure, as Markdown."""
    parts = [plain(measure.definition), f"${measure.equation}$" if measure.equation else "", measure.paper]
    return "\n\n".join(part for part in parts if part)
