"""Rows and columns that are not learned from, whatever the format: rows without a label, columns of lists."""

from collections.abc import Callable

import numpy as np

from attribution_core.datasets.listing import UNNAMED
from attribution_core.errors import InputError

NESTED = "lists or structures"  # what a column holds
_MOST_SHOWN = 20  # columns in a note
_MOST_ROWS = 4  # rows in a note


def unlabeled_rows(empty: np.ndarray, hidden: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Return which rows have no label, bool ``[n]``: it is empty, or -1 in a whole split while others have none.

    Args:
        empty: Rows whose label is empty, bool ``[n]``.
        hidden: Rows whose label is -1 among whole numbers, as the Hugging Face hub hides labels, bool ``[n]``.
        splits: Split of each row, ``[n]``.
    """
    whole = {str(split) for split in np.unique(splits) if (hidden | empty)[splits == split].all()}
    in_whole = np.isin(splits.astype("str"), list(whole))
    return empty | in_whole if whole and not hidden[~in_whole].any() else empty.copy()


def unlabeled_notes(unlabeled: np.ndarray, splits: np.ndarray, label: str, place: Callable[[int], str]) -> list[str]:
    """Return a sentence for each split that counts its rows without a label and names the first.

    Args:
        unlabeled: Which rows have no label, bool ``[n]``.
        splits: Split of each row, ``[n]``.
        label: Name of the target column.
        place: Function that names a row: "line 5".

    Raises:
        InputError: No row of the training split has a label.
    """
    notes = []
    for split in dict.fromkeys(splits.tolist()):
        found = np.flatnonzero(unlabeled & (splits == split))
        count, total = len(found), int((splits == split).sum())
        name = "train" if split == UNNAMED else split
        if count == total and name == "train" and total:
            raise InputError(
                f"The training rows need labels, but all {total:,} are empty or -1 in the column {label}: fill them "
                "in, or choose another target column."
            )
        if not count:
            continue
        have = "has no label" if count == 1 else "have no label"
        were = "was left out" if count == 1 else "were left out"
        number = f"All {count:,}" if count == total else f"{count:,} of the {total:,}"
        rows = "rows" if split == UNNAMED else f"{name} rows"
        named = "" if count == total else f": {listed_with_and([place(int(row)) for row in found], _MOST_ROWS)}"
        notes.append(f"{number} {rows} {have} in the column {label} and {were}{named}.")
    return notes


def aside_notes(aside: dict[str, str]) -> list[str]:
    """Return a sentence for each kind of column that is left aside, from what each column holds."""
    by_reason: dict[str, list[str]] = {}
    for name, why in aside.items():
        by_reason.setdefault(why, []).append(name)
    return [
        f"The column{'s' if len(names) > 1 else ''} {listed_with_and(names)} {'hold' if len(names) > 1 else 'holds'} "
        f"{why} and {'were' if len(names) > 1 else 'was'} left aside."
        for why, names in by_reason.items()
    ]


def refuse_as_target(name: str, holds: str, columns: list[str]) -> InputError:
    """Return the error for a target column that is left aside; ``columns`` are those that could be one."""
    shown = ", ".join(columns[:_MOST_SHOWN]) + (", ..." if len(columns) > _MOST_SHOWN else "")
    return InputError(
        f"The column {name} must hold numbers or strings, but it holds {holds}: convert it, or choose the target "
        f"column among {shown} with --target."
    )


def listed_with_and(names: list[str], most: int = _MOST_SHOWN) -> str:
    """Return names as a list in a sentence, "a, b and c", shortened if there are many."""
    shown = names[:most]
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return (", ".join(shown) + more) if more or len(shown) < 2 else f"{', '.join(shown[:-1])} and {shown[-1]}"
