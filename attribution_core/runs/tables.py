"""Small tables of a run that several stages write to: each stage replaces the rows of its key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from attribution_core.errors import InputError
from attribution_core.runs.files import written_atomically
from attribution_core.runs.names import (
    CLASS_EFFECTS_FILE,
    CLASS_PAIRS_FILE,
    CURVES_FILE,
    IMAGE_STATISTICS_FILE,
    LEAKS_FILE,
)


@dataclass(frozen=True)
class KeyedTable:
    """A table that is one Parquet file in the run's directory.

    Attributes:
        file_name: Name of the file.
        key: Column that says what a row belongs to, such as the method.
        columns: The other columns and their types.
    """

    file_name: str
    key: str
    columns: dict[str, str]

    def read(self, run: Path) -> pd.DataFrame:
        """Read all rows, with the key as the first column; no rows if the run does not have the file.

        Raises:
            InputError: If the table is damaged.
        """
        file = run / self.file_name
        if not file.is_file():
            return pd.DataFrame({name: [] for name in (self.key, *self.columns)})
        try:
            return pd.read_parquet(file)
        except (OSError, ValueError) as error:
            raise InputError(f"{file} is damaged ({error}): score the data again.") from error

    def replace(self, run: Path, name: str, rows: pd.DataFrame) -> None:
        """Replace the rows whose key is ``name``."""
        others = self.read(run)
        added = rows[list(self.columns)].astype(self.columns)
        added.insert(0, self.key, name)
        kept = others[others[self.key] != name]
        with written_atomically(run / self.file_name) as partial:
            (pd.concat([kept, added], ignore_index=True) if len(kept) else added).to_parquet(partial, index=False)


def curve_points(x: Sequence[float], series: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Return the points of a curve as columns series, x and y, from the values of each series at ``x``."""
    frames = [pd.DataFrame({"series": name, "x": list(x), "y": values}) for name, values in series.items()]
    return pd.concat(frames, ignore_index=True)


CURVE_POINTS = KeyedTable(CURVES_FILE, "curve", {"series": "str", "x": "float64", "y": "float64"})
CLASS_PAIRS = KeyedTable(
    CLASS_PAIRS_FILE,
    "method",
    {
        "train_class": "str",
        "evaluation_class": "str",
        "train_row": "int64",
        "evaluation_row": "int64",
        "effect": "float64",
    },
)
CLASS_EFFECTS = KeyedTable(
    CLASS_EFFECTS_FILE,
    "method",
    {"train_class": "str", "evaluation_class": "str", "effect": "float64", "normalised": "float64"},
)
# Of the images of examples.parquet ("train") and evaluation.parquet ("evaluation"), by their rows in it.
IMAGE_STATISTICS = KeyedTable(
    IMAGE_STATISTICS_FILE,
    "split",
    {
        "row": "int64",
        "width": "int64",
        "height": "int64",
        "brightness": "float64",
        "contrast": "float64",
        "sharpness": "float64",
        "pixels": "str",
    },
)
# Validation and test examples that are near-duplicates of training examples, by their rows in the two tables.
LEAKS = KeyedTable(LEAKS_FILE, "split", {"row": "int64", "train_row": "int64", "similarity": "float64"})
