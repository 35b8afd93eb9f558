import numpy as np
import pytest
import torch

from attribution_core.errors import InputError
from attribution_core.methods.analysis import class_effects as module
from attribution_core.methods.analysis.class_effects import ClassEffects, class_effects, pairs_per_cell
from attribution_core.methods.analysis.label_noise import class_contributions, normalised


def in_blocks(effects, size):
    return ((slice(start, start + size), effects[start : start + size]) for start in range(0, len(effects), size))


def reference(effects, mine, theirs, classes, most):
    """Every cell on its own, from all pairs."""
    rows = []
    for a in range(classes):
        for b in range(classes):
            pairs = []
            for sign in (1, -1):
                strongest = {}  # of each training example
                for i in np.flatnonzero(mine == a):
                    for j in np.flatnonzero(theirs == b):
                        effect = effects[i, j] * sign
                        if effect > 0 and (i not in strongest or effect > strongest[i][2] * sign):
                            strongest[i] = (i, j, effects[i, j])
                pairs += sorted(strongest.values(), key=lambda pair: -abs(pair[2]))[:most]
            rows += sorted(pairs, key=lambda pair: -abs(pair[2]))
    return rows


def listed(found: ClassEffects):
    return list(zip(found.train_rows, found.evaluation_rows, found.effects, strict=True))


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("most", [1, 3, 50])
def test_means_and_pairs_equal_those_from_all_pairs(size, most):
    rng = np.random.default_rng(0)
    effects = rng.normal(0, 1, (60, 40)).astype(np.float32)
    mine, theirs = rng.integers(0, 4, 60), rng.integers(0, 4, 40)
    theirs[theirs == 2] = 1  # a class without evaluation examples
    effects[np.ix_(mine == 0, theirs == 1)] = -1  # and a cell in which all effects are equally harmful
    effects[:, 5] = 0
    found = class_effects(in_blocks(effects, size), mine, theirs, 4, most)
    matrix = class_contributions(*(torch.from_numpy(each) for each in (effects.astype(float), mine, theirs)), 4)
    assert np.allclose(found.mean, matrix, equal_nan=True, rtol=1e-12)
    assert np.allclose(found.normalised, normalised(matrix), equal_nan=True, rtol=1e-12)
    assert np.isnan(found.mean[:, 2]).all()
    assert listed(found) == reference(effects, mine, theirs, 4, most)


def test_signs_are_listed_separately():
    effects = np.array([[0.5, 0.4], [-0.1, 0.0]], dtype=np.float32)
    found = class_effects([(slice(0, 2), effects)], np.zeros(2, int), np.zeros(2, int), 1)
    assert [(int(i), int(j)) for i, j, _ in listed(found)] == [(0, 0), (1, 0)]
    nothing = class_effects([(slice(0, 2), 0 * effects)], np.zeros(2, int), np.zeros(2, int), 1)
    assert listed(nothing) == []
    assert nothing.mean == 0


def test_the_table_stays_small(monkeypatch):
    assert [pairs_per_cell(classes) for classes in (2, 10, 79, 80, 200, 1000)] == [8, 8, 8, 7, 1, 1]
    monkeypatch.setattr(module, "MOST_PAIRS", 10)
    effects = np.random.default_rng(0).normal(0, 1, (30, 30)).astype(np.float32)
    labels = np.arange(30) % 3
    found = class_effects([(slice(0, 30), effects)], labels, labels, 3, 8)
    everything = reference(effects, labels, labels, 3, 8)
    assert {pair[:2] for pair in listed(found)} == {
        pair[:2] for pair in sorted(everything, key=lambda p: -abs(p[2]))[:10]
    }


def test_labels_that_do_not_match_the_effects_are_refused():
    effects = np.zeros((4, 3), np.float32)
    with pytest.raises(InputError, match="does not match 4 training and 2 evaluation"):
        class_effects([(slice(0, 4), effects)], np.zeros(4, int), np.zeros(2, int), 1)
    with pytest.raises(InputError, match="one per label, not of 4"):
        class_effects([(slice(0, 4), effects)], np.zeros(9, int)[:4].repeat(2), np.zeros(3, int), 1)
