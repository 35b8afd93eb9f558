"""Scores that a run was given instead of computing them: what is known of each stands in its manifest."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from attribution_core.errors import InputError, first_problem
from attribution_core.runs.measures import MEASURES, Measure
from attribution_core.runs.names import safe_name
from attribution_core.runs.schema import BASE_COLUMNS, RunManifest

DETAILS = "imported"  # where the manifest's details hold them
_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
# Columns that an export and the app put beside the scores, and what detection draws beside them.
_TAKEN = ("row", "action", "decided", "label_in_data", "new_label_name", "clusters", DETAILS)
_LONGEST = {"title": 80, "unit": 40, "definition": 2000}  # letters


@dataclass(frozen=True)
class ImportedScore:
    """A score or effects that were made elsewhere.

    Attributes:
        measure: What it is; its kind is ``"effect"`` for effects, ``"imported"`` for a score.
        source: Name of the file that it came from, or what else to say of that.
        time: When it was imported, UTC, ISO 8601.
        note: What was done to it on the way, if anything.
    """

    measure: Measure
    source: str
    time: str
    note: str = ""


_RECORDS = TypeAdapter(dict[str, ImportedScore])


def imported_scores(manifest: RunManifest) -> dict[str, ImportedScore]:
    """Those of a run, by name, in the order in which they came.

    Raises:
        InputError: If what the manifest says of them is damaged.
    """
    try:
        found = _RECORDS.validate_python(manifest.details.get(DETAILS, {}))
    except ValidationError as error:
        where, why = first_problem(error)
        raise InputError(
            f"What run.json says of the imported scores is damaged ({where}: {why}): import them again into "
            "a copy of the run that is whole."
        ) from error
    return {name: score for name, score in found.items() if name == score.measure.name and name not in MEASURES}


def as_details(scores: dict[str, ImportedScore]) -> dict[str, Any]:
    """The same as plain data, for the manifest."""
    records = {name: asdict(score) for name, score in scores.items()}
    for record in records.values():
        del record["measure"]["regression"]  # an imported score has one wording
    return records


def check_name(name: str) -> None:
    """Whether a score that is imported may be called so.

    Raises:
        InputError: If not.
    """
    if not _NAME.fullmatch(name) or safe_name(name) != name:
        raise InputError(
            f"A score's name has up to 60 lower-case letters, digits and underscores and begins with a letter, but "
            f"{name[:80]!r} was given: rename the column, or give --name."
        )
    if name in MEASURES or name in BASE_COLUMNS or name in _TAKEN:
        raise InputError(f"The name {name} has a meaning of its own here: give another --name, such as my_{name}.")


def checked_text(what: str, text: str) -> str:
    """A title, unit or definition on one line.

    Raises:
        InputError: If it is too long or holds what can't be printed.
    """
    text = " ".join(text.split())
    if len(text) > _LONGEST[what] or not text.isprintable():
        raise InputError(
            f"A score's {what} is printable text of up to {_LONGEST[what]} letters, but {text[:40]!r} was given "
            f"({len(text):,} letters)."
        )
    return text


def check_title(title: str, others: list[Measure]) -> None:
    """Figures and tables tell scores apart by their titles.

    Raises:
        InputError: If another score is called so.
    """
    for other in [*MEASURES.values(), *others]:
        if other.title.casefold() == title.casefold():
            raise InputError(f"The title {title!r} is that of the score {other.name}: give another --title.")
