"""Two runs side by side: accuracies on the same examples, and rank correlations. No torch, as pages need it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class PairedAccuracies:
    """Accuracies of two models on the same examples.

    Attributes:
        examples: That both were evaluated on, with the same label.
        before: Accuracy of the first model on them; NaN without any.
        after: Of the second.
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
        """Of the second model minus the first."""
        return self.after - self.before

    @property
    def standard_error(self) -> float:
        """Of the difference, from the pairs that differ (as in McNemar's test)."""
        n = max(1, self.examples)
        return float(np.sqrt(self.gained + self.lost - (self.gained - self.lost) ** 2 / n) / n)

    @property
    def interval(self) -> tuple[float, float]:
        """95% of the difference: Agresti and Min 2005, half an example added to each of the four counts.

        It covers which examples happened to be tested, not that another training would have come out otherwise. Unlike
        1.96 standard errors to either side, it does not shrink to nothing where no example differs.
        """
        n, gained, lost = self.examples + 2, self.gained + 0.5, self.lost + 0.5
        middle, error = (gained - lost) / n, np.sqrt(gained + lost - (gained - lost) ** 2 / n) / n
        return float(max(-1.0, middle - 1.96 * error)), float(min(1.0, middle + 1.96 * error))


def paired_accuracies(before: pd.DataFrame, after: pd.DataFrame) -> PairedAccuracies:
    """Accuracies of two models on the examples that both tables hold under the same label.

    Args:
        before: Columns id, label_name and correct, a row for each example, of the first model.
        after: The same of the second.
    """
    place = pd.Index(after["id"]).get_indexer(pd.Index(before["id"]))
    found = place >= 0
    one, other = before[found], after.iloc[place[found]]
    same = one["label_name"].astype("str").to_numpy() == other["label_name"].astype("str").to_numpy()
    right, then = (each["correct"].to_numpy(dtype=bool)[same] for each in (one, other))
    was, is_ = (float(each.mean()) if len(each) else float("nan") for each in (right, then))
    return PairedAccuracies(len(right), was, is_, int((then & ~right).sum()), int((right & ~then).sum()))


def rank_correlations(values: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation of each two columns, over the rows that have both; each column is ranked once.

    Args:
        values: A column for each score; NaN is missing.

    Returns:
        Square; NaN where a column does not vary.
    """
    return values.astype("float64").rank().corr()


def rank_correlation(one: np.ndarray, other: np.ndarray) -> tuple[float, int]:
    """Spearman's correlation of two scores of the same examples, and over how many: those where both are numbers."""
    both = np.isfinite(one) & np.isfinite(other)
    frame = pd.DataFrame({"one": one[both], "other": other[both]})
    return float(frame.rank().corr().to_numpy()[0, 1]), len(frame)
