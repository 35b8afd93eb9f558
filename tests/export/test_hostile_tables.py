"""Random tables of hostile cells leave as they came: byte for byte where nothing was decided, and else but for that.

Set ``SAMPLESCOPE_HOSTILE_TABLES`` to the number of tables of each format to try more than the usual few.
"""

import os
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attribution_core.datasets import Splits, open_dataset
from attribution_core.errors import InputError
from attribution_core.export import tables
from attribution_core.export.examples import CleanedExamples
from attribution_core.export.provenance import Provenance
from tests.support.hostile_tables import delimited_tables, json_tables, parquet_tables, write_parquet_table

USUAL = 40
TABLES = int(os.environ.get("SAMPLESCOPE_HOSTILE_TABLES", USUAL))
SETTINGS = settings(
    max_examples=TABLES,
    derandomize=TABLES == USUAL,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
MOST_REFUSED = 0.1  # of the tables, which the reader refuses in one sentence


class Decisions:
    """What was decided about the rows of a table: those to drop, and a row that has the new class for each other."""

    def __init__(self, splits: Splits, dice: bytes) -> None:
        train, parts = splits.train, splits.by_name
        ids = [id_ for part in splits for id_ in part.ids]
        rows, given = [int(id_.rpartition("-")[2]) for id_ in ids], np.concatenate([part.labels for part in splits])
        action = np.array([dice[i % len(dice)] % 4 for i in range(len(ids))])
        action[0] = 0  # a training example stays
        if dice[0] < 64:
            action[:] = 0  # nothing was decided
        new = np.array([(label + 1) % max(1, len(train.class_names)) for label in given.tolist()])
        relabels = (action == 2) & bool(train.class_names)
        labels = np.where(relabels, new, given).astype(given.dtype)
        actions = np.where(action == 1, "drop", "")
        names = np.repeat(list(parts), [len(part) for part in splits])
        columns = {"id": ids, "split": names, "label": labels, "label_in_data": given, "action": actions}
        self.table = pd.DataFrame(columns)
        self.dropped = frozenset(row for row, each in zip(rows, action, strict=True) if each == 1)
        first: dict[int, int] = {}
        for part in splits:
            for id_, label in zip(part.ids, part.labels.tolist(), strict=True):
                row = int(id_.rpartition("-")[2])
                first[label] = min(row, first.get(label, row))
        self.like = {row: first[label] for row, label, yes in zip(rows, new.tolist(), relabels, strict=True) if yes}


def write(splits: Splits, table: pd.DataFrame, path) -> bytes:
    tables.write(CleanedExamples.of(splits, table, table, Provenance({}, [])), path)
    return path.read_bytes()


def opened(path, counts):
    """The dataset, or None if it is refused; either is counted."""
    counts["tables"] += 1
    try:
        return open_dataset(path)
    except InputError:
        counts["refused"] += 1
        return None


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_texts_leave_as_they_came(tmp_path, suffix):
    counts: Counter[str] = Counter()

    @SETTINGS
    @given(json_tables() if suffix == ".jsonl" else delimited_tables(suffix), st.binary(min_size=8, max_size=24))
    def each(table, dice):
        path = tmp_path / f"d{suffix}"
        path.write_bytes(table.content())
        splits = opened(path, counts)
        if splits is None:
            return
        assert sum(map(len, splits)) == len(table.rows)
        decisions = Decisions(splits, dice)
        labels = {row: table.writing(row, like) for row, like in decisions.like.items()}
        expected = table.content(decisions.dropped, labels)
        assert write(splits, decisions.table, tmp_path / f"clean{suffix}") == expected

    each()
    assert counts["refused"] <= MOST_REFUSED * counts["tables"], counts


def test_parquet_leaves_as_it_came(tmp_path):
    counts: Counter[str] = Counter()

    @SETTINGS
    @given(parquet_tables(), st.binary(min_size=8, max_size=24))
    def each(drawn, dice):
        table, group = drawn
        path = write_parquet_table(tmp_path / "d.parquet", table, group)
        splits = opened(path, counts)
        if splits is None:
            return
        assert sum(map(len, splits)) == len(table)
        decisions = Decisions(splits, dice)
        rows = table.to_pylist()
        expected = [
            {**row, "label": rows[decisions.like.get(number, number)]["label"]}
            for number, row in enumerate(rows)
            if number not in decisions.dropped
        ]
        content = write(splits, decisions.table, tmp_path / "clean.parquet")
        if expected == rows:
            assert content == path.read_bytes()
        found = pq.ParquetFile(tmp_path / "clean.parquet").read()
        assert found.schema.equals(pq.read_schema(path), check_metadata=True)
        assert found.to_pylist() == expected

    each()
    assert counts["refused"] <= MOST_REFUSED * counts["tables"], counts
