"""Finished retrainings on disk: retraining.parquet, which takes each of them as it ends."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from attribution_core.errors import InputError
from attribution_core.runs.files import written_atomically
from attribution_core.runs.names import RETRAINING_FILE

# What a score may foretell about a removal, and retraining shows: names for people.
FORETOLD = {
    "loss_change": "loss on each other",
    "mean_loss_change": "mean loss on others",
    "output_change": "outputs for others",
    "own_probability_change": "own prediction",
    "own_loss_change": "rise of own loss",
    "own_loss": "own loss",
}
_FINGERPRINT = b"fingerprint"
_SCHEMA = pa.schema(
    {
        "removed": pa.list_(pa.int64()),
        "seed": pa.int64(),
        "keeps_places": pa.bool_(),
        "losses": pa.list_(pa.float32()),
        "accuracy": pa.float64(),
        "outputs": pa.list_(pa.list_(pa.float32())),
        "own_outputs": pa.list_(pa.list_(pa.float32())),
        "seconds": pa.float64(),
    }
)


@dataclass(frozen=True, eq=False)
class Retraining:
    """One training without some examples.

    Attributes:
        removed: The examples that it lacked, ascending; none for training on everything.
        seed: Of the initial weights and the order of batches.
        keeps_places: Whether the removed examples kept their places in the batches.
        losses: On every evaluation example, ``[m]``.
        accuracy: On them; R² where targets are single values, NaN where they are several.
        outputs: On the first of them, ``[m', k]``.
        own_outputs: On the removed examples, ``[removed, k]``, or where none was on all the training examples; none
            where places were not kept.
        seconds: It took.
    """

    removed: tuple[int, ...]
    seed: int
    keeps_places: bool
    losses: np.ndarray
    accuracy: float
    outputs: np.ndarray
    own_outputs: np.ndarray
    seconds: float


class RetrainingTable:
    """The retrainings of one problem; without a file, in memory only.

    Args:
        file: The Parquet file, or None.
        fingerprint: Of the problem.

    Raises:
        InputError: The file is damaged, or holds retrainings of another problem.
    """

    def __init__(self, file: Path | None, fingerprint: str) -> None:
        self._file = file
        self._fingerprint = fingerprint
        self.rows: list[Retraining] = []
        self._written: list[pa.Table] = []  # the same, as they are written
        if file is None or not file.is_file():
            return
        table = _read(file)
        found = (table.schema.metadata or {}).get(_FINGERPRINT, b"").decode()
        if found != fingerprint:
            raise InputError(
                f"{file} holds retrainings of another problem (fingerprint {found[:12]} there, {fingerprint[:12]} "
                "here): delete it, or give another place."
            )
        self.rows = [_from_record(record) for record in table.to_pylist()]
        self._written = [table]

    def add(self, row: Retraining) -> None:
        """Takes a finished training, and writes the file."""
        self.rows.append(row)
        if self._file is None:
            return
        table = pa.Table.from_pylist([_to_record(row)], _SCHEMA)
        self._written.append(table.replace_schema_metadata({_FINGERPRINT: self._fingerprint.encode()}))
        with written_atomically(self._file) as partial:
            pq.write_table(pa.concat_tables(self._written), partial)


def read_retraining(run: Path) -> pd.DataFrame:
    """A run's retrainings, a row for each, with the columns of :class:`Retraining`; no rows without any.

    Raises:
        InputError: If the table is damaged.
    """
    file = run / RETRAINING_FILE
    if not file.is_file():
        return pd.DataFrame({field.name: [] for field in fields(Retraining)})
    return pd.DataFrame([vars(_from_record(record)) for record in _read(file).to_pylist()])


def _read(file: Path) -> pa.Table:
    try:
        return pq.read_table(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is damaged ({error}): delete it, and verify again.") from error


def _to_record(row: Retraining) -> dict[str, object]:
    return {
        "removed": list(row.removed),
        "seed": row.seed,
        "keeps_places": row.keeps_places,
        "losses": row.losses.tolist(),
        "accuracy": row.accuracy,
        "outputs": row.outputs.tolist(),
        "own_outputs": row.own_outputs.tolist(),
        "seconds": row.seconds,
    }


def _from_record(record: dict[str, object]) -> Retraining:
    arrays = {name: np.array(record[name], dtype=np.float32) for name in ("losses", "outputs", "own_outputs")}
    return Retraining(**{**record, **arrays, "removed": tuple(record["removed"])})  # type: ignore[arg-type]
