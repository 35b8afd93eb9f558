"""Where an export comes from, and what its format could not keep."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import pandas as pd

from attribution_core.export import csv_list
from attribution_core.runs.files import now
from attribution_core.runs.store import Run

_SHOWN = 3  # renamed things that a note spells out


@dataclass(frozen=True, eq=False)
class Provenance:
    """The record of an export, to which its writer adds.

    Attributes:
        record: What the JSON file will hold.
        notes: Sentences that a user should read: what is not as it was in the data, and why.
    """

    record: dict[str, Any]
    notes: list[str]

    def note_renamed(self, what: str, names: Mapping[str, str], why: str) -> None:
        """Record what got another name; nothing if each kept its own.

        Args:
            what: What was renamed, in the plural: "classes" or "files".
            names: The new name of each.
            why: Reason, as a clause that begins with "because".
        """
        changed = {old: new for old, new in names.items() if old != new}
        if not changed:
            return
        self.record.setdefault("renamed", {}).setdefault(what, {}).update(changed)
        shown = [f"{old!r} is {new!r}" for old, new in list(changed.items())[:_SHOWN]]
        more = f", and {len(changed) - _SHOWN:,} more (see the provenance)" if len(changed) > _SHOWN else ""
        self.notes.append(f"The export renames {what} {why}: {', '.join(shown)}{more}.")

    def text(self) -> str:
        """Return the record as JSON."""
        return json.dumps({**self.record, "notes": self.notes}, indent=2, ensure_ascii=False) + "\n"


def provenance_of(run: Run, form: str, table: pd.DataFrame, counts: dict[str, dict[str, int]]) -> Provenance:
    """Describe where an export comes from.

    Args:
        run: The reviewed run.
        form: What is written.
        table: The examples with their decisions, from :func:`attribution_core.runs.cleaned.cleaned_table`.
        counts: Numbers of examples kept, dropped and relabelled, by split.
    """
    decided = table[table["action"] != ""]
    dataset = run.manifest.dataset
    record: dict[str, Any] = {
        "tool": f"samplescope {version('samplescope')}",
        "python": platform.python_version(),
        "date": now(),
        "format": form,
        "run": {"id": run.id, "title": run.title, "created": run.manifest.created},
        "fingerprints": {
            "configuration": run.manifest.fingerprint,
            "dataset": dataset.fingerprint if dataset is not None else "",
        },
        "dataset": {"name": dataset.name, "location": dataset.location} if dataset is not None else {},
        "counts": counts["train"],
        "evaluation_counts": {split: counts[split] for split in ("validation", "test")},
        "decisions": [
            {"id": id_, "split": split, "action": action, "label_in_data": old, "label": new, "time": time}
            | ({"reviewer": reviewer} if reviewer else {})
            for id_, split, action, old, new, time, reviewer in zip(
                decided["id"],
                decided["split"],
                decided["action"],
                csv_list.listed_labels(run, decided["label_in_data"]).tolist(),
                csv_list.listed_labels(run, decided["label"]).tolist(),
                decided["time"],
                decided["reviewer"],
                strict=True,
            )
        ],
    }
    return Provenance(record, [])
