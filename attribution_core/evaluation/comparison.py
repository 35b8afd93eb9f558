"""Compare two runs: quality on the same examples, and rank correlations. Imports no torch, for the app's pages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class PairedAccuracies:
    """Hold the accuracies of two models on the same examples.

    Attributes:
        examples: Number of examples on which both were evaluated with the same label.
        before: Accuracy of the first model on them; NaN if there are none.
        after: Accuracy of the second model.
        gained: Examples that only the second gets right.
        lost: Examples that only the first gets right.
    """

    examples: int
    before: float
    after: float
    gained: int
    lost: int

    @property
    def difference(self) -> float:
        """Accuracy of the second model minus that of the first."""
        return self.after - self.before

    @property
    def standard_error(self) -> float:
        """Standard error of the difference, from the pairs that differ (as in McNemar's test)."""
        n = max(1, self.examples)
        return float(np.sqrt(self.gained + self.lost - (self.gained - self.lost) ** 2 / n) / n)

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the difference: Agresti and Min 2005, with half an example added to each of the four counts.

        It reflects which examples happened to be tested, not that another training would give other weights. Unlike
        1.96 standard errors to either side, it does not shrink to zero if no example differs.
        """
        n, gained, lost = self.examples + 2, self.gained + 0.5, self.lost + 0.5
        middle, error = (gained - lost) / n, np.sqrt(gained + lost - (gained - lost) ** 2 / n) / n
        return float(max(-1.0, middle - 1.96 * error)), float(min(1.0, middle + 1.96 * error))


@dataclass(frozen=True)
class PairedR2:
    """Hold the R² of two models' predictions on the same examples: the share of the values' variance they explain.

    Attributes:
        examples: Number of examples on which both were evaluated with the same value.
        before: R² of the first model on them; NaN if the values do not differ.
        after: R² of the second model.
        gained: Examples that the second model predicts more closely.
        lost: Examples that the first model predicts more closely.
        standard_error: Standard error of the difference, from the differences of squared residuals; the variance is
            treated as known.
    """

    examples: int
    before: float
    after: float
    gained: int
    lost: int
    standard_error: float

    @property
    def difference(self) -> float:
        """R² of the second model minus that of the first."""
        return self.after - self.before

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the difference; as for accuracies, it reflects which examples happened to be tested."""
        return self.difference - 1.96 * self.standard_error, self.difference + 1.96 * self.standard_error


def paired_quality(before: pd.DataFrame, after: pd.DataFrame) -> PairedAccuracies | PairedR2:
    """Compare two models on the same examples: by accuracy for classification, by R² for regression."""
    return paired_r2(before, after) if "residual" in before else paired_accuracies(before, after)


def paired_accuracies(before: pd.DataFrame, after: pd.DataFrame) -> PairedAccuracies:
    """Return the accuracies of two models on the examples that both tables have with the same label.

    Args:
        before: Table of the first model: columns id, label_name and correct, a row for each example.
        after: The same table of the second model.
    """
    one, other = _in_both(before, after, "label_name")
    right, then = (each["correct"].to_numpy(dtype=bool) for each in (one, other))
    was, is_ = (float(each.mean()) if len(each) else float("nan") for each in (right, then))
    return PairedAccuracies(len(right), was, is_, int((then & ~right).sum()), int((right & ~then).sum()))


def paired_r2(before: pd.DataFrame, after: pd.DataFrame) -> PairedR2:
    """Return the R² of two models on the examples that both tables have with the same value.

    Args:
        before: Table of the first model: columns id, label and residual, a row for each example.
        after: The same table of the second model.
    """
    one, other = _in_both(before, after, "label")
    n, variance = len(one), float(np.var(one["label"])) if len(one) else 0.0
    was, is_ = (np.square(each["residual"].to_numpy(dtype="float64")) for each in (one, other))
    gained, lost = int((is_ < was).sum()), int((was < is_).sum())
    error = float(np.std(was - is_, ddof=1) / np.sqrt(n) / variance) if variance else np.nan
    return PairedR2(n, r_squared(one), r_squared(other), gained, lost, error)


def r_squared(table: pd.DataFrame) -> float:
    """Return the R² of predictions, the share of the values' variance that they explain.

    Args:
        table: Columns label and residual.

    Returns:
        One minus the mean squared residual over the variance: 1 is perfect, 0 no better than the mean; NaN if all
        values are the same.
    """
    variance = float(np.var(table["label"])) if len(table) else 0.0
    return 1 - float(np.mean(np.square(table["residual"]))) / variance if variance else np.nan


def _in_both(before: pd.DataFrame, after: pd.DataFrame, label: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows that both tables have with the same label, in the same order."""
    place = pd.Index(after["id"]).get_indexer(pd.Index(before["id"]))
    found = place >= 0
    one, other = before[found], after.iloc[place[found]]
    same = one[label].astype("str").to_numpy() == other[label].astype("str").to_numpy()
    return one[same], other[same]


def rank_correlations(values: pd.DataFrame) -> pd.DataFrame:
    """Return Spearman's correlation of every two columns, over the rows that have both; each column is ranked once.

    Args:
        values: A column for each score, with NaN for missing values.

    Returns:
        The square table of correlations, with NaN where a column does not vary.
    """
    return values.astype("float64").rank().corr()


def rank_correlation(one: np.ndarray, other: np.ndarray) -> tuple[float, int]:
    """Return Spearman's correlation of two scores over the examples that have both, and the number of these."""
    both = np.isfinite(one) & np.isfinite(other)
    frame = pd.DataFrame({"one": one[both], "other": other[both]})
    return float(frame.rank().corr().to_numpy()[0, 1]), len(frame)
