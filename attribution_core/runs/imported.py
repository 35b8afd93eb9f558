"""Scores and effects that were computed elsewhere and imported into a run, as its manifest describes them."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from attribution_core.errors import InputError, first_problem
from attribution_core.runs.measures import MEASURES, Measure
from attribution_core.runs.names import safe_name
from attribution_core.runs.schema import BASE_COLUMNS, RunManifest

DETAILS = "imported"  # key of the imported scores in the manifest's details
_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
# Columns that an export or the app adds beside the scores.
_TAKEN = ("row", "action", "decided", "label_in_data", "new_label_name", DETAILS)
_LONGEST = {"title": 80, "unit": 40, "definition": 2000}  # characters


@dataclass(frozen=True)
class ImportedScore:
    """A score, or a matrix of effects, that was computed elsewhere.

    Attributes:
        measure: Description of the score; its kind is ``"effect"`` for effects, ``"imported"`` for a score.
        source: Name of the file that it was imported from, or another description of its origin.
        time: Time of the import in UTC, as ISO 8601.
        note: How it was changed during the import; empty if it was not.
    """

    measure: Measure
    source: str
    time: str
    note: str = ""


_RECORDS = TypeAdapter(dict[str, ImportedScore])


def imported_scores(manifest: RunManifest) -> dict[str, ImportedScore]:
    """Return the imported scores of a run, by name, in the order of their import.

    Raises:
        InputError: If their entries in the manifest are damaged.
    """
    try:
        found = _RECORDS.validate_python(manifest.details.get(DETAILS, {}))
    except ValidationError as error:
        where, why = first_problem(error)
        raise InputError(
            f"The entries of the imported scores in run.json are damaged ({where}: {why}): import the scores again "
            "into an intact copy of the run."
        ) from error
    return {name: score for name, score in found.items() if name == score.measure.name and name not in MEASURES}


def as_details(scores: dict[str, ImportedScore]) -> dict[str, Any]:
    """Return the imported scores as plain data, for the manifest's details."""
    records = {name: asdict(score) for name, score in scores.items()}
    for record in records.values():
        del record["measure"]["regression"]  # an imported score has one wording
    return records


def check_name(name: str) -> None:
    """Check that an imported score may have this name.

    Raises:
        InputError: If the name is not a valid column name, or is taken.
    """
    if not _NAME.fullmatch(name) or safe_name(name) != name:
        raise InputError(
            "The name of a score begins with a letter and has up to 60 lower-case letters, digits and underscores; "
            f"{name[:80]!r} was given: rename the column, or pass --name."
        )
    if name in MEASURES or name in BASE_COLUMNS or name in _TAKEN:
        raise InputError(f"The name {name} is reserved: pass another --name, such as my_{name}.")


def checked_text(what: str, text: str) -> str:
    """Return a title, unit or definition on one line.

    Raises:
        InputError: If it is too long or has characters that cannot be printed.
    """
    text = " ".join(text.split())
    if len(text) > _LONGEST[what] or not text.isprintable():
        raise InputError(
            f"The {what} of a score is printable text of up to {_LONGEST[what]} characters; {text[:40]!r} was given "
            f"({len(text):,} characters): shorten it and remove what cannot be printed."
        )
    return text


def check_title(title: str, others: list[Measure]) -> None:
    """Check that no other score has this title, since figures and tables tell scores apart by their titles.

    Raises:
        InputError: If another score has it.
    """
    for other in [*MEASURES.values(), *others]:
        if other.title.casefold() == title.casefold():
            raise InputError(f"The score {other.name} has the title {title!r} already: pass another --title.")
