"""Expected precision of accepted suggestions, against labels that were really replaced."""

import math

import numpy as np
import pandas as pd
import pytest

from attribution_core.evaluation.acceptance import expected_precision, share_replaced

CLASSES = 5


def judged(replaced: float, seed: int = 0) -> pd.DataFrame:
    """Return labels drawn from known probabilities, a share of them replaced, with what a perfect model says."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.full(CLASSES, 0.15), 20_000)
    true = (probabilities.cumsum(1) > random.random((len(probabilities), 1))).argmax(1)
    wrong = random.random(len(true)) < replaced
    given = np.where(wrong, (true + random.integers(1, CLASSES, len(true))) % CLASSES, true)
    suggested = probabilities.argmax(1)
    rows = np.arange(len(true))
    return pd.DataFrame(
        {
            "label": given,
            "original_label": true,
            "suggested_label": suggested,
            "suggested_confidence": probabilities[rows, suggested],
            "label_quality": probabilities[rows, given],
        }
    )


@pytest.mark.parametrize("replaced", [0.02, 0.1])
def test_the_share_of_replaced_labels_is_found(replaced):
    assert share_replaced(judged(replaced)["label_quality"].to_numpy(), CLASSES) == pytest.approx(replaced, rel=0.15)


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95])
def test_the_least_is_what_a_perfect_model_gets(threshold):
    table = judged(0.05)
    chosen = ((table["suggested_label"] != table["label"]) & (table["suggested_confidence"] >= threshold)).to_numpy()
    right = (table["suggested_label"] == table["original_label"])[chosen].mean()
    low, high = expected_precision(table, chosen, CLASSES)
    assert low == pytest.approx(right, abs=0.05)
    assert high >= right


def test_correct_labels_give_little_hope():
    table = judged(0.0)
    chosen = ((table["suggested_label"] != table["label"]) & (table["suggested_confidence"] >= 0.9)).to_numpy()
    low, high = expected_precision(table, chosen, CLASSES)
    assert low < 0.02
    assert high > 0.85


def test_nothing_to_accept():
    table = judged(0.05)
    assert all(map(math.isnan, expected_precision(table, np.zeros(len(table), dtype=bool), CLASSES)))
    assert all(map(math.isnan, expected_precision(table[["label"]], np.ones(len(table), dtype=bool), CLASSES)))
