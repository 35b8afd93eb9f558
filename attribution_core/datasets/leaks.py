"""Columns that alone predict the target nearly perfectly, which often means that they were made from it."""

import numpy as np
import pandas as pd

_SURE = 0.99  # cross-validated accuracy from which a column is pointed out
_MOST_FREQUENT = 0.9  # largest share of one class at which such an accuracy says anything
_SURE_CORRELATION = 0.9999  # of a column of numbers with the values of a regression
_FOLDS = 5
_MIN_ROWS = 30
_MOST_ROWS = 2000  # rows that are looked at
_ADVICE = "if it was made from the target or recorded after it, remove it."


def leak_notes(features: dict[str, pd.Series], labels: np.ndarray, is_value: bool, target: str) -> list[str]:
    """Return a sentence for each feature that alone predicts the target nearly perfectly.

    Args:
        features: Features by name: float64, or object with texts and None.
        labels: Positions of classes, int64 ``[n]``, or values, float64 ``[n]``.
        is_value: Whether the labels are values.
        target: Name of the target column.
    """
    rows = np.random.default_rng(0).permutation(len(labels))[:_MOST_ROWS]
    if len(rows) < _MIN_ROWS:
        return []
    if not is_value and np.bincount(labels[rows]).max() > _MOST_FREQUENT * len(rows):
        return []
    notes = []
    for name, values in features.items():
        if is_value:
            share = _correlation(values, labels)
            if share >= _SURE_CORRELATION:
                notes.append(f"The column {name} has a correlation of {share:.4f} with {target}; {_ADVICE}")
            continue
        share = _accuracy(values.iloc[rows], labels[rows])
        if share >= _SURE:
            notes.append(
                f"The column {name} alone predicts {target} in {share:.1%} of the rows ({_FOLDS}-fold "
                f"cross-validation); {_ADVICE}"
            )
    return notes


def _correlation(values: pd.Series, targets: np.ndarray) -> float:
    if values.dtype != np.float64 or values.isna().any() or values.nunique() < 2 or not np.ptp(targets):
        return 0.0
    return float(abs(np.corrcoef(values.to_numpy(), targets)[0, 1]))


def _accuracy(values: pd.Series, labels: np.ndarray) -> float:
    """Return the cross-validated accuracy of a small tree on numbers, or of the most frequent class of each word.

    Args:
        values: Feature in random order, ``[n]``.
        labels: Positions of classes, int64 ``[n]``.
    """
    is_number = values.dtype == np.float64
    column = values.to_numpy() if is_number else pd.factorize(values, use_na_sentinel=False)[0]
    # A first look at all rows is never worse than cross-validation, and settles most columns.
    predict = _by_threshold if is_number else _by_word
    if np.mean(predict(column, labels, column) == labels) < _SURE:
        return 0.0
    fold = np.arange(len(labels)) % _FOLDS
    hits = [
        predict(column[fold != k], labels[fold != k], column[fold == k]) == labels[fold == k] for k in range(_FOLDS)
    ]
    return float(np.mean(np.concatenate(hits)))


def _by_threshold(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    from sklearn.tree import DecisionTreeClassifier

    leaves = 2 * len(np.unique(labels))
    tree = DecisionTreeClassifier(max_leaf_nodes=max(4, leaves), random_state=0)
    return np.asarray(tree.fit(train[:, None], labels).predict(test[:, None]))


def _by_word(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    counts = np.zeros((max(train.max(), test.max()) + 1, labels.max() + 1), dtype=np.int64)
    np.add.at(counts, (train, labels), 1)
    found = counts.argmax(axis=1)
    found[counts.sum(axis=1) == 0] = np.bincount(labels).argmax()  # a word never seen
    return found[test]
