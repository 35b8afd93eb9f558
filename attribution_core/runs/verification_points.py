"""What each score foretold of the examples that were removed one by one, beside what happened."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from attribution_core.errors import InputError
from attribution_core.runs.names import RETRAINING_FILE, VERIFICATION_FILE

COLUMNS = {"method": "str", "row": "int64", "estimate": "float64", "truth": "float64", "spread": "float64"}


def read_points(run: Path) -> pd.DataFrame:
    """The points of the run's last verification.

    Returns:
        Columns method, row (of the removed example in ``run.examples``), estimate, truth (mean over seeds) and spread
        (standard deviation between seeds, NaN for one seed); for a score that foretells a loss on each evaluation
        example, estimate and truth are means over these. No rows where the run was not verified since these are kept.

    Raises:
        InputError: If the table is damaged.
    """
    file = run / VERIFICATION_FILE
    if not file.is_file():
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in COLUMNS.items()})
    try:
        return pd.read_parquet(file, columns=list(COLUMNS))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is damaged ({error}): verify the run again.") from error


def read_trainings(run: Path) -> pd.DataFrame:
    """The trainings done to verify a run, without what they came to, which is large.

    Returns:
        Columns removed (how many examples it lacked), seed, keeps_places, accuracy (on validation) and seconds; no rows
        where there are none.

    Raises:
        InputError: If the table is damaged.
    """
    file = run / RETRAINING_FILE
    names = ["removed", "seed", "keeps_places", "accuracy", "seconds"]
    if not file.is_file():
        return pd.DataFrame({name: pd.Series(dtype="float64") for name in names})
    try:
        frame = pq.read_table(file, columns=names).to_pandas()
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is damaged ({error}): delete it, and verify again.") from error
    return frame.assign(removed=frame["removed"].map(len))
