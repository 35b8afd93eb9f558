"""What the training examples of a class do to the evaluation examples of a class, by method."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from attribution_core.errors import InputError
from attribution_core.runs.files import written_atomically

FILE_NAME = "class_effects.parquet"
_COLUMNS = {"train_class": "str", "evaluation_class": "str", "effect": "float64", "normalised": "float64"}


def read_class_effects(run: Path) -> pd.DataFrame:
    """Columns method, train_class, evaluation_class, effect, normalised; no rows where the run has none.

    Raises:
        InputError: If the table is damaged.
    """
    file = run / FILE_NAME
    if not file.is_file():
        return pd.DataFrame({name: [] for name in ("method", *_COLUMNS)})
    try:
        return pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is damaged ({error}): score the data again.") from error


def write_class_effects(run: Path, method: str, rows: pd.DataFrame) -> None:
    """Puts a method's rows into the table, in place of those it had."""
    others = read_class_effects(run)
    added = rows[list(_COLUMNS)].astype(_COLUMNS)
    added.insert(0, "method", method)
    kept = others[others["method"] != method]
    with written_atomically(run / FILE_NAME) as partial:
        (pd.concat([kept, added], ignore_index=True) if len(kept) else added).to_parquet(partial, index=False)
