"""What the decisions change in the rows of a source: the original format copies every other row as it stands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attribution_core.errors import InputError
from attribution_core.export.examples import CleanedExamples
from attribution_core.runs.labels import split_name


@dataclass(frozen=True, eq=False)
class RowChanges:
    """What the decisions change in the rows of a source; every other row stays as it is.

    Attributes:
        dropped: Rows to leave out.
        labels: New class name or value by row.
        rows_of: Rows of each class in ascending order, from which the writing of its label is taken; empty for values.
    """

    dropped: frozenset[int]
    labels: dict[int, str | float]
    rows_of: dict[str, np.ndarray]

    def __bool__(self) -> bool:
        return bool(self.dropped or self.labels)

    def within(self, start: int, count: int) -> RowChanges:
        """Return the changes in ``count`` rows from ``start``, counted from there."""
        end = start + count
        inside = {name: rows[(rows >= start) & (rows < end)] - start for name, rows in self.rows_of.items()}
        return RowChanges(
            frozenset(row - start for row in self.dropped if start <= row < end),
            {row - start: label for row, label in self.labels.items() if start <= row < end},
            {name: rows for name, rows in inside.items() if len(rows)},
        )

    def kept(self, count: int) -> np.ndarray:
        """Return which of the first ``count`` rows stay, bool ``[count]``."""
        kept = np.ones(count, dtype=bool)
        kept[list(self.dropped)] = False
        return kept

    def writing(self, label: str | float) -> int | None:
        """Return a row of the source that has this class; None if there is none, or for a value."""
        rows = self.rows_of.get(label) if isinstance(label, str) else None
        return int(rows[0]) if rows is not None else None


def row_changes(examples: CleanedExamples, *parts: str) -> RowChanges:
    """Find the decided examples among the rows of the source.

    Args:
        examples: The dataset with the decisions.
        parts: Splits of the source, if each counts its own rows; by default all of them, whose rows are counted
            together.

    Raises:
        InputError: The source lacks an example that was decided about.
    """
    listing = examples.listing
    found = {name: listing.parts[name] for name in parts or listing.parts}
    dropped, labels = set[int](), dict[int, str | float]()
    for name, part in found.items():
        gone, new = examples.dropped_from(name), examples.relabelled_in(name)
        place = dict(zip(part.ids, part.rows.tolist(), strict=True))
        lost = next((id_ for id_ in (*gone, *new) if id_ not in place), None)
        if lost is not None:
            raise InputError(
                f"{examples.splits.location} has no {split_name(name)} example {lost}, about "
                "which you decided: give the location of the scored data, or score them again."
            )
        dropped.update(place[id_] for id_ in gone)
        labels.update({place[id_]: label for id_, label in new.items()})
    rows_of = {}
    for number, class_name in enumerate(listing.class_names):
        rows_of[class_name] = np.sort(np.concatenate([part.rows[part.labels == number] for part in found.values()]))
    return RowChanges(frozenset(dropped), labels, {name: rows for name, rows in rows_of.items() if len(rows)})


def note_others(examples: CleanedExamples) -> None:
    """Record the examples that were set aside for validation and test, and note those that were not scored.

    The original format has them where they were, so that only the provenance tells them apart.
    """
    splits, listed = examples.splits, examples.listing.parts
    aside = {name: part.ids for name, part in splits.by_name.items() if name != "train" and name not in listed}
    dropped, provenance = examples.dropped_from("train"), examples.provenance
    if aside:
        provenance.record["set_aside"] = {
            name: [id_ for id_ in ids if id_ not in dropped] for name, ids in aside.items()
        }
        provenance.notes.append(
            f"The data have no {' and no '.join(aside)} split: the examples that were set aside for it stay where they "
            'are, and the provenance lists them under "set_aside".'
        )
    seen = dropped.union(splits.train.ids, *aside.values())
    others = sum(id_ not in seen for id_ in listed["train"].ids)
    if others:
        provenance.notes.append(f"{others:,} training examples were not scored and are exported as they are.")


def number_text(value: float, like: str) -> str:
    """Return a value with all its digits, written as ``like`` is: with a decimal comma, or without a point."""
    if value.is_integer() and "." not in like:
        return str(int(value))
    return repr(value).replace(".", ",") if "," in like and "." not in like else repr(value)
