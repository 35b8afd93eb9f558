"""The finished retrainings of a run, in a Parquet file that grows with each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from attribution_core.errors import InputError
from attribution_core.runs.files import written_atomically
from attribution_core.runs.names import RETRAINING_FILE

# What a score estimates of a removal, and retraining measures, with a label for each: changes in the losses and outputs
# on the evaluation examples, or what becomes of the removed example itself.
RETRAINING_OUTCOMES = {
    "loss_change": "change in each evaluation loss",
    "mean_loss_change": "change in mean evaluation loss",
    "output_change": "change in evaluation outputs",
    "own_probability_change": "change in its own prediction",
    "own_loss_change": "increase in its own loss",
    "own_loss": "its own loss after removal",
}
_FINGERPRINT = b"fingerprint"
_SUMMARY = ["removed", "seed", "keeps_places", "accuracy", "seconds"]
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
    """A training without some of the examples.

    Attributes:
        removed: Positions of the removed examples, ascending; empty for training on everything.
        seed: Seed of the initial weights and of the order of the batches.
        keeps_places: Whether the removed examples kept their places in the batches, with a weight of zero.
        losses: Loss on each evaluation example, ``[m]``.
        accuracy: Accuracy on the evaluation examples; R² where targets are single values, NaN where they have several
            components.
        outputs: Outputs on the first evaluation examples, ``[m', k]``.
        own_outputs: Outputs on the removed examples, ``[removed, k]``, or on all training examples where none was
            removed; empty where places were not kept.
        seconds: Duration of the training.
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
    """The retrainings of one problem, kept in a file or in memory only.

    Args:
        file: Parquet file to read and extend; None keeps the retrainings in memory.
        fingerprint: Fingerprint of the problem.

    Raises:
        InputError: If the file is damaged or holds retrainings of another problem.
    """

    def __init__(self, file: Path | None, fingerprint: str) -> None:
        self._file = file
        self._fingerprint = fingerprint
        self.rows: list[Retraining] = []
        self._written: list[pa.Table] = []  # the same rows in the form of the file
        if file is None or not file.is_file():
            return
        table = _read(file)
        found = (table.schema.metadata or {}).get(_FINGERPRINT, b"").decode()
        if found != fingerprint:
            raise InputError(
                f"{file} holds retrainings of another problem (its fingerprint is {found[:12]}, this problem's is "
                f"{fingerprint[:12]}): delete it, or choose another file."
            )
        self.rows = [_from_record(record) for record in table.to_pylist()]
        self._written = [table]

    def add(self, row: Retraining) -> None:
        """Add a finished training and write the file."""
        self.rows.append(row)
        if self._file is None:
            return
        table = pa.Table.from_pylist([_to_record(row)], _SCHEMA)
        self._written.append(table.replace_schema_metadata({_FINGERPRINT: self._fingerprint.encode()}))
        with written_atomically(self._file) as partial:
            pq.write_table(pa.concat_tables(self._written), partial)


def read_retraining(run: Path) -> pd.DataFrame:
    """Read a run's retrainings, a row for each, with the columns of :class:`Retraining`.

    Raises:
        InputError: If the table is damaged.
    """
    file = run / RETRAINING_FILE
    if not file.is_file():
        return pd.DataFrame({field.name: [] for field in fields(Retraining)})
    return pd.DataFrame([vars(_from_record(record)) for record in _read(file).to_pylist()])


@dataclass(frozen=True, eq=False)
class MeasuredRemoval:
    """What retraining without a group of examples changed, beside training on everything from the same seeds.

    Attributes:
        changes: Change of the loss on each evaluation example, ``[seeds, m]``.
        accuracy: Accuracy on the evaluation examples with everything and without the group, ``[seeds, 2]``; R² for
            values.
    """

    changes: np.ndarray
    accuracy: np.ndarray


def measured_without(run: Path, rows: Sequence[int]) -> MeasuredRemoval | None:
    """Read what retraining without a group showed; None if the run was not retrained without it.

    Args:
        run: Directory of the run.
        rows: Positions of the group's examples in ``run.examples``.

    Raises:
        InputError: If the table is damaged.
    """
    file = run / RETRAINING_FILE
    if not file.is_file():
        return None
    frame = _read(file, ["removed", "seed", "keeps_places", "losses", "accuracy"]).to_pandas()
    frame = frame[frame["keeps_places"].astype(bool)]
    group = sorted(rows)
    sizes = frame["removed"].map(len)
    same = frame["removed"].map(lambda removed: len(removed) == len(group) and sorted(removed) == group)
    whole, without = (frame[which].set_index("seed") for which in (sizes == 0, same))
    seeds = whole.index.intersection(without.index)
    if not len(seeds):
        return None
    before, after = (np.stack(each.loc[seeds, "losses"].to_numpy()) for each in (whole, without))
    accuracy = np.stack([each.loc[seeds, "accuracy"].to_numpy() for each in (whole, without)], axis=1)
    return MeasuredRemoval(after.astype(np.float64) - before, accuracy)


def read_retraining_summary(run: Path) -> pd.DataFrame:
    """Read a run's retrainings without their losses and outputs, which are large.

    Returns:
        Columns removed (number of removed examples), seed, keeps_places, accuracy (on validation) and seconds; no rows
        where nothing was retrained.

    Raises:
        InputError: If the table is damaged.
    """
    file = run / RETRAINING_FILE
    if not file.is_file():
        return pd.DataFrame({name: pd.Series(dtype="float64") for name in _SUMMARY})
    frame = _read(file, _SUMMARY).to_pandas()
    return frame.assign(removed=frame["removed"].map(len))


def _read(file: Path, columns: list[str] | None = None) -> pa.Table:
    try:
        return pq.read_table(file, columns=columns)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is damaged ({error}): delete it and verify the run again.") from error


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
