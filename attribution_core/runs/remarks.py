"""What people write about a run, beside what scoring wrote: a title of their own and notes."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attribution_core.errors import InputError
from attribution_core.runs.files import written_atomically
from attribution_core.runs.names import REMARKS_FILE

LONGEST_TITLE, LONGEST_NOTES = 100, 10_000  # characters


class Remarks(BaseModel):
    """Content of remarks.json.

    Attributes:
        title: Name shown to people; empty for that of the run itself.
        notes: Text about the run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = Field("", max_length=LONGEST_TITLE)
    notes: str = Field("", max_length=LONGEST_NOTES)


def read_remarks(run: Path) -> Remarks:
    """Return the remarks about the run in a directory; without any, empty ones.

    Raises:
        InputError: The file is damaged.
    """
    path = run / REMARKS_FILE
    try:
        return Remarks.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Remarks()
    except (OSError, ValidationError) as error:
        raise InputError(f"{path} cannot be read: delete it to write other notes about the run.") from error


def write_remarks(run: Path, remarks: Remarks) -> None:
    """Replace the remarks about the run in a directory.

    Raises:
        InputError: The directory is not writable.
    """
    try:
        with written_atomically(run / REMARKS_FILE) as partial:
            partial.write_text(remarks.model_dump_json(indent=2), encoding="utf-8")
    except OSError as error:
        raise InputError(f"The notes about {run.name} cannot be saved: {error.strerror}.") from error
