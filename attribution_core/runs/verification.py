"""The estimates of each score for the examples that ``verify`` removed one by one, beside what retraining measured."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from attribution_core.errors import InputError
from attribution_core.runs.names import VERIFICATION_FILE

VERIFICATION_COLUMNS = {
    "method": "str",
    "row": "int64",
    "estimate": "float64",
    "truth": "float64",
    "spread": "float64",
}


def read_verification(run: Path) -> pd.DataFrame:
    """Read the estimates and the measured outcomes of the run's last verification.

    Returns:
        Columns method, row (of the removed example in ``run.examples``), estimate, truth (mean over seeds) and spread
        (standard deviation between seeds, NaN for one seed). For a score that estimates a loss on each evaluation
        example, estimate and truth are means over these examples. No rows where the run was never verified, or only by
        a version that did not keep this table.

    Raises:
        InputError: If the table is damaged.
    """
    file = run / VERIFICATION_FILE
    if not file.is_file():
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in VERIFICATION_COLUMNS.items()})
    try:
        return pd.read_parquet(file, columns=list(VERIFICATION_COLUMNS))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is damaged ({error}): verify the run again.") from error
