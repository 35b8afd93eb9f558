"""The validation examples that effects are measured on come first, and keep the shares of the classes."""

import numpy as np
import pytest

from attribution_core.datasets import open_dataset
from attribution_core.datasets.evaluated import evaluated_first
from attribution_core.datasets.partition import sample


def test_those_measured_on_come_first_and_nothing_is_lost():
    splits = open_dataset("digits")
    ordered = evaluated_first(splits, 50, seed=3)
    before, after = splits.validation, ordered.validation
    assert sorted(after.ids) == sorted(before.ids)
    assert dict(zip(after.ids, after.labels, strict=True)) == dict(zip(before.ids, before.labels, strict=True))
    assert (np.bincount(after.labels[:50]) == 5).all()
    for part in (slice(50), slice(50, None)):  # each in the order of the data
        assert np.all(np.diff([before.ids.index(each) for each in after.ids[part]]) > 0)
    assert "50 of the 270 validation examples" in ordered.notes[-1]
    assert (ordered.train, ordered.test) == (splits.train, splits.test)
    other = evaluated_first(splits, 50, seed=4)
    assert set(other.validation.ids[:50]) != set(after.ids[:50])


@pytest.mark.parametrize("most", [None, 270, 1000])
def test_nothing_changes_where_all_are_measured_on(most):
    splits = open_dataset("digits")
    assert evaluated_first(splits, most, seed=0) is splits


def test_a_sample_of_fewer_than_one_of_each_class_and_of_values():
    few = sample(np.arange(100) % 40, 30, seed=0)
    assert len(np.unique(few)) == 30
    values = np.linspace(0.0, 1.0, 1000)
    chosen = sample(values, 100, seed=0)
    counts = np.bincount((values[chosen] * 9.999).astype(int))
    assert (np.abs(counts - 10) <= 1).all()
