"""What speaks against weights that were given: outputs in another order than the classes, or nothing learnt."""

import numpy as np
from scipy.optimize import linear_sum_assignment

# A classifier that does better than always the largest class by less than this share of what is left learnt nothing.
_LEARNT = 0.1
# By so much another order of the classes must fit better before it is called one; less may be noise.
_BETTER = 0.1


def weight_warnings_of_values(r2: float) -> list[str]:
    """The same of values, by the R² of the given weights on the training examples."""
    if r2 > 0:
        return []
    return [
        f"The given weights predict the training values worse than their mean does (R² {r2:.2f}): they should take the "
        "features and give the target standardised, as the dataset's own training split has them."
    ]


def weight_warnings(predicted: np.ndarray, labels: np.ndarray, class_names: list[str]) -> list[str]:
    """Sentences on predictions of the training examples that a person should see before trusting a score.

    Args:
        predicted: Classes ``[n]``.
        labels: Classes ``[n]``.
        class_names: In the order of the labels.
    """
    k = len(class_names)
    counts = np.zeros((k, k), dtype=np.int64)
    np.add.at(counts, (predicted, labels), 1)
    accuracy, largest = np.trace(counts) / len(labels), counts.sum(axis=0).max() / len(labels)
    outputs, classes = linear_sum_assignment(counts, maximize=True)
    reordered = counts[outputs, classes].sum() / len(labels)
    if reordered >= accuracy + _BETTER:
        moved = [f"{class_names[a]} means {class_names[b]}" for a, b in zip(outputs, classes, strict=True) if a != b]
        return [
            f"The model's outputs seem to come in another order than the dataset's classes: {accuracy:.1%} of the "
            f"training labels are predicted, and {reordered:.1%} where {', '.join(moved)}."
        ]
    if accuracy < largest + _LEARNT * (1 - largest):
        return [
            f"The given weights predict {accuracy:.1%} of the training labels, and always the largest class would "
            f"{largest:.1%}: check that weights, preprocessing and classes belong together before trusting any score."
        ]
    return []
