"""The runs in a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from attribution_core.errors import InputError
from attribution_core.runs.names import MANIFEST_FILE
from attribution_core.runs.store import Run


@dataclass(frozen=True)
class RunSummary:
    """An entry of :func:`list_runs`: an open run, or the reason why it cannot be opened."""

    path: Path
    run: Run | None
    problem: str

    @property
    def id(self) -> str:
        """Name of the directory."""
        return self.path.name


def list_runs(folder: str | os.PathLike[str]) -> list[RunSummary]:
    """Return the runs directly inside a folder, newest first, and damaged ones last, with the reason.

    Raises:
        InputError: If there is no such folder.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give a run, or a folder with runs.")
    summaries = []
    for manifest in sorted(folder.glob(f"*/{MANIFEST_FILE}")):
        try:
            summaries.append(RunSummary(manifest.parent, Run.open(manifest.parent), ""))
        except InputError as error:
            summaries.append(RunSummary(manifest.parent, None, str(error)))
    return sorted(summaries, key=lambda entry: entry.run.manifest.created if entry.run else "", reverse=True)
